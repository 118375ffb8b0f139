//! The messages.
//!
//! They are postcard's encoding of the types here: the number of the variant in one byte, then its fields in
//! order. `u8` and arrays of bytes are as they are; larger numbers are varints (7 bits a byte, low ones first, bit 7
//! set on all but the last); slices of bytes have their length before them as a varint.

use core::fmt;

use s2_hal::topology::PeId;
use serde::{Deserialize, Serialize};

use crate::record::{Record, Status};
use crate::specification::Image;

use super::{MAX_BLOCK, MAX_FILL, OLDEST_VERSION, VERSION, WINDOW_BLOCKS};

/// The first bytes of both [`HelloRequest`] and [`HelloResponse`].
pub const MAGIC: [u8; 4] = *b"S2EP";

/// What [`Request::Unlock`] must say: "unlk", low byte first.
pub const UNLOCK: u32 = u32::from_le_bytes(*b"unlk");

/// Bytes of the longest record in [`State`].
pub const MAX_RECORD: usize = size_of::<Record>();

/// What a host asks for.
///
/// The tag (first byte) is the variant's place, from 0. New variants come at the end. Addresses are those that
/// every PE sees ([`Address`](s2_hal::dma::Address)), lengths are in bytes, and both are multiples of 4. A PE is
/// named by its number, [`PeId::noc_id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Tag 0. Starts a connection, with a sequence number that the host chooses at random: the same frame again is a
    /// repetition, not another connection. Answer: [`Response::Hello`].
    Hello(HelloRequest),
    /// Tag 1. Ends the connection. Answer: [`Response::Done`].
    Close,
    /// Tag 2. Opens the lock on everything that is no memory for writing, until the connection ends. Answer:
    /// [`Response::Done`].
    Unlock {
        /// [`UNLOCK`].
        word: u32,
    },
    /// Tag 3. What all PEs do. Answer: [`Response::Overview`].
    Overview,
    /// Tag 4. What one PE does, at length. Answer: [`Response::State`].
    State {
        /// The PE.
        pe: u8,
    },
    /// Tag 5. Reads memory. Answer: [`Response::Data`].
    Read {
        /// First address.
        address: u32,
        /// Length, 4 to [`HelloResponse::max_block`].
        length: u16,
    },
    /// Tag 6. Writes memory, word by word from the first address up. Answer: [`Response::Done`].
    Write {
        /// First address.
        address: u32,
        /// 4 to [`HelloResponse::max_block`] bytes.
        data: &'a [u8],
    },
    /// Tag 7. Writes the same word to all of a piece of memory. Answer: [`Response::Done`].
    Fill {
        /// First address.
        address: u32,
        /// Length, 4 to [`MAX_FILL`].
        length: u32,
        /// The word.
        word: u32,
    },
    /// Tag 8. Starts a transfer to memory, or goes on with the one of the same id, address and length. The board
    /// knows one transfer at a time. Answer: [`Response::Needs`].
    Open {
        /// What the host calls it: another number for other data, for instance their CRC-32.
        id: u32,
        /// First address.
        address: u32,
        /// Length, 4 or more.
        length: u32,
    },
    /// Tag 9. A block of the transfer. Answer: [`Response::Needs`].
    Block {
        /// Id of the transfer.
        id: u32,
        /// Number of the block, from 0: it goes to the transfer's address plus so many times
        /// [`HelloResponse::max_block`].
        index: u32,
        /// [`HelloResponse::max_block`] bytes; the transfer's last block has what is left.
        data: &'a [u8],
    },
    /// Tag 10. Lets the processor of a PE that is held run, from the reset vector of what its memory holds. Answer:
    /// [`Response::Done`].
    Start {
        /// The PE.
        pe: u8,
    },
    /// Tag 11. Stops the processor of a PE and holds it. Its memory stays. Answer: [`Response::Done`].
    Stop {
        /// The PE.
        pe: u8,
    },
    /// Tag 12. Stops the processor of a PE if it runs and lets it run from its reset vector. Answer:
    /// [`Response::Done`].
    Reset {
        /// The PE.
        pe: u8,
    },
    /// Tag 13. Raises a feed-through line for a moment: line 0 wakes programs that wait for a
    /// [command](crate::command). Answer: [`Response::Done`].
    Signal {
        /// The line; only 0 for now.
        line: u8,
    },
    /// Tag 14. Starts or ends the stream of [`Response::Progress`]. Answer: [`Response::Done`].
    Subscribe {
        /// Whether to send it.
        on: bool,
    },
}

