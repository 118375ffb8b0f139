//! Where everything is in the 128 kB of a PE's SRAM.
//!
//! | addresses | bytes | what | evidence |
//! |---|---|---|---|
//! | `0x00000` to `0x07FFF` | 32 kB | vectors and code (ITCM) | N, S |
//! | `0x08000` to `0x0E7FF` | 26 kB | constants, statics, then the start-up heap: program state and receive ring | N (data from `0x8000`), this project's use |
//! | `0x0E800` to `0x0E8FF` | 256 B | [record](crate::record): what the program does or why it stopped | N (log at this address) |
//! | `0x0E900` to `0x0EFBF` | 1728 B | [data specification](crate::specification), written by the host | N (specification at this address) |
//! | `0x0EFC0` to `0x0EFFF` | 64 B | [command](crate::command), written by the host | this project's |
//! | `0x0F000` to `0x1EFFF` | 64 kB | the program's arrays; behind them a receive ring that is too large for the heap | this project's |
//! | `0x1F000` to `0x1FFFF` | 4 kB | stack, from `0x20000` down, with a guard at its end | N, S (heap and stack there) |
//!
//! The addresses with tag N are those that public programs for the product chip use (NESTML), so that
//! tools made for these find a log and a specification where they look for them.

use core::ops::Range;

/// Vectors and code.
pub const CODE: Range<u32> = 0..0x8000;

/// Statics and the start-up heap.
pub const STATICS: Range<u32> = CODE.end..RECORD.start;

/// What the program tells the host.
pub const RECORD: Range<u32> = 0xe800..0xe900;

/// What the host tells the program once.
pub const SPECIFICATION: Range<u32> = RECORD.end..COMMAND.start;

/// What the host tells the program for each run.
pub const COMMAND: Range<u32> = 0xefc0..ARRAYS.start;

/// The program's arrays.
pub const ARRAYS: Range<u32> = 0xf000..STACK.start;

/// The stack, from its end down.
pub const STACK: Range<u32> = 0x1f000..0x20000;

/// Bytes at the lower end of the stack that nothing may touch: the memory protection unit stops a
/// program whose stack gets there.
pub const STACK_GUARD_BYTES: u32 = 256;

/// Bytes of the largest receive ring that is taken from the heap; a larger one takes the end of
/// [`ARRAYS`]. What else is in [`STATICS`], constants, statics, and the state of a program, takes less
/// than the rest.
pub const HEAP_RING_BYTES: usize = 13 * 1024;

/// Bytes that a program with a receive ring of `ring_bytes` may have for its arrays; `None` if such a ring
/// fits nowhere.
#[must_use]
pub const fn array_bytes(ring_bytes: usize) -> Option<usize> {
    if ring_bytes <= HEAP_RING_BYTES {
        Some(bytes(&ARRAYS))
    } else {
        bytes(&ARRAYS).checked_sub(ring_bytes)
    }
}

/// Bytes of a range.
#[must_use]
pub const fn bytes(range: &Range<u32>) -> usize {
    (range.end - range.start) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_are_aligned() {
        let parts = [CODE, STATICS, RECORD, SPECIFICATION, COMMAND, ARRAYS, STACK];
        let mut end = 0;
        for part in parts {
            assert_eq!(part.start, end);
            assert!(part.end > part.start);
            assert_eq!(part.start % 16, 0, "for DMA");
            end = part.end;
        }
        assert_eq!(end, s2_hal::topology::SRAM_BYTES);
        assert_eq!(
            STACK.start % STACK_GUARD_BYTES,
            0,
            "for the protection unit"
        );
    }
}
