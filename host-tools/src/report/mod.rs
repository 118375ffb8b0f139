//! What a run leaves behind: files that appear complete or not at all.
//!
//! | file | content |
//! |---|---|
//! | `experiment.toml` | the experiment with every key; running it again gives the same bits |
//! | `history.csv` | loss, accuracy, silent labels, spikes and saturations per epoch ([`history`]) |
//! | `start.npz` | the weights that it started with, if `--weights` named some ([`arrays`]) |
//! | `weights.npz` | the selected weights ([`arrays`]) |
//! | `gradients.npz` | the gradients of the last minibatch ([`arrays`]) |
//! | `summary.json` | the result in numbers ([`summary`]) |
//! | `learning_curve.svg`, `decision_map.svg`, `spike_raster.svg` | plots ([`plots`]) |
//! | `checkpoint.bin` | what `--resume` goes on from ([`crate::training::checkpoint`]) |

pub mod arrays;
pub mod history;
pub mod plots;
pub mod summary;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Name of the experiment's file in a run's folder.
pub const EXPERIMENT: &str = "experiment.toml";
/// Name of the table of epochs.
pub const HISTORY: &str = "history.csv";
/// Name of the file with the weights that a run was told to start with.
pub const START: &str = "start.npz";
/// Name of the weights' file.
pub const WEIGHTS: &str = "weights.npz";
/// Name of the gradients' file.
pub const GRADIENTS: &str = "gradients.npz";
/// Name of the result's file.
pub const SUMMARY: &str = "summary.json";
/// Name of the plot of loss and accuracy over epochs.
pub const LEARNING_CURVE: &str = "learning_curve.svg";
/// Name of the plot of predicted classes over the two coordinates.
pub const DECISION_MAP: &str = "decision_map.svg";
/// Name of the plot of spikes.
pub const SPIKE_RASTER: &str = "spike_raster.svg";

/// Writes a file so that it appears complete or not at all: into a temporary file of the same
/// folder, which is then renamed.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("write", path, &error);
    let mut file = temporary_beside(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Makes sure that [`write_file`] can write here, before long work is done for it.
///
/// # Errors
/// A folder that does not exist or takes no file, or a path that is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::new("cannot write: it is a folder").at(path.display().to_string()));
    }
    temporary_beside(path)
        .map(drop)
        .map_err(|error| Error::io("write", path, &error))
}

fn temporary_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".eventprop-");
    // Temporary files are private by default; results get the usual rights.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, b"first").unwrap();
        write_file(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let missing = folder.path().join("none/a.txt");
        let error = write_file(&missing, b"x").unwrap_err();
        assert_eq!(error.place(), Some(missing.to_str().unwrap()));
        check_writable(&missing).unwrap_err();
        check_writable(folder.path()).unwrap_err();
        check_writable(&path).unwrap();
    }
}
