//! Encodings that are inferred. **Nothing here is published.** Each item says what it was inferred from
//! and what would correct it. Nothing else in the workspace guesses a bit.

use crate::comms::TransmitControl;

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
}
