//! Tests across crates and backends, and what they share.

pub mod board;
pub mod firmware;
pub mod golden;
pub mod identity;
pub mod legal;
pub mod random;
pub mod trained;

use std::path::PathBuf;

use host_tools::vector::{Scheme, Vector};

/// The folder of the reference vectors.
pub fn vectors_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Paths of all reference vectors, sorted by name.
///
/// # Panics
///
/// If the folder cannot be read or is empty.
pub fn vector_paths() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(vectors_folder()).expect("the folder of vectors is readable");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder of vectors is readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    assert!(!paths.is_empty(), "there are vectors");
    paths.sort();
    paths
}

/// All reference vectors of a scheme, sorted by name.
///
/// # Panics
///
/// If a vector cannot be loaded.
pub fn vectors(scheme: Scheme) -> Vec<Vector> {
    vector_paths()
        .iter()
        .map(|path| Vector::load(path).unwrap_or_else(|error| panic!("{error}")))
        .filter(|vector| vector.scheme == scheme)
        .collect()
}