/// What a board says.
///
/// The tag (first byte) is the variant's place, from 0. New variants come at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response<'a> {
    /// Tag 0. Answer to [`Request::Hello`].
    Hello(HelloResponse),
    /// Tag 1. It was not done.
    Failed(Failure),
    /// Tag 2. It was done.
    Done,
    /// Tag 3. Answer to [`Request::Overview`]: a byte for each PE of [`HelloResponse::pes`], in the order of their
    /// numbers. See [`overview`](Self::overview_byte).
    Overview {
        /// The bytes.
        states: &'a [u8],
    },
    /// Tag 4. Answer to [`Request::State`].
    State(#[serde(borrow)] State<'a>),
    /// Tag 5. Answer to [`Request::Read`].
    Data {
        /// First address.
        address: u32,
        /// What is there.
        data: &'a [u8],
    },
    /// Tag 6. Answer to [`Request::Open`] and [`Request::Block`]: what the transfer still needs.
    Needs {
        /// Id of the transfer.
        id: u32,
        /// The first block that is missing; the number of blocks if none is.
        first: u32,
        /// Bit n: block `first + 1 + n` is there.
        held: u32,
    },
    /// Tag 7. Nobody's answer: a record that has changed its status, run or step since it was last sent. The
    /// sequence number counts these messages, from 0 for each [`Request::Subscribe`]. One that gets lost is not
    /// sent again.
    Progress(#[serde(borrow)] State<'a>),
}

/// Layout for ever: magic `S2EP`, then two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloRequest {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// The oldest version of the protocol that the host understands.
    pub oldest: u8,
    /// The newest.
    pub newest: u8,
}

impl HelloRequest {
    /// What a host of this crate's version says.
    pub const THIS: Self = Self {
        magic: MAGIC,
        oldest: OLDEST_VERSION,
        newest: VERSION,
    };
}

/// A short text: UTF-8, filled up with zeros.
pub type Text = [u8; 16];

/// Layout for ever, 84 bytes: fields in order, numbers with the low byte first. Boards of later versions
/// append fields; a host ignores what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloResponse {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// The oldest version of the protocol that the board understands.
    pub oldest: u8,
    /// The version that the connection speaks: the newest that both understand. 0 if there is none: there is no
    /// connection then.
    pub version: u8,
    max_block: [u8; 2],
    /// Requests that may be unanswered at a time.
    pub window: u8,
    /// Number of the monitor's PE.
    pub monitor: u8,
    chip: [u8; 2],
    layout: [u8; 8],
    /// Version of the firmware.
    pub build: Text,
    /// Name of the [board](crate::board).
    pub board: Text,
    /// The PEs that exist: bit `n % 8` of byte `n / 8` is that of number `n`.
    pub pes: [u8; 32],
}

impl HelloResponse {
    /// Bytes of it.
    pub const BYTES: usize = 84;

    /// What a board says that speaks `version` and has no PEs yet.
    #[must_use]
    pub fn new(version: u8, layout_hash: u64, board: &str, chip: u16, monitor: PeId) -> Self {
        Self {
            magic: MAGIC,
            oldest: OLDEST_VERSION,
            version,
            max_block: (MAX_BLOCK as u16).to_le_bytes(),
            window: super::WINDOW,
            monitor: monitor.noc_id(),
            chip: chip.to_le_bytes(),
            layout: layout_hash.to_le_bytes(),
            build: text(env!("CARGO_PKG_VERSION")),
            board: text(board),
            pes: [0; 32],
        }
    }

    /// Notes that a PE exists.
    pub fn add(&mut self, pe: PeId) {
        let number = pe.noc_id();
        self.pes[usize::from(number / 8)] |= 1 << (number % 8);
    }

    /// Whether the board has the PE with this number.
    #[must_use]
    pub fn has(&self, number: u8) -> bool {
        self.pes[usize::from(number / 8)] >> (number % 8) & 1 == 1
    }

