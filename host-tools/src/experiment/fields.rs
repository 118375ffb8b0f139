//! How single values of the experiment file are read and written.

use std::fmt::Write;
use std::path::PathBuf;

use toml::Value as Toml;

use super::InitialWeights;
use crate::error::Result;

/// Sees every key of the experiment, in the order of the file.
pub(super) trait Visitor {
    /// A section begins.
    fn section(&mut self, name: &'static str, comment: &'static str) -> Result<()>;

    /// A key of the current section.
    fn field<T: Field>(
        &mut self,
        key: &'static str,
        comment: &'static str,
        value: &mut T,
    ) -> Result<()>;

    /// A key of the current section whose value may be the given word instead, which stands for
    /// `None`.
    fn field_or<T: Field>(
        &mut self,
        key: &'static str,
        word: &'static str,
        comment: &'static str,
        value: &mut Option<T>,
    ) -> Result<()>;
}

/// A wrong value, told as "expected ..., found ...".
#[derive(Debug)]
pub(super) struct Mismatch {
    /// What would be right.
    pub expected: String,
    /// A better value, if one is near.
    pub suggestion: Option<String>,
}

impl Mismatch {
    pub(super) fn expected(what: impl Into<String>) -> Self {
        Self {
            expected: what.into(),
            suggestion: None,
        }
    }
}

/// A type that a key can have.
pub(super) trait Field: Sized {
    /// Reads the value.
    fn from_toml(value: &Toml) -> Result<Self, Mismatch>;
    /// Writes the value.
    fn to_toml(&self) -> Toml;
}

/// An enum whose variants have names.
pub(super) trait Choice: Copy {
    /// All names.
    const NAMES: &'static [&'static str];
    /// The variant of that name.
    fn from_name(name: &str) -> Option<Self>;
    /// The variant's name.
    fn name(self) -> &'static str;
}

impl<T: Choice> Field for T {
    fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
        let expected = || {
            let names: Vec<_> = T::NAMES.iter().map(|name| format!("\"{name}\"")).collect();
            format!("one of {}", names.join(", "))
        };
        match value {
            Toml::String(name) => T::from_name(name).ok_or_else(|| Mismatch {
                expected: expected(),
                suggestion: closest(name, T::NAMES.iter().copied())
                    .map(|name| format!("\"{name}\"")),
            }),
            _ => Err(Mismatch::expected(expected())),
        }
    }

    fn to_toml(&self) -> Toml {
        Toml::String(self.name().to_owned())
    }
}

macro_rules! integer_field {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
                value
                    .as_integer()
                    .and_then(|integer| Self::try_from(integer).ok())
                    .ok_or_else(|| match value.as_integer() {
                        // (What does not fit 64 bits is refused before.)
                        Some(1..) => {
                            Mismatch::expected(format!("a whole number of at most {}", Self::MAX))
                        }
                        _ => Mismatch::expected("a whole number, not negative"),
                    })
            }

            fn to_toml(&self) -> Toml {
                Toml::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )+};
}

integer_field!(u32, u64, usize);

impl Field for f64 {
    fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
        match *value {
            Toml::Float(float) => Ok(float),
            Toml::Integer(integer) => Ok(integer as f64),
            _ => Err(Mismatch::expected("a number")),
        }
    }

    fn to_toml(&self) -> Toml {
        Toml::Float(*self)
    }
}

impl Field for String {
    fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
        match value {
            Toml::String(text) if !text.is_empty() => Ok(text.clone()),
            _ => Err(Mismatch::expected("a text in quotes")),
        }
    }

    fn to_toml(&self) -> Toml {
        Toml::String(self.clone())
    }
}

impl Field for PathBuf {
    fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
        match value {
            Toml::String(path) if !path.is_empty() => Ok(Self::from(path)),
            _ => Err(Mismatch::expected("the path of a file, in quotes")),
        }
    }

    fn to_toml(&self) -> Toml {
        Toml::String(self.to_string_lossy().into_owned())
    }
}

impl<T: Field> Field for Vec<T> {
    fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
        match value {
            Toml::Array(items) => items
                .iter()
                .map(|item| {
                    T::from_toml(item).map_err(|mismatch| Mismatch {
                        expected: format!("a list, each entry {}", mismatch.expected),
                        ..mismatch
                    })
                })
                .collect(),
            _ => Err(Mismatch::expected("a list in square brackets")),
        }
    }

    fn to_toml(&self) -> Toml {
        Toml::Array(self.iter().map(Field::to_toml).collect())
    }
}

impl Field for InitialWeights {
    fn from_toml(value: &Toml) -> Result<Self, Mismatch> {
        let expected = || Mismatch::expected("a table `{ mean = 1.5, std = 0.78 }`");
        let table = value.as_table().filter(|table| table.len() == 2);
        let number = |key| {
            table
                .and_then(|table| table.get(key))
                .and_then(|value| f64::from_toml(value).ok())
                .ok_or_else(expected)
        };
        Ok(Self {
            mean: number("mean")?,
            std: number("std")?,
        })
    }

    fn to_toml(&self) -> Toml {
        let mut table = toml::Table::new();
        table.insert("mean".to_owned(), Toml::Float(self.mean));
        table.insert("std".to_owned(), Toml::Float(self.std));
        Toml::Table(table)
    }
}

/// The candidate that a person most likely meant, if any is near.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|&(likeness, _)| likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Writes the experiment as a commented file.
#[derive(Default)]
pub(super) struct Writer {
    text: String,
}

impl Writer {
    /// The file's text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, key: &str, value: &Toml, comment: &str) {
        let mut line = format!("{key} = {value}");
        if !comment.is_empty() {
            line = format!("{line:<32} # {comment}");
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }
}

impl Visitor for Writer {
    fn section(&mut self, name: &'static str, comment: &'static str) -> Result<()> {
        write!(self.text, "\n# {comment}\n[{name}]\n").expect("a string takes everything");
        Ok(())
    }

    fn field<T: Field>(
        &mut self,
        key: &'static str,
        comment: &'static str,
        value: &mut T,
    ) -> Result<()> {
        self.line(key, &value.to_toml(), comment);
        Ok(())
    }

    fn field_or<T: Field>(
        &mut self,
        key: &'static str,
        word: &'static str,
        comment: &'static str,
        value: &mut Option<T>,
    ) -> Result<()> {
        let value = value
            .as_ref()
            .map_or_else(|| Toml::String(word.to_owned()), Field::to_toml);
        self.line(key, &value, comment);
        Ok(())
    }
}
