//! The interrupts of a PE.
//!
//! The prototype's 36 are public. The product has 45 by a second-hand source (tag S); the numbers from 36
//! on are not public and have no name here. Where a description says when an interrupt is raised, it says
//! what the name says.
//!
//! With the feature `rt`, handlers are written as with any peripheral access crate:
//! ```ignore
//! use s2_pac::interrupt;
//!
//! #[interrupt]
//! fn FT_INT_0() {
//!     // start
//! }
//! ```

use crate::register::Evidence;

/// Bits of an interrupt's priority (tag J, `device.h`): 0, the most urgent, to 31.
pub const NVIC_PRIO_BITS: u8 = 5;

/// Description of an interrupt.
#[derive(Clone, Copy, Debug)]
pub struct InterruptInfo {
    /// The interrupt.
    pub interrupt: Interrupt,
    /// Its name, which is its handler's.
    pub name: &'static str,
    /// What raises it.
    pub description: &'static str,
    /// How it is known.
    pub evidence: Evidence,
    /// Where it is known from.
    pub source: &'static str,
}

/// Defines [`Interrupt`], its descriptions, and the table of handlers.
macro_rules! interrupts {
    ($(
        $(#[doc = $doc:literal])+
        [$evidence:ident $source:literal]
        $name:ident = $number:literal,
    )*) => {
        /// An interrupt of a PE, by its number in the interrupt controller.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, reason = "the names of handlers, which the linker knows")]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Interrupt {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nNumber ", stringify!($number), ". Evidence: **", stringify!($evidence), "**, ", $source, ".")]
                $name = $number,
            )*
        }

        /// Descriptions of all interrupts, by their numbers.
        pub const INTERRUPTS: &[InterruptInfo] = &[
            $(
                InterruptInfo {
                    interrupt: Interrupt::$name,
                    name: stringify!($name),
                    description: concat!($($doc, "\n"),+),
                    evidence: Evidence::$evidence,
                    source: $source,
                },
            )*
        ];

        /// The table that `cortex-m-rt` puts behind the vectors of the processor's own exceptions.
        #[cfg(all(feature = "rt", target_os = "none"))]
        mod vectors {
            unsafe extern "C" {
                $(fn $name();)*
            }

            // SAFETY: `cortex-m-rt` leaves both names to the one crate that describes the device.
            #[unsafe(link_section = ".vector_table.interrupts")]
            #[unsafe(no_mangle)]
            static __INTERRUPTS: [unsafe extern "C" fn(); super::INTERRUPTS.len()] = [$($name),*];
        }
    };
}

interrupts! {
    /// The first timer has passed zero.
    [J "device.h; the same name in product code (N)"]
    TIMER_INT1 = 0,
    /// The second timer has passed zero.
    [J "device.h"]
    TIMER_INT2 = 1,
    /// One of the timers has passed zero.
    [J "device.h"]
    TIMER_INTC = 2,
    /// The transmitter is empty.
    [J "device.h"]
    COMMS_TX_EMPTY = 3,
    /// The transmitter is full.
    [J "device.h"]
    COMMS_TX_FULL = 4,
    /// A packet that no ring takes waits in the receiver.
    [J "device.h"]
    COMMS_RX_NOT_EMPTY = 5,
    /// A multicast packet waits in the receiver.
    [J "device.h"]
    COMMS_RX_NOT_EMPTY_MC = 6,
    /// A core-to-core packet waits in the receiver.
    [J "device.h"]
    COMMS_RX_NOT_EMPTY_C2C = 7,
    /// A nearest-neighbour packet waits in the receiver.
    [J "device.h"]
    COMMS_RX_NOT_EMPTY_NN = 8,
    /// The first ring is not empty.
    [J "device.h"]
    COMMS_DMA_0_NOT_EMPTY = 9,
    /// The first ring is full.
    [J "device.h"]
    COMMS_DMA_0_FULL = 10,
    /// The first ring has reached its limit.
    [J "device.h"]
    COMMS_DMA_0_LIMIT = 11,
    /// A ring is not empty: the second one by this interrupt's place; its name in the header has no number.
    [J "device.h"]
    COMMS_DMA_NOT_EMPTY = 12,
    /// A ring is full: the second one by this interrupt's place; its name in the header has no number.
    [J "device.h"]
    COMMS_DMA_FULL = 13,
    /// A ring has reached its limit: the second one by this interrupt's place; its name in the header has no
    /// number.
    [J "device.h"]
    COMMS_DMA_LIMIT = 14,
    /// The network DMA has read.
    [J "device.h"]
    COMMS_DMA_READ = 15,
    /// The network DMA has written.
    [J "device.h"]
    COMMS_DMA_WRITE = 16,
    /// The machine-learning accelerator asks for attention; when is not public.
    [J "device.h"]
    COMMS_ML = 17,
    /// A packet named "info" waits in the receiver.
    [J "device.h"]
    COMMS_RX_NOT_EMPTY_INFO = 18,
    /// The receiver has dropped a packet.
    [J "device.h"]
    COMMS_RX_OVERRUN = 19,
    /// The first ring has dropped a packet.
    [J "device.h"]
    COMMS_DMA_0_OVERRUN = 20,
    /// The second ring has dropped a packet.
    [J "device.h"]
    COMMS_DMA_1_OVERRUN = 21,
    /// Named a message interrupt; meaning not public.
    [J "device.h"]
    COMMS_INT_MSG = 22,
    /// First chip-wide feed-through interrupt; product code starts a run by it (N).
    [J "device.h; the same name in product code (N)"]
    FT_INT_0 = 23,
    /// Second chip-wide feed-through interrupt; product code resets its state by it (N).
    [J "device.h; the same name in product code (N)"]
    FT_INT_1 = 24,
    /// Third chip-wide feed-through interrupt.
    [J "device.h"]
    FT_INT_2 = 25,
    /// Fourth chip-wide feed-through interrupt.
    [J "device.h"]
    FT_INT_3 = 26,
    /// Interrupt 0 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_0 = 27,
    /// Interrupt 1 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_1 = 28,
    /// Interrupt 2 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_2 = 29,
    /// Interrupt 3 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_3 = 30,
    /// Interrupt 4 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_4 = 31,
    /// Interrupt 5 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_5 = 32,
    /// Interrupt 6 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_6 = 33,
    /// Interrupt 7 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_7 = 34,
    /// Interrupt 8 of the QuadPE's register file.
    [J "device.h"]
    REGFILE_INT_8 = 35,
}

// SAFETY: the numbers are the interrupt controller's own, each belongs to one interrupt, and none changes.
#[cfg(feature = "rt")]
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_handlers_has_no_gaps() {
        for (number, info) in INTERRUPTS.iter().enumerate() {
            assert_eq!(info.interrupt as usize, number);
        }
    }

    #[test]
    fn every_handler_has_a_default() {
        let expected: Vec<_> = INTERRUPTS
            .iter()
            .map(|info| format!("PROVIDE({} = DefaultHandler);", info.name))
            .collect();
        let provided: Vec<_> = include_str!("../device.x")
            .lines()
            .filter(|line| line.starts_with("PROVIDE"))
            .collect();
        assert_eq!(provided, expected);
    }
}
