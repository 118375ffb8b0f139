//! The data specification: what the host writes into a PE's memory before its program starts.
//!
//! It stands at a fixed address and starts with the magic number and version that public product
//! programs use (tag N). What follows is this project's own: which formats the host knows
//! ([`LAYOUT_HASH`]), for which image it is, and a body with a checksum: the [`Body`] as words
//! ([`eventprop_core::program::wire`]).
//!
//! | word | content |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 1 | [`VERSION`] |
//! | 2, 3 | [`LAYOUT_HASH`], low word first |
//! | 4 | number of the [`Image`] |
//! | 5 | words of the body |
//! | 6 | CRC-32 (ISO-HDLC, as in zip) of the body, each word's lowest byte first |
//! | 7 | 0 |
//! | 8 to the end | the body |
//!
//! # The layout hash
//! Host and firmware share the types, so they agree when built from the same sources. When they are
//! not, an old image would misread a new specification. The hash is taken of the names and types of all
//! fields that cross ([`LAYOUTS`]) and of the places of everything else, so it changes whenever one of
//! these does, and the program refuses the specification with both hashes.

use core::fmt;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use eventprop_core::event::MAX_NEIGHBOURS;
use eventprop_core::log::Event;
use eventprop_core::program::loss::SampleResult;
use eventprop_core::program::optimizer::{Home, MAX_DESTINATIONS, MAX_PARTS, ProgressBlock};
use eventprop_core::program::wire::{LAYOUTS, Reader, Wire, Writer};
use eventprop_core::program::words::{WORDS, Words};
use eventprop_core::program::{Fault, Program, Status};
use eventprop_core::tables::Coefficients;

use crate::command::Command;
use crate::layout;
use crate::record::Record;

/// First word of a data specification (tag N).
pub const MAGIC: u32 = 0xad13_0ad6;

/// Second word: version 1.0 (tag N).
pub const VERSION: u32 = 0x0001_0000;

/// Hash (64-bit FNV-1a) of all formats and places that host and firmware share.
pub const LAYOUT_HASH: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < LAYOUTS.len() {
        hash = hash_bytes(hash, LAYOUTS[at].as_bytes());
        at += 1;
    }
    let sizes = [
        layout::RECORD.start as usize,
        layout::SPECIFICATION.start as usize,
        layout::COMMAND.start as usize,
        layout::ARRAYS.start as usize,
        layout::STACK.start as usize,
        MAX_NEIGHBOURS,
        MAX_PARTS,
        MAX_DESTINATIONS,
        size_of::<Status>(),
        size_of::<Coefficients>(),
        size_of::<Event>(),
        size_of::<SampleResult>(),
        size_of::<ProgressBlock>(),
        size_of::<Home>(),
        size_of::<Command>(),
        offset_of!(Record, stack_used),
        offset_of!(Record, layout),
    ];
    let mut at = 0;
    while at < sizes.len() {
        hash = hash_bytes(hash, &(sizes[at] as u32).to_le_bytes());
        at += 1;
    }
    hash
};

const fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// The firmware images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Image {
    /// [`eventprop_core::program::input`].
    Input = 1,
    /// [`eventprop_core::program::layer`].
    Layer = 2,
    /// [`eventprop_core::program::loss`].
    Loss = 3,
    /// [`eventprop_core::program::optimizer`].
    Optimizer = 4,
    /// Watches the other PEs.
    Monitor = 5,
    /// An example, or anything else that takes no data specification.
    Other = 6,
}

impl Image {
    /// The images that `bsp/src/bin` builds.
    pub const ALL: [Self; 5] = [
        Self::Input,
        Self::Layer,
        Self::Loss,
        Self::Optimizer,
        Self::Monitor,
    ];

    /// The image with this number.
    #[must_use]
    pub fn from_word(word: u32) -> Option<Self> {
        let all = Self::ALL.into_iter().chain([Self::Other]);
        all.into_iter().find(|&image| image as u32 == word)
    }

    /// Its name, which is that of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Layer => "layer",
            Self::Loss => "loss",
            Self::Optimizer => "optimizer",
            Self::Monitor => "monitor",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a program is told, beside what stands in its arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<C> {
    /// The program's configuration.
    pub config: C,
    /// Words of its receive ring, an even number: every packet takes two.
    pub ring_words: u32,
    /// Milliseconds without progress after which it stops ([`TimeOut`](crate::record::Status::TimeOut)).
    pub time_out_ms: u32,
}

/// The words before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Head {
    magic: u32,
    version: u32,
    layout: [u32; 2],
    image: u32,
    words: u32,
    checksum: u32,
    reserved: u32,
}

/// Words of the head.
const HEAD_WORDS: usize = size_of::<Head>() / 4;

/// Words of the longest body.
pub const BODY_WORDS: usize = layout::bytes(&layout::SPECIFICATION) / 4 - HEAD_WORDS;

