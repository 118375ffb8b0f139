//! Builds the firmware images, by running cargo.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{Error, Result};

/// The processor that firmware is for.
pub const TARGET: &str = "thumbv7em-none-eabihf";

/// What to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// For the prototype chip Jib1, not for the product.
    pub jib1: bool,
    /// The examples, too.
    pub examples: bool,
}

/// An image that was built.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// The ELF file.
    pub path: PathBuf,
}

/// A message of cargo, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Diagnostic {
    code: Option<Code>,
    message: String,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    source: Option<String>,
}

/// The folder of the workspace that `bsp` is part of.
///
/// # Errors
/// It is neither where this program was built, nor around the current folder.
pub fn workspace() -> Result<PathBuf> {
    let is_root = |folder: &&Path| folder.join("bsp/Cargo.toml").is_file();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let current = env::current_dir().unwrap_or_default();
    built
        .into_iter()
        .chain(current.ancestors())
        .find(is_root)
        .map(Path::to_owned)
        .ok_or_else(|| {
            Error::new("the sources of the firmware (folder `bsp`) are not here")
                .at(current.display().to_string())
                .hint("run this in a clone of the project")
        })
}

/// Builds the images of a workspace. Cargo's messages go to the standard error.
///
/// Paths that end up in images do not depend on the machine, so sizes do not either.
///
/// # Errors
/// A build that fails; if an image is too large to be linked, by how much.
pub fn build(root: &Path, options: Options) -> Result<Vec<Image>> {
    let mut command = cargo(root);
    command
        .args(["build", "--package", "bsp", "--bins", "--target", TARGET])
        .args(["--profile", "firmware", "--message-format", "json"]);
    command.args(match options.jib1 {
        true => ["--features", "firmware,provisional,jib1"],
        false => ["--features", "firmware,provisional"],
    });
    if options.examples {
        command.arg("--examples");
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(root)?);
    let mut images = Vec::new();
    let mut reason = None;
    let success = run(command, |line| {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            return;
        };
        let name = message.target.map(|target| target.name).unwrap_or_default();
        if let Some(path) = message.executable {
            images.push(Image {
                name: name.clone(),
                path,
            });
        }
        if let Some(diagnostic) = message.message {
            eprint!("{}", diagnostic.rendered.as_deref().unwrap_or_default());
            reason = reason.take().or_else(|| explain(&name, &diagnostic));
        }
    })?;
    if !success {
        return Err(reason.unwrap_or_else(|| {
            Error::new("the firmware does not build").hint("cargo's messages are above")
        }));
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// What a message means for somebody who builds firmware.
fn explain(image: &str, diagnostic: &Diagnostic) -> Option<Error> {
    let code = diagnostic.code.as_ref().map(|code| code.code.as_str());
    if code == Some("E0463") && diagnostic.message.contains("`core`") {
        return Some(
            Error::new(format!("the target {TARGET} is not installed"))
                .hint(format!("rustup target add {TARGET}")),
        );
    }
    // The linker tells it of each section; the last one tells how much is too much in all.
    let text = diagnostic
        .rendered
        .as_deref()
        .unwrap_or(&diagnostic.message);
    let (before, after) = text.rsplit_once("overflowed by ")?;
    let bytes = after.split_whitespace().next()?;
    let memory = match before.rsplit_once("region '")?.1.split('\'').next()? {
        "FLASH" => "code",
        _ => "constants and statics",
    };
    Some(Error::new(format!("{bytes} bytes too many of {memory}")).at(image))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).stdin(Stdio::null());
    command
}

/// Runs a command and takes its output line by line. Returns whether it was successful.
fn run(mut command: Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let failed = |error: std::io::Error| {
        Error::new(format!("cannot run cargo: {error}")).hint("get it from https://rustup.rs")
    };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output).lines() {
            line(&text.map_err(failed)?);
        }
    }
    Ok(child.wait().map_err(failed)?.success())
}

/// Flags for the compiler: those of the environment, and new names for folders. Messages of panics hold
/// names of source files, whose length depends on where cargo keeps the sources of other crates.
fn flags(root: &Path) -> Result<OsString> {
    let mut command = cargo(root);
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        TARGET,
    ]);
    let mut text = String::new();
    if !run(command, |line| text.push_str(line))? {
        return Err(Error::new("cargo cannot tell where the sources are"));
    }
    let metadata: Metadata = serde_json::from_str(&text)
        .map_err(|error| Error::new(format!("cargo's metadata are not as expected: {error}")))?;
    let foreign = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some());
    let folders: BTreeSet<_> = foreign
        .filter_map(|package| package.manifest_path.parent()?.parent())
        .collect();
    let mut flags = env::var_os("CARGO_ENCODED_RUSTFLAGS").unwrap_or_else(|| {
        let flags = env::var("RUSTFLAGS").unwrap_or_default();
        let flags: Vec<_> = flags.split_whitespace().collect();
        flags.join("\x1f").into()
    });
    let renamed = folders.into_iter().map(|folder| (folder, "registry"));
    for (folder, name) in [(root, ".")].into_iter().chain(renamed) {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_terms_of_firmware() {
        let explain = |code: Option<&str>, message: &str| {
            let code = code.map(|code| Code { code: code.into() });
            let message = message.into();
            explain(
                "layer",
                &Diagnostic {
                    code,
                    message,
                    rendered: None,
                },
            )
        };
        let missing = explain(Some("E0463"), "can't find crate for `core`").unwrap();
        assert!(
            missing.to_string().contains("rustup target add thumbv7em"),
            "{missing}"
        );
        let large = explain(
            None,
            "linking failed: section '.text' will not fit in region 'FLASH': overflowed by 20 bytes\n\
             section '.HardFault' will not fit in region 'FLASH': overflowed by 40 bytes\n",
        );
        assert_eq!(
            large.unwrap().to_string(),
            "layer: 40 bytes too many of code"
        );
        assert_eq!(explain(Some("E0308"), "mismatched types"), None);
    }
}
