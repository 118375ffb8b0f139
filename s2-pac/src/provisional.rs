//! Encodings that are inferred. **Nothing here is published.** Each item says what it was inferred from
//! and what would correct it. Nothing else in the workspace guesses a bit.

use crate::comms::TransmitControl;
use crate::map::{Destination, QUAD_PE_REGISTERS, QUAD_PE_REGISTERS_BYTES};
use crate::register::{Value, fields};
use crate::uart::UartWrite;

/// Transmit control for a multicast packet to PEs of the QuadPE in column `x` and row `y`.
///
/// Inferred from one constant, `0x6481_C700`, for "QuadPE (1,1), SPINN, no forced route"
/// ([`TransmitControl::QUAD_PE_1_1`]), and from the 3-bit coordinates of PE numbers: between the known
/// fields there is room for two fields of 3 bits, with the lowest bit of each set. Which of them is the
/// column cannot be told from it; the order of PE numbers (column above row) is taken. So column in bits
/// 28:26, row in bits 25:23, type in 16:14 (7 is "SPINN"), forced route in 10:8 (7 is none).
///
/// # Panics
/// If `x` or `y` is above 7, or `pes` above 15.
#[must_use]
pub fn to_quad_pe(x: u8, y: u8, pes: u8) -> TransmitControl {
    assert!(x < 8 && y < 8, "coordinates have three bits");
    const FIXED: u32 = 0b11 << 29;
    const SPINN: u32 = 7 << 14;
    const NO_FORCED_ROUTE: u32 = 7 << 8;
    let place = u32::from(x) << 26 | u32::from(y) << 23;
    TransmitControl::new(FIXED | place | SPINN | NO_FORCED_ROUTE).to_pes(pes)
}

/// Where a packet with this control goes: the inverse of [`to_quad_pe`]. `None` if that function does
/// not make such a control.
#[must_use]
pub fn destination(control: TransmitControl) -> Option<Destination> {
    let bits = control.into_bits();
    let to = Destination {
        x: (bits >> 26 & 7) as u8,
        y: (bits >> 23 & 7) as u8,
        pes: control.pes(),
    };
    (control == to_quad_pe(to.x, to.y, to.pes)).then_some(to)
}

/// Placeholder, not inferred from anything: the value of the DMA command register that starts a job
/// from the remote address to local memory, over as many bytes as the length register says. What the
/// hardware takes is not public. Two different commands are needed; which ones is this project's choice.
pub const NOC_DMA_READ: u32 = 1;

/// Placeholder, like [`NOC_DMA_READ`]: starts a job from local memory to the remote address.
pub const NOC_DMA_WRITE: u32 = 2;

fields! {
    /// Placeholder, like [`NOC_DMA_READ`]: state of the DMA engine.
    NocDmaStatus {
        /// A job runs.
        [I] 0..=0 busy / with_busy: bool;
        /// The job that has ended failed; until its end is taken.
        [I] 1..=1 failed / with_failed: bool;
    }
}

fields! {
    /// Placeholder, like [`NOC_DMA_READ`]: ends of jobs. Reading the register takes them, which clears the
    /// interrupt, and makes the engine free for the next job.
    NocDmaDone {
        /// A job that read from the remote address has ended. (That such jobs and the others have an
        /// interrupt each is read in public code, tag J.)
        [I] 0..=0 read / with_read: bool;
        /// A job that wrote to the remote address has ended.
        [I] 1..=1 write / with_write: bool;
    }
}

fields! {
    /// Placeholder, like [`NOC_DMA_READ`]: control of a PE's processor. That such a register exists is public
    /// (tag J), none of its bits are.
    CoreControl {
        /// Holds the processor in reset, where it executes nothing; its memory stays. When it is let go, it starts
        /// from its reset vector.
        [I] 0..=0 hold / with_hold: bool;
    }
}

/// What to write to send a byte over a UART.
///
/// The field `valid` of the register has eight bits in the public header, where its counterpart for
/// received bytes has one. Inferred: one bit counts, the lowest. A program that sends a byte on the
/// prototype would tell.
#[must_use]
pub fn uart_byte(byte: u8) -> UartWrite {
    UartWrite::default().with_byte(byte).with_valid(1)
}

/// Whether a UART has not yet taken the byte that was written.
///
/// Inferred: the field `valid` reads back as long as the byte waits; nothing else of the register block
/// can tell outside of buffers.
#[must_use]
pub fn uart_is_busy(register: UartWrite) -> bool {
    register.valid() != 0
}

/// Base address of the register file of the QuadPE in column `x` and row `y`.
///
/// That the register files are an array of structs of 512 kB is read in a public header; which element
/// belongs to which QuadPE is not. Inferred: the element's number is the number of one of its PEs
/// ([`PeId::noc_id`](crate::map::PeId::noc_id)) without the two bits of the PE. In favour of it: all 64
/// elements fit below the next known block. A program that reads one on a chip would tell.
///
/// # Panics
/// If `x` or `y` is above 7.
#[must_use]
pub const fn quad_pe_registers(x: u8, y: u8) -> u32 {
    assert!(x < 8 && y < 8, "coordinates have three bits");
    QUAD_PE_REGISTERS + (x << 3 | y) as u32 * QUAD_PE_REGISTERS_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_constant_comes_out() {
        assert_eq!(to_quad_pe(1, 1, 0), TransmitControl::QUAD_PE_1_1);
        let to_first = to_quad_pe(1, 1, 1);
        assert_eq!(to_first, TransmitControl::QUAD_PE_1_1.to_pes(1));
        assert_eq!(to_first.destination_pes(), 8);
        for (x, y, pes) in [(7, 6, 15), (3, 5, 2), (0, 0, 0)] {
            let to = Destination { x, y, pes };
            assert_eq!(destination(to_quad_pe(x, y, pes)), Some(to));
        }
        assert_eq!(destination(TransmitControl::default()), None);
    }

    #[test]
    fn register_files_lie_between_their_base_and_the_management_registers() {
        assert_eq!(quad_pe_registers(0, 0), QUAD_PE_REGISTERS);
        assert_eq!(quad_pe_registers(1, 1), 0xf248_0000);
        let last = quad_pe_registers(7, 7) + (QUAD_PE_REGISTERS_BYTES - 1);
        assert!(last < crate::map::JIB_MANAGEMENT);
    }
}