/// Why a data specification cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is none: the first word is another one.
    Magic {
        /// The first word.
        found: u32,
    },
    /// It is of another version.
    Version {
        /// Its version.
        found: u32,
    },
    /// Host and program were built from different formats.
    Layout {
        /// Hash of the host's formats.
        found: u64,
    },
    /// It is meant for another image.
    Image {
        /// Number of that image.
        found: u32,
    },
    /// The body is longer than the memory for it, or empty.
    Length {
        /// Words that it should have.
        found: u32,
    },
    /// The body was altered.
    Checksum {
        /// Its checksum.
        found: u32,
        /// What the head says.
        expected: u32,
    },
    /// The body is no configuration of this program.
    Body,
    /// The program's arrays do not fit the PE's memory.
    Arrays {
        /// Bytes needed.
        needed: u32,
        /// Bytes there, beside the receive ring.
        available: u32,
    },
    /// The receive ring is too small for the packets that may be under way.
    RingTooSmall {
        /// Words needed.
        needed: u32,
        /// Words given.
        found: u32,
    },
    /// The receive ring is too large for the PE's memory, or not a multiple of four words.
    Ring {
        /// Words given.
        found: u32,
    },
    /// A number of the configuration is out of its range.
    Configuration(&'static str),
    /// The time-out is zero.
    TimeOut,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic { found } => write!(
                f,
                "none found: the first word is {found:#010x} instead of {MAGIC:#010x}"
            ),
            Self::Version { found } => write!(
                f,
                "version {}.{} instead of {}.{}",
                found >> 16,
                found & 0xffff,
                VERSION >> 16,
                VERSION & 0xffff
            ),
            Self::Layout { found } => write!(
                f,
                "made by a host with other formats ({found:016x}, this program has {LAYOUT_HASH:016x}); \
                 build firmware and host tools from the same sources"
            ),
            Self::Image { found } => match Image::from_word(found) {
                Some(image) => write!(f, "meant for the image {image}"),
                None => write!(f, "meant for an unknown image, number {found}"),
            },
            Self::Length { found } => {
                write!(f, "a body of {found} words; it may have 1 to {BODY_WORDS}")
            }
            Self::Checksum { found, expected } => write!(
                f,
                "damaged: checksum {found:#010x} instead of {expected:#010x}"
            ),
            Self::Body => f.write_str("the body is no configuration of this program"),
            Self::Arrays { needed, available } => write!(
                f,
                "the program's arrays need {needed} bytes, the PE has {available} for them"
            ),
            Self::RingTooSmall { needed, found } => write!(
                f,
                "a receive ring of {found} words; {needed} may be under way at once"
            ),
            Self::Ring { found } => write!(
                f,
                "a receive ring of {found} words; it must be a multiple of 4 and at most {}",
                layout::bytes(&layout::ARRAYS) / 4
            ),
            Self::Configuration(what) => write!(f, "configuration: {what}"),
            Self::TimeOut => f.write_str("a time-out of 0 ms"),
        }
    }
}

impl core::error::Error for Error {}

impl Error {
    /// The error's words in a record. The text of [`Error::Configuration`] is not in them.
    pub(crate) const fn to_words(self) -> Words {
        match self {
            Self::Magic { found } => [1, found, 0, 0, 0],
            Self::Version { found } => [2, found, 0, 0, 0],
            Self::Layout { found } => [3, found as u32, (found >> 32) as u32, 0, 0],
            Self::Image { found } => [4, found, 0, 0, 0],
            Self::Length { found } => [5, found, 0, 0, 0],
            Self::Checksum { found, expected } => [6, found, expected, 0, 0],
            Self::Body => [7, 0, 0, 0, 0],
            Self::Arrays { needed, available } => [8, needed, available, 0, 0],
            Self::RingTooSmall { needed, found } => [9, needed, found, 0, 0],
            Self::Ring { found } => [10, found, 0, 0, 0],
            Self::Configuration(_) => [11, 0, 0, 0, 0],
            Self::TimeOut => [12, 0, 0, 0, 0],
        }
    }

    /// The error of these words.
    pub(crate) fn from_words([code, a, b, ..]: Words) -> Option<Self> {
        const _: () = assert!(WORDS >= 3);
        Some(match code {
            1 => Self::Magic { found: a },
            2 => Self::Version { found: a },
            3 => Self::Layout {
                found: u64::from(b) << 32 | u64::from(a),
            },
            4 => Self::Image { found: a },
            5 => Self::Length { found: a },
            6 => Self::Checksum {
                found: a,
                expected: b,
            },
            7 => Self::Body,
            8 => Self::Arrays {
                needed: a,
                available: b,
            },
            9 => Self::RingTooSmall {
                needed: a,
                found: b,
            },
            10 => Self::Ring { found: a },
            11 => Self::Configuration("a number is out of its range"),
            12 => Self::TimeOut,
            _ => return None,
        })
    }
}

