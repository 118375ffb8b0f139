//! Counts of instructions that are held against files in `tests/golden`.

use std::fmt::Write as _;
use std::path::Path;

/// Largest difference from a golden count, as a share of it.
const TOLERANCE: f64 = 0.02;

/// Holds named counts against the golden file `name`: none may differ by more than 2 %, up or down. With
/// `UPDATE_GOLDEN` in the environment the file is written instead; `refresh` is the command for that.
///
/// # Panics
/// If a count differs or is missing, or the file cannot be read or written.
pub fn check_counts(name: &str, counts: &[(String, f64)], refresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut text =
            format!("# Instructions; after a change that is meant to alter them: {refresh}\n");
        for (what, count) in counts {
            writeln!(text, "{count:>12.0}  {what}").expect("writing to a string does not fail");
        }
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let text = std::fs::read_to_string(&path).expect("the golden file can be read");
    let golden: Vec<(f64, &str)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (count, what) = line
                .trim_start()
                .split_once("  ")
                .expect("a count and a name");
            (count.parse().expect("a number"), what)
        })
        .collect();
    let names: Vec<_> = golden.iter().map(|(_, what)| *what).collect();
    let counted: Vec<_> = counts.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(
        counted, names,
        "other counts than in {name}; if that is meant: {refresh}"
    );
    let mut differences = String::new();
    for ((what, count), (golden, _)) in counts.iter().zip(golden) {
        if (count - golden).abs() > TOLERANCE * golden {
            let change = 100.0 * (count / golden.max(1.0) - 1.0);
            writeln!(
                differences,
                "{what}: {count:.0}, golden {golden:.0} ({change:+.1} %)"
            )
            .expect("writing to a string does not fail");
        }
    }
    assert!(
        differences.is_empty(),
        "instructions differ by more than 2 % from {name}:\n{differences}If that is meant: {refresh}"
    );
}
