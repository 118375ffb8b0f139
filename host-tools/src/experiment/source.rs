//! Reads the experiment's keys from a TOML text and from command-line flags, and remembers where
//! each came from.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value as Toml;
use toml::de::{DeTable, DeValue};

use super::fields::{Field, Visitor, closest};
use crate::error::{Error, Result};

/// A value that a command-line flag puts in place of the file's.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The flag, for instance `--hidden`.
    pub flag: &'static str,
    /// The key that it stands for, with its section: `network.hidden`.
    pub key: &'static str,
    /// The value.
    pub value: Toml,
}

impl Override {
    /// Puts `value` in place of the file's value of `key`.
    pub fn new(flag: &'static str, key: &'static str, value: impl Into<Toml>) -> Self {
        Self {
            flag,
            key,
            value: value.into(),
        }
    }
}

/// One given value.
struct Entry {
    value: Toml,
    /// Where the key stands: `file:line:column` or the flag.
    key_place: String,
    /// Where the value stands.
    value_place: String,
    seen: bool,
}

/// The given keys of an experiment.
pub(super) struct Reader {
    path: String,
    /// By full name, for instance `network.hidden`.
    entries: BTreeMap<String, Entry>,
    /// Sections of the file, with their places.
    sections: Vec<(String, String)>,
    section: &'static str,
    /// Every key that the experiment knows, by full name.
    known: Vec<String>,
    known_sections: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(text: &str, path: &Path, overrides: &[Override]) -> Result<Self> {
        let path = path.display().to_string();
        let place = |offset: usize| {
            let (line, column) = line_and_column(text, offset);
            format!("{path}:{line}:{column}")
        };
        let table = DeTable::parse(text).map_err(|error| {
            let place = error
                .span()
                .map_or_else(|| path.clone(), |span| place(span.start));
            Error::new(one_line(error.message())).at(place)
        })?;

        let mut entries = BTreeMap::new();
        let mut sections = Vec::new();
        for (key, value) in table.get_ref() {
            let section = key.get_ref().to_string();
            if let DeValue::Table(keys) = value.get_ref() {
                sections.push((section.clone(), place(key.span().start)));
                for (key, value) in keys {
                    let entry = Entry {
                        value: plain(value.get_ref())
                            .map_err(|error| error.at(place(value.span().start)))?,
                        key_place: place(key.span().start),
                        value_place: place(value.span().start),
                        seen: false,
                    };
                    entries.insert(format!("{section}.{}", key.get_ref()), entry);
                }
            } else {
                let entry = Entry {
                    value: plain(value.get_ref())
                        .map_err(|error| error.at(place(value.span().start)))?,
                    key_place: place(key.span().start),
                    value_place: place(value.span().start),
                    seen: false,
                };
                entries.insert(section, entry);
            }
        }
        for given in overrides {
            let entry = Entry {
                value: given.value.clone(),
                key_place: given.flag.to_owned(),
                value_place: given.flag.to_owned(),
                seen: false,
            };
            entries.insert(given.key.to_owned(), entry);
        }
        Ok(Self {
            path,
            entries,
            sections,
            section: "",
            known: Vec::new(),
            known_sections: Vec::new(),
        })
    }

    /// Reads one key ahead of its turn, if it is given.
    pub(super) fn peek<T: Field>(&mut self, name: &str, value: &mut T) -> Result<()> {
        if let Some(entry) = self.entries.get(name) {
            *value = read(name, entry)?;
        }
        Ok(())
    }