    /// The PEs of the board, by their numbers.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|&number| self.has(number))
    }

    /// Bytes of data in the largest message.
    #[must_use]
    pub fn max_block(&self) -> usize {
        u16::from_le_bytes(self.max_block).into()
    }

    /// Number of the chip.
    #[must_use]
    pub fn chip(&self) -> u16 {
        u16::from_le_bytes(self.chip)
    }

    /// Hash of the formats that the firmware knows:
    /// [`LAYOUT_HASH`](crate::specification::LAYOUT_HASH) of its sources.
    #[must_use]
    pub fn layout_hash(&self) -> u64 {
        u64::from_le_bytes(self.layout)
    }

    /// A text without what fills it up; of bytes that are no UTF-8, what is before them.
    #[must_use]
    pub fn text(text: &Text) -> &str {
        let end = text
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(text.len());
        match core::str::from_utf8(&text[..end]) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

/// As much of a text as fits.
fn text(text: &str) -> Text {
    let mut bytes = Text::default();
    for (to, &from) in bytes.iter_mut().zip(text.as_bytes()) {
        *to = from;
    }
    bytes
}

/// Whether a processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Processor {
    /// 0. It is held: it executes nothing until it is started.
    Held,
    /// 1. It runs, or sleeps.
    Running,
}

/// What one PE does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State<'a> {
    /// Number of the PE.
    pub pe: u8,
    /// Whether its processor runs.
    pub processor: Processor,
    /// Its [record](crate::record), without the zeros at its end.
    pub record: &'a [u8],
}

impl State<'_> {
    /// The record; `None` if its bytes are too many. Memory that no program has started in may hold anything: see
    /// [`Record::status`].
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        let mut record: Record = bytemuck::Zeroable::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut record);
        bytes
            .get_mut(..self.record.len())?
            .copy_from_slice(self.record);
        Some(record)
    }
}

impl Response<'_> {
    /// A PE in [`Response::Overview`]: bit 7 is set if the processor runs, bits 6:4 hold the number of the program's
    /// [`Image`] or 0, bits 3:0 the place of its status in [`Status::ALL`], or 15 if there is no record.
    #[must_use]
    pub fn overview_byte(processor: Processor, status: u32, image: u32) -> u8 {
        let running = u8::from(processor == Processor::Running) << 7;
        match Status::ALL.iter().position(|&known| known as u32 == status) {
            Some(place) => {
                let image = Image::from_word(image).map_or(0, |image| image as u8);
                running | image << 4 | place as u8
            }
            None => running | 15,
        }
    }

    /// What such a byte says.
    #[must_use]
    pub fn overview(byte: u8) -> (Processor, Option<Status>, Option<Image>) {
        let processor = if byte >> 7 == 1 {
            Processor::Running
        } else {
            Processor::Held
        };
        let status = Status::ALL.get(usize::from(byte & 15)).copied();
        (processor, status, Image::from_word((byte >> 4 & 7).into()))
    }
}

