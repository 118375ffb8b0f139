//! What happens, as readable lines.

use std::fmt;
use std::io::Write;
use std::rc::Rc;

use s2_hal::mock::registers::name;
use s2_hal::packet::Packet;
use s2_hal::topology::{Destination, PeId};

use crate::Image;

/// What to write down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// Packets that leave, and packets that arrive.
    pub packets: bool,
    /// Accesses outside the PE's SRAM.
    pub registers: bool,
    /// Exceptions that are entered and left.
    pub exceptions: bool,
}

/// Writes lines to the standard error stream.
pub(crate) struct Trace {
    options: TraceOptions,
    pe: PeId,
    image: Rc<Image>,
}

impl Trace {
    pub(crate) fn new(options: TraceOptions, pe: PeId, image: Rc<Image>) -> Self {
        Self { options, pe, image }
    }

    fn line(&self, now: u64, at: Option<u32>, what: fmt::Arguments<'_>) {
        let mut error = std::io::stderr().lock();
        let (pe, program) = (self.pe, self.image.name());
        // Nobody is told that nobody reads.
        let _ = write!(error, "{now:>10} {pe} {program}: {what}");
        let _ = match at {
            Some(at) => writeln!(error, ", at {}", self.image.symbols().describe(at)),
            None => writeln!(error),
        };
    }

    pub(crate) fn register(&self, now: u64, at: u32, address: u32, value: u32, write: bool) {
        if self.options.registers {
            let what = if write { "write" } else { "read " };
            let line = format_args!("{what} {} = {value:#010x}", name(address));
            self.line(now, Some(at), line);
        }
    }

    pub(crate) fn departure(&self, now: u64, at: u32, to: Destination, packet: Packet) {
        if self.options.packets {
            let Destination { x, y, pes } = to;
            let line = format_args!("send to QuadPE ({x},{y}) PEs {pes:#06b}: {}", Show(packet));
            self.line(now, Some(at), line);
        }
    }

    pub(crate) fn arrival(&self, now: u64, packet: Packet, taken: bool) {
        if self.options.packets {
            let what = if taken { "receive" } else { "drop" };
            self.line(now, None, format_args!("{what} {}", Show(packet)));
        }
    }

    pub(crate) fn exception(&self, now: u64, at: u32, what: &str, name: &str) {
        if self.options.exceptions {
            self.line(now, Some(at), format_args!("{what} {name}"));
        }
    }
}

/// A packet in a line.
struct Show(Packet);

impl fmt::Display for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:#010x}", self.0.key)?;
        match self.0.payload {
            Some(payload) => write!(f, " payload {payload:#010x}"),
            None => Ok(()),
        }
    }
}
