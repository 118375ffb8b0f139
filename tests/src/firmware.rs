//! The firmware images.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds the images for emulated processing elements, once, and returns their folder.
///
/// # Panics
/// If they do not build.
pub fn firmware() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let target = root.join("target");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--profile", "firmware", "--bins"])
            .args(["--package", "bsp", "--features", "firmware,provisional"])
            .args(["--target", "thumbv7em-none-eabihf", "--target-dir"])
            .arg(&target)
            .current_dir(root)
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "the images do not build");
        target.join("thumbv7em-none-eabihf/firmware")
    })
}
