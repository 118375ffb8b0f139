//! Damaged vector files: an error or a vector that runs, never a panic.

use std::sync::OnceLock;

use eventprop_tests::vector_paths;
use host_tools::reference::{RunOptions, compare, run_vector};
use host_tools::vector::{Scheme, Vector};
use proptest::prelude::*;

/// The contents of the smaller vectors.
fn contents() -> &'static [Vec<u8>] {
    static CONTENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CONTENTS.get_or_init(|| {
        let files = vector_paths()
            .into_iter()
            .map(|path| std::fs::read(path).expect("readable"));
        files.filter(|bytes| bytes.len() < 5000).collect()
    })
}

/// Texts that take the place of a number or a word.
const REPLACEMENTS: [&str; 14] = [
    "null",
    "NaN",
    "-1",
    "1e400",
    "-0.0",
    "1e-7",
    "3",
    "999",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "true",
    "[[[[[[",
];

/// Puts `replacement` in the place of the number or word that holds or follows the byte `at`.
fn replace_word(bytes: &mut Vec<u8>, at: usize, replacement: &str) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let at = at % bytes.len();
    let Some(start) = bytes[at..].iter().position(is_word).map(|from| at + from) else {
        return;
    };
    let length = bytes[start..]
        .iter()
        .take_while(|byte| is_word(byte))
        .count();
    bytes.splice(start..start + length, replacement.bytes());
}

/// A vector that loads can be run and compared. Only if it is small: a run over as many steps as
/// a file may ask for takes too long here.
fn use_it(vector: &Vector) {
    let steps = match vector.scheme {
        Scheme::Grid => vector.steps.expect("grid has steps"),
        Scheme::Exact => vector.last_spike_ms() as usize,
    };
    if steps < 200 {
        let options = RunOptions {
            tick_bits: 2,
            ..RunOptions::default()
        };
        let comparison = compare(vector, &run_vector(vector, &options));
        assert_eq!(comparison.gradients.len(), vector.weights.len());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = &contents()[0];
    let end = bytes
        .iter()
        .rposition(|&byte| byte == b'}')
        .expect("an object");
    for length in 0..=end {
        let error = Vector::from_json(&bytes[..length]).expect_err("truncated");
        assert!(error.to_string().starts_with("no valid JSON: "), "{error}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_do_not_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = which.get(contents()).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(vector) = Vector::from_json(&bytes) {
            use_it(&vector);
        }
    }

    #[test]
    fn changed_words_do_not_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<usize>(), prop::sample::select(&REPLACEMENTS[..])), 1..3),
    ) {
        let mut bytes = which.get(contents()).clone();
        for (at, replacement) in changes {
            replace_word(&mut bytes, at, replacement);
        }
        match Vector::from_json(&bytes) {
            Ok(vector) => use_it(&vector),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
