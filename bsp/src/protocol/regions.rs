//! Which memory a host may write without unlocking the board.
//!
//! | memory | may be read | may be written |
//! |---|---|---|
//! | SRAM of a PE that the board has | yes | all of it: code, record, data specification, command, arrays, stack ([`layout`]) |
//! | SRAM of the monitor's own PE | yes | no |
//! | DRAM, but for the reserved kilobyte at the start of each half | yes | yes |
//! | everything else | no | no |
//!
//! An access lies in one memory, and in one half of the DRAM.

use s2_hal::dma::{Address, DRAM_HALF, DRAM_RESERVED, Place};
use s2_hal::topology::PeId;

use crate::board::Board;
use crate::layout;

/// Whether so many bytes from `address` on may be read while the board is locked.
#[must_use]
pub fn is_readable(board: &Board, address: u32, length: u32) -> bool {
    let end = match Address(address).place() {
        Some(Place::Sram { pe, offset }) if board.has(pe) => layout::STACK.end - offset,
        Some(Place::Dram { offset }) if offset % DRAM_HALF >= DRAM_RESERVED => {
            DRAM_HALF - offset % DRAM_HALF
        }
        _ => return false,
    };
    length <= end
}

/// Whether so many bytes from `address` on may be written while the board is locked. `monitor` is the monitor's
/// own PE.
#[must_use]
pub fn is_writable(board: &Board, monitor: PeId, address: u32, length: u32) -> bool {
    is_readable(board, address, length)
        && !matches!(Address(address).place(), Some(Place::Sram { pe, .. }) if pe == monitor)
}
