//! Encodings that are inferred. **Nothing here is published.** Each item says what it was inferred from
//! and what would correct it. Nothing else in the workspace guesses a bit.

use crate::comms::TransmitControl;
use crate::map::{QUAD_PE_REGISTERS, QUAD_PE_REGISTERS_BYTES};

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
    }

    #[test]
    fn register_files_lie_between_their_base_and_the_management_registers() {
        assert_eq!(quad_pe_registers(0, 0), QUAD_PE_REGISTERS);
        assert_eq!(quad_pe_registers(1, 1), 0xf248_0000);
        let last = quad_pe_registers(7, 7) + (QUAD_PE_REGISTERS_BYTES - 1);
        assert!(last < crate::map::JIB_MANAGEMENT);
    }
}
