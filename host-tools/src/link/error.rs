//! What can go wrong between host and board.

use std::fmt;

use bsp::protocol::{Failure, OLDEST_VERSION, VERSION};
use bsp::specification::LAYOUT_HASH;

/// Why the board could not be reached, or did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no such serial port.
    NoSuchPort {
        /// Its name.
        port: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// This user may not open the port.
    NoPermission {
        /// Its name.
        port: String,
        /// The group whose members may, if there is one.
        group: Option<String>,
    },
    /// Another program has the port open.
    InUse {
        /// Its name.
        port: String,
    },
    /// The port cannot be used for another reason.
    Port {
        /// Its name.
        port: String,
        /// What the operating system says.
        reason: String,
    },
    /// The port was there and is no longer.
    Vanished {
        /// Its name.
        port: String,
    },
    /// Nothing answers.
    Silent {
        /// The port's name.
        port: String,
        /// How often the board was asked.
        tries: u32,
    },
    /// Something comes, but nothing that can be understood.
    Garbage {
        /// The port's name.
        port: String,
        /// Bytes that came.
        bytes: usize,
    },
    /// The board speaks no version of the protocol that this host does.
    Version {
        /// The oldest version that the board understands.
        oldest: u8,
    },
    /// The firmware was built for other formats of memory.
    Layout {
        /// Hash of the firmware's formats.
        found: u64,
        /// Version of the firmware.
        build: String,
    },
    /// The board refused.
    Refused(Failure),
    /// An answer that does not fit the question.
    Unexpected {
        /// What was asked.
        request: &'static str,
    },
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The port cannot be used.
    Port,
    /// The port has gone.
    Vanished,
    /// No answer that can be understood.
    NoAnswer,
    /// Board and host do not fit each other.
    Incompatible,
    /// The board refused a request.
    Refused,
}

impl Error {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchPort { .. }
            | Self::NoPermission { .. }
            | Self::InUse { .. }
            | Self::Port { .. } => ErrorKind::Port,
            Self::Vanished { .. } => ErrorKind::Vanished,
            Self::Silent { .. } | Self::Garbage { .. } => ErrorKind::NoAnswer,
            Self::Version { .. } | Self::Layout { .. } | Self::Unexpected { .. } => {
                ErrorKind::Incompatible
            }
            Self::Refused(_) => ErrorKind::Refused,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSuchPort { existing, .. } if existing.is_empty() => {
                "no serial port exists: is the board plugged in?".into()
            }
            Self::NoSuchPort { existing, .. } => format!("there are {}", existing.join(", ")),
            Self::NoPermission {
                group: Some(group), ..
            } => format!(
                "only members of the group `{group}` may: sudo usermod -aG {group} $USER, then log in again"
            ),
            Self::NoPermission { group: None, .. } => "ask who owns it".into(),
            Self::InUse { .. } => "close that program: a terminal, or another `eventprop`".into(),
            Self::Vanished { .. } => "check cable and power; a transfer goes on where it was".into(),
            Self::Silent { .. } => {
                "is the board on, and does its monitor run? is this the right port?".into()
            }
            Self::Garbage { .. } => {
                "probably another number of bits per second: --baud N; or another program talks there"
                    .into()
            }
            Self::Version { .. } | Self::Layout { .. } | Self::Unexpected { .. } => {
                "build firmware and host tools from the same sources, and load the board anew".into()
            }
            Self::Refused(Failure::Locked { .. }) => {
                "name memory as 7,5,1:0xe800 or dram:0x1000, or allow the rest by --unlock".into()
            }
            Self::Port { .. } | Self::Refused(_) => return None,
        })
    }

    /// The port that it is about.
    fn port(&self) -> Option<&str> {
        match self {
            Self::NoSuchPort { port, .. }
            | Self::NoPermission { port, .. }
            | Self::InUse { port }
            | Self::Port { port, .. }
            | Self::Vanished { port }
            | Self::Silent { port, .. }
            | Self::Garbage { port, .. } => Some(port),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPort { .. } => f.write_str("no such port"),
            Self::NoPermission { .. } => f.write_str("you may not open it"),
            Self::InUse { .. } => f.write_str("another program uses it"),
            Self::Port { reason, .. } => f.write_str(reason),
            Self::Vanished { .. } => f.write_str("the port has vanished"),
            Self::Silent { tries, .. } => write!(f, "no answer, {tries} times asked"),
            Self::Garbage { bytes, .. } => {
                write!(f, "{bytes} bytes came, but nothing that can be understood")
            }
            Self::Version { oldest } => write!(
                f,
                "the board speaks version {oldest} of the protocol or later, this program {}",
                match OLDEST_VERSION {
                    VERSION => format!("version {VERSION}"),
                    oldest => format!("versions {oldest} to {VERSION}"),
                }
            ),
            Self::Layout { found, build } => write!(
                f,
                "the firmware (version {build}) has other memory formats ({found:016x}) than this program \
                 ({LAYOUT_HASH:016x})"
            ),
            Self::Refused(failure) => failure.fmt(f),
            Self::Unexpected { request } => {
                write!(f, "the board's answer to \"{request}\" is none")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let mut shown = Self::new(error.to_string());
        if let Some(port) = error.port() {
            shown = shown.at(port);
        }
        match error.hint() {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    }
}
