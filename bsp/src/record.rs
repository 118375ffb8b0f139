//! What a program tells the host: 256 bytes at a fixed address, readable at any time.
//!
//! A program keeps its state here ([`Status`]), and when it stops for a reason that nobody asked for,
//! which one ([`Cause`]), where it was, and how much stack and heap it had used. A debugger, the host
//! link and the emulator read the same bytes; [`Record`] prints itself.

use core::fmt;
use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};
#[cfg(doc)]
use eventprop_core::program::Phase;
use eventprop_core::program::words::{WORDS, Words};
use eventprop_core::program::{Fault, Waiting};
use s2_hal::topology::PeId;

use crate::layout;
use crate::specification::{self, Image};

/// What a program is doing.
///
/// The numbers of [`Done`](Self::Done) and [`BadSpecification`](Self::BadSpecification) are those of
/// public product programs (tag N).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Status {
    /// It has not started since the memory was cleared.
    NotStarted = 0,
    /// It prepares itself.
    Starting = 1,
    /// It waits for its first command.
    Ready = 2,
    /// It works on a command.
    Running = 3,
    /// It has finished a command and waits for the next.
    Done = 0xcafe_babe,
    /// It cannot work with its data specification.
    BadSpecification = 0xdead_beef,
    /// It stopped in a fault.
    Fault = 0xdead_0001,
    /// It waited too long for something.
    TimeOut = 0xdead_0002,
    /// A check of the programming language failed.
    Panic = 0xdead_0003,
    /// The processor stopped it.
    Exception = 0xdead_0004,
}

impl Status {
    /// All of them; their places are the numbers in the host link's overview.
    pub const ALL: [Self; 10] = [
        Self::NotStarted,
        Self::Starting,
        Self::Ready,
        Self::Running,
        Self::Done,
        Self::BadSpecification,
        Self::Fault,
        Self::TimeOut,
        Self::Panic,
        Self::Exception,
    ];

    /// The status with this number.
    #[must_use]
    pub fn from_word(word: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&status| status as u32 == word)
    }

    /// Whether the program has stopped for good.
    #[must_use]
    pub const fn is_stopped(self) -> bool {
        matches!(
            self,
            Self::BadSpecification | Self::Fault | Self::TimeOut | Self::Panic | Self::Exception
        )
    }
}

/// What the processor says of an exception that it cannot go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Configurable fault status register (CFSR).
    pub status: u32,
    /// The address that could not be accessed, if known.
    pub address: Option<u32>,
    /// The instruction, unless the stack was lost with it.
    pub pc: Option<u32>,
    /// The stack pointer.
    pub stack: u32,
}

impl Exception {
    /// Whether the stack has run into its guard.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        let guard = layout::STACK.start..layout::STACK.start + layout::STACK_GUARD_BYTES;
        // Bits 1 and 4 of the memory-management part: a data access, and stacking for an exception.
        self.status & 0b1_0010 != 0
            && (self.stack < guard.end || self.address.is_some_and(|at| guard.contains(&at)))
    }

    fn to_words(self) -> Words {
        let known = u32::from(self.address.is_some()) | u32::from(self.pc.is_some()) << 1;
        [
            known,
            self.status,
            self.address.unwrap_or(0),
            self.pc.unwrap_or(0),
            self.stack,
        ]
    }

    fn from_words([known, status, address, pc, stack]: Words) -> Self {
        Self {
            status,
            address: (known & 1 != 0).then_some(address),
            pc: (known & 2 != 0).then_some(pc),
            stack,
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Bits of the status register that say what went wrong.
        const CAUSES: [(u32, &str); 12] = [
            (0, "instruction fetch from protected memory"),
            (1, "access to protected memory"),
            (4, "no stack left on entry to an exception"),
            (8, "instruction fetch from no memory"),
            (9, "access to no memory or register"),
            (10, "write to no memory or register"),
            (12, "stack outside memory on entry to an exception"),
            (16, "undefined instruction"),
            (17, "jump to an address without the Thumb bit"),
            (19, "floating-point unit is off"),
            (24, "unaligned access"),
            (25, "division by zero"),
        ];
        if self.is_stack_overflow() {
            f.write_str("the stack overflowed")?;
        } else {
            let mut causes = CAUSES
                .iter()
                .filter(|(bit, _)| self.status >> bit & 1 == 1)
                .map(|(_, cause)| cause);
            f.write_str(causes.next().unwrap_or(&"unknown exception"))?;
            causes.try_for_each(|cause| write!(f, ", {cause}"))?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#010x}")?;
        }
        if let Some(pc) = self.pc {
            write!(f, ", at instruction {pc:#07x}")?;
        }
        Ok(())
    }
}

/// Why a program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its data specification cannot be used.
    Specification(specification::Error),
    /// A fault.
    Fault(Fault),
    /// Nothing came for too long; what it was waiting for.
    TimeOut(Waiting),
    /// A failed check; the record's text has message and place.
    Panic,
    /// An exception of the processor.
    Exception(Exception),
}