/// A program that a specification can be for.
pub trait Specified: Program<Config: Wire> {
    /// Its image.
    const IMAGE: Image;
}

impl Specified for eventprop_core::program::input::Input {
    const IMAGE: Image = Image::Input;
}

impl Specified for eventprop_core::program::layer::Layer {
    const IMAGE: Image = Image::Layer;
}

impl Specified for eventprop_core::program::loss::Loss {
    const IMAGE: Image = Image::Loss;
}

impl Specified for eventprop_core::program::optimizer::Optimizer {
    const IMAGE: Image = Image::Optimizer;
}

fn checksum(words: &[u32]) -> u32 {
    // Without a table: a body is short, and memory is dear.
    let crc = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    for word in words {
        digest.update(&word.to_le_bytes());
    }
    digest.finalize()
}

/// Writes the specification of a program into `memory`, the words from
/// [`layout::SPECIFICATION`] on, and returns how many it takes.
///
/// # Errors
/// What [`read`] would refuse too; nothing useful is in `memory` then. [`Error::Length`] if the body
/// does not fit.
pub fn write<P: Specified>(body: &Body<P::Config>, memory: &mut [u32]) -> Result<usize, Error> {
    check::<P>(body)?;
    let too_long = Error::Length {
        found: memory.len() as u32,
    };
    let (head, rest) = memory.split_at_mut_checked(HEAD_WORDS).ok_or(too_long)?;
    let room = rest.len().min(BODY_WORDS);
    let mut writer = Writer::new(&mut rest[..room]);
    body.config.put(&mut writer);
    body.ring_words.put(&mut writer);
    body.time_out_ms.put(&mut writer);
    let words = writer.finish().ok_or(too_long)?;
    head.copy_from_slice(bytemuck::cast_slice(&[Head {
        magic: MAGIC,
        version: VERSION,
        layout: [LAYOUT_HASH as u32, (LAYOUT_HASH >> 32) as u32],
        image: P::IMAGE as u32,
        words: words as u32,
        checksum: checksum(&rest[..words]),
        reserved: 0,
    }]));
    Ok(HEAD_WORDS + words)
}

/// Reads and checks the specification of a program from `memory`, the words from
/// [`layout::SPECIFICATION`] on.
///
/// # Errors
/// The first thing that is wrong. Any words are safe to give.
pub fn read<P: Specified>(memory: &[u32]) -> Result<Body<P::Config>, Error> {
    let (head, rest) = memory
        .split_first_chunk::<HEAD_WORDS>()
        .ok_or(Error::Magic { found: 0 })?;
    let head: Head = bytemuck::cast(*head);
    if head.magic != MAGIC {
        return Err(Error::Magic { found: head.magic });
    }
    if head.version != VERSION {
        return Err(Error::Version {
            found: head.version,
        });
    }
    let found = u64::from(head.layout[1]) << 32 | u64::from(head.layout[0]);
    if found != LAYOUT_HASH {
        return Err(Error::Layout { found });
    }
    if head.image != P::IMAGE as u32 {
        return Err(Error::Image { found: head.image });
    }
    let body = rest
        .get(..head.words as usize)
        .filter(|body| !body.is_empty() && body.len() <= BODY_WORDS)
        .ok_or(Error::Length { found: head.words })?;
    let sum = checksum(body);
    if sum != head.checksum {
        return Err(Error::Checksum {
            found: sum,
            expected: head.checksum,
        });
    }
    let mut reader = Reader::new(body);
    let body = Body {
        config: Wire::get(&mut reader),
        ring_words: Wire::get(&mut reader),
        time_out_ms: Wire::get(&mut reader),
    };
    if !reader.finish() {
        return Err(Error::Body);
    }
    check::<P>(&body)?;
    Ok(body)
}

/// Checks that a program with this body fits a PE.
fn check<P: Specified>(body: &Body<P::Config>) -> Result<(), Error> {
    P::check(&body.config).map_err(|fault| match fault {
        Fault::Configuration(what) => Error::Configuration(what),
        _ => Error::Configuration("the program refuses it"),
    })?;
    let found = body.ring_words;
    let room = match layout::array_bytes((found as usize).saturating_mul(4)) {
        Some(room) if found.is_multiple_of(4) && found > 0 => room,
        _ => return Err(Error::Ring { found }),
    };
    let needed = P::memory_bytes(&body.config);
    if needed > room {
        return Err(Error::Arrays {
            needed: needed as u32,
            available: room as u32,
        });
    }
    // A packet more than may be under way: whether hardware fills the last words of a ring is not public.
    let needed = P::ring_words(&body.config) + 2;
    if needed > found as usize {
        return Err(Error::RingTooSmall {
            needed: needed as u32,
            found,
        });
    }
    if body.time_out_ms == 0 {
        return Err(Error::TimeOut);
    }
    Ok(())
}
