//! What stops a program, in words that name PE, program, place and cause.

use std::fmt;

use s2_hal::mock::registers::name;
use s2_hal::topology::PeId;

use crate::Symbols;

/// Kind of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// Fetching an instruction.
    Fetch,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read of",
            Self::Write => "write to",
            Self::Fetch => "jump to",
        })
    }
}

/// Why a program was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// An access to an address where nothing is known to be, or that has no known effect there.
    UnknownAddress {
        /// Kind of access.
        access: Access,
        /// The address.
        address: u32,
        /// Number of bytes.
        bytes: u8,
    },
    /// A jump to where the architecture has no code.
    NoCode,
    /// An exception needs memory where none is.
    NoMemory {
        /// What for.
        what: &'static str,
        /// Where.
        address: u32,
    },
    /// The memory protection unit forbids the access.
    Protected {
        /// Kind of access.
        access: Access,
        /// The address.
        address: u32,
        /// Number of the region that forbids it; `None` for memory outside all regions.
        region: Option<usize>,
        /// The address is below the stack pointer's place, so that the stack has likely overflowed.
        stack: bool,
    },
    /// The stack pointer is below the end of the stack.
    StackOverflow {
        /// The stack pointer.
        stack: u32,
        /// Lowest address of the stack.
        limit: u32,
    },
    /// An instruction that the processor does not have.
    UndefinedInstruction {
        /// Its first half-word.
        code: u16,
    },
    /// A jump to an address without bit 0, which marks Thumb code.
    NoThumb,
    /// An access that must be aligned was not.
    Unaligned,
    /// A floating-point instruction while the unit is switched off.
    FloatingPointOff,
    /// A `bkpt` instruction that is no semihosting call.
    Breakpoint {
        /// Its number.
        number: u8,
    },
    /// A semihosting call that is not known.
    UnknownCall {
        /// Its number.
        number: u32,
    },
    /// A return from an exception that is not being handled.
    BadReturn {
        /// The value that was returned to.
        value: u32,
    },
    /// A fault while a fault was handled: the processor locks up.
    LockUp,
    /// The program has run for long without sleeping or exchanging anything.
    NoProgress {
        /// Instructions since it last did.
        instructions: u64,
    },
    /// The engine that executes instructions failed.
    Engine {
        /// What it said.
        error: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAddress {
                access: Access::Fetch,
                address,
                ..
            } => write!(f, "jump to {address:#010x}, where no code is"),
            Self::UnknownAddress {
                access,
                address,
                bytes,
            } => {
                write!(f, "{access} {}, which has no known effect", name(*address))?;
                if *bytes < 4 {
                    write!(f, " (by {bytes} bytes; registers are accessed by words)")?;
                }
                Ok(())
            }
            Self::NoMemory { what, address } => {
                write!(
                    f,
                    "{what} of an exception at {address:#010x}, where no memory is"
                )
            }
            Self::NoCode => f.write_str("jump to where the architecture has no code"),
            Self::Protected {
                access,
                address,
                region,
                stack,
            } => {
                if *stack {
                    f.write_str("stack overflow: ")?;
                }
                write!(
                    f,
                    "{access} {address:#010x}, which memory protection forbids"
                )?;
                match region {
                    Some(number) => write!(f, " (region {number})"),
                    None => f.write_str(" (outside all regions)"),
                }
            }
            Self::StackOverflow { stack, limit } => write!(
                f,
                "stack overflow: the stack pointer is {stack:#010x}, {} bytes below the end of the \
                 stack at {limit:#010x}",
                limit - stack
            ),
            Self::UndefinedInstruction { code } => write!(f, "undefined instruction {code:#06x}"),
            Self::NoThumb => f.write_str("jump to an address without the Thumb bit"),
            Self::Unaligned => f.write_str("unaligned access by an instruction that forbids it"),
            Self::FloatingPointOff => {
                f.write_str("floating-point instruction while the unit is off (CPACR)")
            }
            Self::Breakpoint { number } => write!(f, "breakpoint instruction {number}"),
            Self::UnknownCall { number } => write!(f, "unknown semihosting call {number:#04x}"),
            Self::BadReturn { value } => write!(
                f,
                "return from an exception with {value:#010x}, but none such is being handled"
            ),
            Self::LockUp => f.write_str("fault in the handler of a fault: lock-up"),
            Self::NoProgress { instructions } => write!(
                f,
                "no progress: {instructions} instructions without sleeping, sending, receiving or \
                 reaching other memory; an endless loop?"
            ),
            Self::Engine { error } => write!(f, "the engine that executes instructions: {error}"),
        }
    }
}

/// A program was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The PE.
    pub pe: PeId,
    /// The program's name.
    pub program: String,
    /// Why.
    pub cause: Cause,
    /// Address of the instruction.
    pub pc: u32,
    /// That address with its function.
    pub place: String,
    /// Where the function would return to, if the link register says so.
    pub caller: Option<String>,
}

impl Fault {
    pub(crate) fn new(
        pe: PeId,
        program: &str,
        cause: Cause,
        pc: u32,
        link: u32,
        symbols: &Symbols,
    ) -> Self {
        let caller = symbols.function(link & !1).filter(|_| link & 1 == 1);
        Self {
            pe,
            program: program.to_owned(),
            cause,
            pc,
            place: symbols.describe(pc),
            caller: caller.map(|_| symbols.describe(link & !1)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pe,
            program,
            cause,
            place,
            ..
        } = self;
        write!(f, "{pe} {program}: {cause}, at {place}")?;
        if let Some(caller) = &self.caller {
            write!(f, "; link register {caller}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