/// Bytes of text in a record.
pub const TEXT_BYTES: usize = 160;

/// The 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// A number of [`Status`].
    pub status: u32,
    /// Which program it is: a number of [`Image`].
    pub image: u32,
    /// Number of the chip in bits 31:16, of the PE in bits 7:0.
    pub id: u32,
    /// Number of the command that is or was at work.
    pub run: u32,
    /// Where the program was: see [`Program::step`](eventprop_core::program::Program::step).
    pub step: u32,
    cause: Words,
    pub(crate) waiting: Words,
    /// Most bytes of stack used; counted when a run ends or the program stops.
    pub stack_used: u32,
    /// Bytes of the start-up heap in use.
    pub heap_used: u32,
    /// Most words that have waited in the receive ring.
    pub ring_peak: u32,
    /// Packets that a full ring dropped.
    pub ring_dropped: u32,
    /// Times that the program went to sleep.
    pub sleeps: u32,
    /// What the program is at: a number of [`Phase`].
    pub phase: u32,
    /// Bit pattern of [`specification::LAYOUT_HASH`], low word first: which formats the program knows.
    pub layout: [u32; 2],
    text_bytes: u32,
    text: [u8; TEXT_BYTES],
}

const _: () = assert!(size_of::<Record>() == layout::bytes(&layout::RECORD));

impl Record {
    /// Where in the record the phase is, for tools that watch it.
    pub const PHASE_OFFSET: u32 = offset_of!(Self, phase) as u32;

    /// The record of a program that starts.
    #[must_use]
    pub const fn starting(image: Image, id: u32) -> Self {
        Self {
            status: Status::Starting as u32,
            image: image as u32,
            id,
            run: 0,
            step: 0,
            cause: [0; WORDS],
            waiting: [0; WORDS],
            stack_used: 0,
            heap_used: 0,
            ring_peak: 0,
            ring_dropped: 0,
            sleeps: 0,
            phase: 0,
            layout: [
                specification::LAYOUT_HASH as u32,
                (specification::LAYOUT_HASH >> 32) as u32,
            ],
            text_bytes: 0,
            text: [0; TEXT_BYTES],
        }
    }

