//! The one error type of the command: what was wrong, where, and what would be right.

use std::fmt;
use std::path::Path;

/// An error that a person can act on.
///
/// It is shown in one line, followed by a second one if there is a hint:
///
/// ```text
/// experiment.toml:7:1: unknown key `hiden` in [network]
///   hint: did you mean `hidden`?
/// ```
///
/// The command ends with exit status 2 on every `Error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    place: Option<String>,
    message: String,
    hint: Option<String>,
}

/// The result of anything that can end in an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error from what was wrong, as one line without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Makes an error from an operating-system error on a file or folder.
    ///
    /// `action` completes "cannot ...", for instance `"read"` or `"create the folder"`.
    pub fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("cannot {action}: {error}")).at(path.display().to_string())
    }

    /// Says where it happened: a file, a file with line and column, a flag, a key.
    ///
    /// A place that is already known is kept, since the innermost one is the most exact.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what would be right, unless that is said already.
    #[must_use]
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says the place in another way.
    #[must_use]
    pub(crate) fn moved(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Where it happened, if known.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What was wrong.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