    /// Complains about keys that nobody asked for.
    pub(super) fn finish(&self) -> Result<()> {
        for (section, place) in &self.sections {
            if !self.known_sections.contains(&section.as_str()) {
                let error = Error::new(format!("unknown section [{section}]")).at(place.clone());
                let near = closest(section, self.known_sections.iter().copied());
                return Err(match near {
                    Some(name) => error.hint(format!("did you mean [{name}]?")),
                    None => error.hint(format!("sections are: {}", self.known_sections.join(", "))),
                });
            }
        }
        let Some((name, entry)) = self.entries.iter().find(|(_, entry)| !entry.seen) else {
            return Ok(());
        };
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        let message = if section.is_empty() {
            format!("unknown key `{key}`")
        } else {
            format!("unknown key `{key}` in [{section}]")
        };
        let error = Error::new(message).at(entry.key_place.clone());
        Err(match self.suggest(section, key) {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }

    /// What the person may have meant by an unknown key.
    fn suggest(&self, section: &str, key: &str) -> Option<String> {
        let split = |name: &'_ str| -> (String, String) {
            let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
            (section.to_owned(), key.to_owned())
        };
        let known: Vec<_> = self.known.iter().map(|name| split(name)).collect();
        // A key of this section that reads alike, then the same key elsewhere, then alike elsewhere.
        let here = known
            .iter()
            .filter(|(s, _)| s == section)
            .map(|(_, k)| k.as_str());
        if let Some(near) = closest(key, here) {
            return Some(format!("did you mean `{near}`?"));
        }
        if let Some((elsewhere, _)) = known.iter().find(|(_, k)| k == key) {
            return Some(match elsewhere.as_str() {
                "" => format!("`{key}` belongs at the top, before the first section"),
                elsewhere => format!("`{key}` belongs in [{elsewhere}]"),
            });
        }
        let near = closest(key, known.iter().map(|(_, k)| k.as_str()))?;
        let (elsewhere, _) = known.iter().find(|(_, k)| k == near)?;
        Some(match elsewhere.as_str() {
            "" => format!("did you mean `{near}`, at the top?"),
            elsewhere => format!("did you mean `{near}` in [{elsewhere}]?"),
        })
    }

    /// Where the value of a key was given.
    pub(super) fn place(&self, key: &str) -> Option<&str> {
        self.entries
            .get(key)
            .map(|entry| entry.value_place.as_str())
    }

    /// Adds the place of a wrong value to its error.
    pub(super) fn locate(&self, key: &str, error: Error) -> Error {
        let place = match self.entries.get(key) {
            Some(entry) => entry.value_place.clone(),
            None => self.path.clone(),
        };
        error.at(place)
    }

    fn take(&mut self, key: &'static str) -> (String, Option<&Entry>) {
        let name = match self.section {
            "" => key.to_owned(),
            section => format!("{section}.{key}"),
        };
        self.known.push(name.clone());
        let entry = self.entries.get_mut(&name).map(|entry| {
            entry.seen = true;
            &*entry
        });
        (name, entry)
    }
}

impl Visitor for Reader {
    fn section(&mut self, name: &'static str, _comment: &'static str) -> Result<()> {
        self.section = name;
        self.known_sections.push(name);
        match self.entries.get(name) {
            Some(entry) => Err(Error::new(format!("`{name}` must be a section"))
                .at(entry.key_place.clone())
                .hint(format!(
                    "write `[{name}]` on a line of its own, its keys below"
                ))),
            None => Ok(()),
        }
    }

    fn field<T: Field>(
        &mut self,
        key: &'static str,
        _comment: &'static str,
        value: &mut T,
    ) -> Result<()> {
        let (name, entry) = self.take(key);
        if let Some(entry) = entry {
            *value = read(&name, entry)?;
        }
        Ok(())
    }

    fn field_or<T: Field>(
        &mut self,
        key: &'static str,
        word: &'static str,
        _comment: &'static str,
        value: &mut Option<T>,
    ) -> Result<()> {
        let (name, entry) = self.take(key);
        if let Some(entry) = entry {
            *value = match &entry.value {
                Toml::String(text) if text == word => None,
                other => Some(T::from_toml(other).map_err(|mismatch| {
                    let expected = format!("{}, or \"{word}\"", mismatch.expected);
                    Error::new(format!("{name} must be {expected}; found {}", shown(other)))
                        .at(entry.value_place.clone())
                })?),
            };
        }
        Ok(())
    }
}

fn read<T: Field>(name: &str, entry: &Entry) -> Result<T> {
    T::from_toml(&entry.value).map_err(|mismatch| {
        let message = format!(
            "{name} must be {}; found {}",
            mismatch.expected,
            shown(&entry.value)
        );
        let error = Error::new(message).at(entry.value_place.clone());
        match mismatch.suggestion {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error,
        }
    })
}

/// A value as it reads in the file, cut if it is long.
fn shown(value: &Toml) -> String {
    let text = one_line(&value.to_string());
    if text.chars().count() <= 40 {
        text
    } else {
        let start: String = text.chars().take(37).collect();
        format!("{start}...")
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value without its places.
fn plain(value: &DeValue<'_>) -> Result<Toml> {
    Ok(match value {
        DeValue::String(text) => Toml::String(text.to_string()),
        DeValue::Integer(digits) => {
            let integer = i64::from_str_radix(digits.as_str(), digits.radix())
                .map_err(|_| Error::new(format!("{digits} is too large for a whole number")))?;
            Toml::Integer(integer)
        }
        DeValue::Float(digits) => {
            let float = digits
                .as_str()
                .parse()
                .map_err(|_| Error::new(format!("{digits} is not a number")))?;
            Toml::Float(float)
        }
        DeValue::Boolean(value) => Toml::Boolean(*value),
        DeValue::Datetime(value) => Toml::Datetime(*value),
        DeValue::Array(items) => Toml::Array(
            items
                .iter()
                .map(|item| plain(item.get_ref()))
                .collect::<Result<_>>()?,
        ),
        DeValue::Table(table) => {
            let mut plain_table = toml::Table::new();
            for (key, value) in table {
                plain_table.insert(key.get_ref().to_string(), plain(value.get_ref())?);
            }
            Toml::Table(plain_table)
        }
    })
}

/// Line and column of a byte offset, both from 1; columns count characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    (line, column)
}
