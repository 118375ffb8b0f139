//! Samples as comma-separated text: a header line, a column per feature, and a last column `label`.

use std::fmt::Write;
use std::path::Path;

use super::{Dataset, MAX_CLASSES};
use crate::error::{Error, Result};

/// Reads a file.
///
/// # Errors
/// A file that cannot be read, or a wrong value: with line and column.
pub fn read(path: &Path) -> Result<Dataset> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    parse(&bytes, &path.display().to_string())
}

/// Reads the text of a file; `name` is for messages.
///
/// # Errors
/// A wrong value: with line and column.
pub fn parse(bytes: &[u8], name: &str) -> Result<Dataset> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(true)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let wrong = |line: usize, text: String| Error::new(text).at(format!("{name}: line {line}"));
    let broken = |error: csv::Error| {
        let line = error
            .position()
            .map_or(1, |position| line_of(bytes, position));
        wrong(line, format!("not comma-separated text: {error}"))
    };

    let header = reader.byte_headers().map_err(broken)?;
    let mut names: Vec<String> = header
        .iter()
        .map(|field| String::from_utf8_lossy(field).into_owned())
        .collect();
    if names.last().map(String::as_str) != Some("label") || names.len() < 2 {
        return Err(wrong(1, String::from("the last column must be named `label`")).hint(
            "the first line names the columns, for instance `x,y,label`; at least one feature is \
             needed",
        ));
    }
    names.pop();
    let width = names.len();

    let mut features = Vec::new();
    let mut labels = Vec::new();
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(broken)? {
        let line = || {
            record
                .position()
                .map_or(1, |position| line_of(bytes, position))
        };
        if record.len() != width + 1 {
            return Err(wrong(
                line(),
                format!("{} columns; the header has {}", record.len(), width + 1),
            ));
        }
        for (column, field) in record.iter().enumerate() {
            let text = String::from_utf8_lossy(field);
            let place = |what: &str| {
                let title = names.get(column).map_or("label", String::as_str);
                Error::new(format!("`{}` {what}", shorten(&text))).at(format!(
                    "{name}: line {}, column {} (`{title}`)",
                    line(),
                    column + 1
                ))
            };
            if column < width {
                let value: f64 = text.parse().map_err(|_| place("is not a number"))?;
                if !(0.0..=1.0).contains(&value) {
                    return Err(place("is out of range; features are from 0 to 1"));
                }
                features.push(value);
            } else {
                let label: i128 = text.parse().map_err(|_| place("is not a whole number"))?;
                let label = u8::try_from(label).map_err(|_| {
                    place(&format!(
                        "is out of range; labels are from 0 to {}",
                        MAX_CLASSES - 1
                    ))
                })?;
                labels.push(label);
            }
        }
    }
    let Some(&largest) = labels.iter().max() else {
        return Err(Error::new("no samples").at(name));
    };
    Ok(Dataset {
        features,
        width,
        labels,
        classes: usize::from(largest) + 1,
        names,
    })
}

/// The line of a record, from 1. The reader's own count is that of the blank lines before it.
fn line_of(bytes: &[u8], position: &csv::Position) -> usize {
    let start = usize::try_from(position.byte()).map_or(bytes.len(), |at| at.min(bytes.len()));
    let blank = bytes[start..]
        .iter()
        .take_while(|&&byte| matches!(byte, b'\n' | b'\r'))
        .count();
    let before = &bytes[..start + blank];
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// The set as a file. Numbers are the shortest that read back the same, written as Python does.
pub fn to_bytes(set: &Dataset) -> Vec<u8> {
    let mut text = String::new();
    for name in &set.names {
        // A name with a comma, quote or line break needs quotes around it.
        if name.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&name.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(name);
        }
        text.push(',');
    }
    text.push_str("label\n");
    for (features, label) in set.samples() {
        for &feature in features {
            push_number(&mut text, feature);
            text.push(',');
        }
        writeln!(text, "{label}").expect("a string takes everything");
    }
    text.into_bytes()
}

/// Writes as Python's `repr` does: positional from 1e-4, else with an exponent of two digits.
fn push_number(text: &mut String, value: f64) {
    let result = if value != 0.0 && value.abs() < 1e-4 {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once("e-").unwrap_or((&scientific, "0"));
        write!(text, "{digits}e-{exponent:0>2}")
    } else {
        write!(text, "{value:?}")
    };
    result.expect("a string takes everything");
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 {
        text.to_owned()
    } else {
        format!("{}...", text.chars().take(37).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_value_is_named_with_line_and_column() {
        let cases = [
            (
                "x,y,label\n0.1,0.2,0\n0.3,zero,1\n",
                "d.csv: line 3, column 2 (`y`): `zero` is not a number",
            ),
            (
                "x,y,label\n0.1,NaN,0\n",
                "d.csv: line 2, column 2 (`y`): `NaN` is out of range; features are from 0 to 1",
            ),
            (
                "x,y,label\n\n0.1,1.5,0\n",
                "d.csv: line 3, column 2 (`y`): `1.5` is out of range; features are from 0 to 1",
            ),
            (
                "x,y,label\n0.1,1,-1\n",
                "d.csv: line 2, column 3 (`label`): `-1` is out of range; labels are from 0 to 255",
            ),
            (
                "x,y,label\n0.1,1,1.0\n",
                "d.csv: line 2, column 3 (`label`): `1.0` is not a whole number",
            ),
            (
                "x,y,label\n0.1,1\n",
                "d.csv: line 2: 2 columns; the header has 3",
            ),
            ("x,y,label\n", "d.csv: no samples"),
            (
                "0.1,0.2,0\n",
                "d.csv: line 1: the last column must be named `label`\n  hint: the first line names \
                 the columns, for instance `x,y,label`; at least one feature is needed",
            ),
        ];
        for (text, message) in cases {
            let error = parse(text.as_bytes(), "d.csv").unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000012345, "1.2345e-05"),
            (1.5e-120, "1.5e-120"),
        ];
        for (value, expected) in cases {
            let mut text = String::new();
            push_number(&mut text, value);
            assert_eq!(text, expected);
        }
    }

    proptest! {
        #[test]
        fn a_written_set_reads_back_the_same(
            samples in proptest::collection::vec((proptest::array::uniform3(0.0..=1.0), 0_u8..=255), 1..20),
            name in "\\PC{1,12}",
        ) {
            let name = name.trim();
            prop_assume!(!name.is_empty());
            let labels: Vec<u8> = samples.iter().map(|sample| sample.1).collect();
            let set = Dataset {
                features: samples.iter().flat_map(|sample| sample.0).collect(),
                width: 3,
                classes: usize::from(*labels.iter().max().unwrap()) + 1,
                labels,
                names: vec![name.to_owned(), "b".to_owned(), "c,\"d".to_owned()],
            };
            prop_assert_eq!(parse(&to_bytes(&set), "d.csv").unwrap(), set);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, "d.csv");
            let mut after_header = b"x,label\n".to_vec();
            after_header.extend(bytes);
            let _ = parse(&after_header, "d.csv");
        }
    }
}