    /// What the program is doing; `None` if the word is that of no status, so that this is no record.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        Status::from_word(self.status)
    }

    /// The PE, if the chip has it.
    #[must_use]
    pub fn pe(&self) -> Option<PeId> {
        PeId::from_noc_id(self.id as u8)
    }

    /// Notes why the program stops.
    pub fn stop(&mut self, cause: Cause) {
        let (status, words) = match cause {
            Cause::Specification(error) => (Status::BadSpecification, error.to_words()),
            Cause::Fault(fault) => (Status::Fault, fault.to_words()),
            Cause::TimeOut(waiting) => (Status::TimeOut, waiting.to_words()),
            Cause::Panic => (Status::Panic, [0; WORDS]),
            Cause::Exception(exception) => (Status::Exception, exception.to_words()),
        };
        if let Cause::Fault(Fault::Configuration(what))
        | Cause::Specification(specification::Error::Configuration(what)) = cause
        {
            self.write_text(what.as_bytes());
        }
        self.cause = words;
        self.status = status as u32;
    }

    /// Why the program stopped, if it has and the words can be understood.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self.status()? {
            Status::BadSpecification => {
                specification::Error::from_words(self.cause).map(Cause::Specification)
            }
            Status::Fault => Fault::from_words(self.cause).map(Cause::Fault),
            Status::TimeOut => Waiting::from_words(self.cause).map(Cause::TimeOut),
            Status::Panic => Some(Cause::Panic),
            Status::Exception => Some(Cause::Exception(Exception::from_words(self.cause))),
            _ => None,
        }
    }

    /// Notes what the program waits for.
    pub fn set_waiting(&mut self, waiting: Waiting) {
        self.waiting = waiting.to_words();
    }

    /// What the program was waiting for when it last went to sleep.
    #[must_use]
    pub fn waiting(&self) -> Option<Waiting> {
        Waiting::from_words(self.waiting)
    }

    /// Appends to the text; what does not fit is cut off.
    pub fn write_text(&mut self, text: &[u8]) {
        let start = (self.text_bytes as usize).min(TEXT_BYTES);
        let room = &mut self.text[start..];
        let bytes = text.len().min(room.len());
        room[..bytes].copy_from_slice(&text[..bytes]);
        self.text_bytes = (start + bytes) as u32;
    }

    /// The text, up to the first byte that is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        let bytes = &self.text[..(self.text_bytes as usize).min(TEXT_BYTES)];
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status() else {
            return write!(f, "no record: the first word is {:#010x}", self.status);
        };
        match self.pe() {
            Some(pe) => write!(f, "{pe}")?,
            None => write!(f, "PE number {:#04x}", self.id as u8)?,
        }
        match Image::from_word(self.image) {
            Some(image) => write!(f, " {image}: ")?,
            None => write!(f, " program {:#x}: ", self.image)?,
        }
        let (run, step) = (self.run, self.step);
        match status {
            Status::NotStarted => return f.write_str("not started"),
            Status::Starting => return f.write_str("starting"),
            Status::Ready => return f.write_str("ready"),
            Status::Running => {
                write!(f, "run {run}, step {step}")?;
                return match self.waiting() {
                    None | Some(Waiting::Nothing) => Ok(()),
                    Some(waiting) => write!(f, ", waits for {waiting}"),
                };
            }
            Status::Done => return write!(f, "run {run} done"),
            _ => {}
        }
        match self.cause() {
            // Their own text would repeat less than the record's.
            Some(
                Cause::Fault(Fault::Configuration(_))
                | Cause::Specification(specification::Error::Configuration(_)),
            ) => write!(f, "configuration: {}", self.text())?,
            Some(Cause::Specification(error)) => write!(f, "data specification: {error}")?,
            Some(Cause::Fault(fault)) => write!(f, "{fault}")?,
            Some(Cause::TimeOut(waiting)) => write!(f, "waited too long for {waiting}")?,
            Some(Cause::Panic) => write!(f, "panic: {}", self.text())?,
            Some(Cause::Exception(exception)) => write!(f, "{exception}")?,
            None => write!(f, "stopped, cause {:x?}", self.cause)?,
        }
        if run > 0 {
            write!(f, " (run {run}, step {step})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let pe = PeId::new(1, 2, 3).unwrap();
        let mut record = Record::starting(Image::Layer, pe.noc_id().into());
        record.run = 4;
        record.step = 17;
        record
    }

    #[test]
    fn says_which_pe_and_what() {
        let mut record = record();
        assert_eq!(record.to_string(), "PE (1,2,3) layer: starting");
        record.status = Status::Running as u32;
        record.set_waiting(Waiting::Events {
            source: 9,
            position: 17,
            announced: 7,
            arrived: 6,
        });
        assert_eq!(
            record.to_string(),
            "PE (1,2,3) layer: run 4, step 17, waits for events of position 17 from source 9: \
             the marker says 7, 6 arrived"
        );
        record.stop(Cause::TimeOut(record.waiting().unwrap()));
        assert!(record.status().unwrap().is_stopped());
        assert!(
            record
                .to_string()
                .contains("waited too long for events of position 17")
        );
    }

    #[test]
    fn every_cause_survives_memory() {
        let causes = [
            Cause::Specification(specification::Error::Magic { found: 5 }),
            Cause::Fault(Fault::UnknownPacket { key: 0xabcd }),
            Cause::TimeOut(Waiting::Weights { minibatch: 3 }),
            Cause::Panic,
            Cause::Exception(Exception {
                status: 1 << 9,
                address: Some(0xe200_0abc),
                pc: Some(0x1234),
                stack: 0x1fff0,
            }),
        ];
        for cause in causes {
            let mut record = record();
            record.stop(cause);
            let bytes: [u8; 256] = bytemuck::cast(record);
            let read: Record = bytemuck::pod_read_unaligned(&bytes);
            assert_eq!(read.cause(), Some(cause));
        }
    }

    #[test]
    fn texts_are_kept_and_cut() {
        let mut record = record();
        record.stop(Cause::Fault(Fault::Configuration(
            "a layer has 1 to 4095 neurons",
        )));
        assert_eq!(
            record.to_string(),
            "PE (1,2,3) layer: configuration: a layer has 1 to 4095 neurons (run 4, step 17)"
        );
        record.write_text(&[b'x'; 1000]);
        assert_eq!(record.text().len(), TEXT_BYTES);
        // What a wild pointer may have left there.
        let mut damaged: Record = bytemuck::cast([0xff_u8; 256]);
        assert_eq!(damaged.status(), None);
        assert!(damaged.to_string().starts_with("no record"));
        damaged.status = Status::Panic as u32;
        assert_eq!(damaged.text(), "");
        damaged.write_text(b"no room");
    }

    #[test]
    fn stack_overflow_is_told_apart() {
        let mut exception = Exception {
            status: 0b1_0000,
            address: None,
            pc: None,
            stack: layout::STACK.start + 16,
        };
        assert_eq!(exception.to_string(), "the stack overflowed");
        exception = Exception {
            status: 1 << 1 | 1 << 7,
            address: Some(layout::STACK.start + 8),
            pc: Some(0x400),
            stack: layout::STACK.start + 600,
        };
        assert!(exception.is_stack_overflow());
        exception.address = Some(0x4000_0000);
        assert_eq!(
            exception.to_string(),
            "access to protected memory, address 0x40000000, at instruction 0x00400"
        );
    }
}