/// Why a request was not done. Nothing has changed then, unless it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Failure {
    /// 0. The request's tag, or what follows it, is unknown to the board.
    UnknownMessage {
        /// The tag.
        tag: u8,
        /// The version that the board speaks.
        version: u8,
    },
    /// 1. The connection has not been started, or the board was restarted since.
    NoHello,
    /// 2. Too old to tell whether it was done already.
    Stale,
    /// 3. Writing there, or accessing it at all, takes [`Request::Unlock`].
    Locked {
        /// First address of the access.
        address: u32,
    },
    /// 4. The word is not the one that unlocks.
    WrongWord,
    /// 5. Address or length is not a multiple of 4.
    Misaligned {
        /// First address of the access.
        address: u32,
    },
    /// 6. Too long, or too short.
    Length {
        /// The length asked for.
        length: u32,
        /// The longest allowed.
        limit: u32,
    },
    /// 7. The board has no such PE.
    NoSuchPe {
        /// The number asked for.
        pe: u8,
    },
    /// 8. The PE is the monitor's own: it cannot start or stop itself.
    Monitor,
    /// 9. The PE's processor runs already.
    Busy {
        /// The PE.
        pe: u8,
    },
    /// 10. No transfer of this id is open.
    NoTransfer {
        /// The id asked for.
        id: u32,
    },
    /// 11. Not one of the blocks that the transfer takes now.
    Block {
        /// The block.
        index: u32,
        /// The first block that is missing.
        first: u32,
    },
    /// 12. There is no such line, or the board cannot raise it.
    NoSuchLine {
        /// The line asked for.
        line: u8,
    },
    /// 13. The access failed on its way; some of the words may have been written.
    Bus {
        /// First address of the access.
        address: u32,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownMessage { tag, version } => write!(
                f,
                "the board, which speaks version {version} of the protocol, does not understand message {tag}; \
                 this is version {VERSION}: build firmware and host tools from the same sources"
            ),
            Self::NoHello => {
                f.write_str("the board knows of no connection: it was restarted; connect again")
            }
            Self::Stale => write!(
                f,
                "the request is too old to tell whether it was done; at most {} may be under way",
                super::REMEMBERED
            ),
            Self::Locked { address } => write!(
                f,
                "{address:#010x} lies neither in another PE's SRAM nor in the DRAM of hosts: \
                 an access there needs an unlocked board"
            ),
            Self::WrongWord => write!(f, "the board is unlocked by the word {UNLOCK:#010x} only"),
            Self::Misaligned { address } => write!(
                f,
                "access to {address:#010x}: address and length must be multiples of 4"
            ),
            Self::Length { length, limit } => {
                write!(f, "{length} bytes; it may be 4 to {limit}")
            }
            Self::NoSuchPe { pe } => write!(
                f,
                "the board has no PE with number {pe:#04x} ({},{},{})",
                pe >> 5,
                pe >> 2 & 7,
                pe & 3
            ),
            Self::Monitor => {
                f.write_str("the monitor cannot start or stop its own PE; name another one")
            }
            Self::Busy { pe } => match PeId::from_noc_id(pe) {
                Some(pe) => write!(f, "{pe} runs already; stop or reset it"),
                None => write!(f, "PE {pe:#04x} runs already; stop or reset it"),
            },
            Self::NoTransfer { id } => {
                write!(f, "no transfer {id:#010x} is open: open it again")
            }
            Self::Block { index, first } => write!(
                f,
                "block {index} is none of {first} to {}, which the transfer takes now, or not of the right length",
                first.saturating_add(WINDOW_BLOCKS - 1)
            ),
            Self::NoSuchLine { line } => {
                write!(f, "line {line} cannot be raised; line 0 can")
            }
            Self::Bus { address } => write!(f, "the access to {address:#010x} failed on its way"),
        }
    }
}

impl core::error::Error for Failure {}

impl<'a> Request<'a> {
    /// The request in a frame's message.
    ///
    /// # Errors
    /// [`Failure::UnknownMessage`], which is the answer to send, if it is none that this crate knows, or has
    /// more bytes than it should. [`Request::Hello`] may have more, which hosts of later versions may add.
    pub fn decode(message: &'a [u8]) -> Result<Self, Failure> {
        match postcard::take_from_bytes(message) {
            Ok((request, [])) | Ok((request @ Self::Hello(_), _)) => Ok(request),
            _ => Err(Failure::UnknownMessage {
                tag: message.first().copied().unwrap_or(0),
                version: VERSION,
            }),
        }
    }

    /// Whether it changes something, so that doing it twice could do harm.
    #[must_use]
    pub const fn changes(&self) -> bool {
        !matches!(
            self,
            Self::Hello(_) | Self::Close | Self::Overview | Self::State { .. } | Self::Read { .. }
        )
    }

    /// Refuses what is too long, too short or not aligned, whatever its address.
    ///
    /// # Errors
    /// [`Failure::Length`], [`Failure::Misaligned`].
    pub fn check(&self) -> Result<(), Failure> {
        let (address, length, limit) = match *self {
            Self::Read { address, length } => (address, length.into(), MAX_BLOCK as u32),
            Self::Write { address, data } => (address, data.len() as u32, MAX_BLOCK as u32),
            Self::Fill {
                address, length, ..
            } => (address, length, MAX_FILL),
            Self::Open {
                address, length, ..
            } => (address, length, u32::MAX),
            _ => return Ok(()),
        };
        if length == 0 || length > limit {
            return Err(Failure::Length { length, limit });
        }
        if address % 4 != 0 || length % 4 != 0 {
            return Err(Failure::Misaligned { address });
        }
        Ok(())
    }
}

impl<'a> Response<'a> {
    /// The response in a frame's message; `None` if it is none that this crate knows. More bytes than it has are
    /// allowed behind [`Response::Hello`] only.
    #[must_use]
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        match postcard::take_from_bytes(message) {
            Ok((response, [])) => Some(response),
            Ok((response @ Self::Hello(_), _)) => Some(response),
            _ => None,
        }
    }
}
