//! How much of the stack was used, and what happens when it is all used.

use core::ptr::with_exposed_provenance;

use crate::layout;

/// Most bytes of stack that were in use at any time: start-up code has painted the stack, and what was
/// used has lost the paint. (A word that was left untouched below one that was written is counted as used.)
#[must_use]
pub fn used() -> u32 {
    let lowest = layout::STACK.start + layout::STACK_GUARD_BYTES;
    let painted = (lowest..layout::STACK.end)
        .step_by(4)
        .take_while(|&address| {
            // SAFETY: the stack is memory of this PE. Words below the stack pointer belong to nobody, and
            // those above it are not painted, unless by chance.
            let word = unsafe { with_exposed_provenance::<u32>(address as usize).read_volatile() };
            word == cortex_m_rt::STACK_PAINT_VALUE
        })
        .count();
    layout::STACK.end - lowest - 4 * painted as u32
}

/// Lets nothing touch the lower end of the stack: an overflow ends the program there, instead of writing
/// over its arrays.
pub(super) fn guard(mpu: &mut cortex_m::peripheral::MPU) {
    const {
        assert!(layout::STACK_GUARD_BYTES.is_power_of_two() && layout::STACK_GUARD_BYTES >= 32);
        assert!(
            layout::STACK
                .start
                .is_multiple_of(layout::STACK_GUARD_BYTES)
        );
    }
    /// Address field written together with the number of the region.
    const VALID: u32 = 1 << 4;
    const SIZE: u32 = (layout::STACK_GUARD_BYTES.trailing_zeros() - 1) << 1;
    const NEVER_EXECUTE: u32 = 1 << 28;
    const ENABLE: u32 = 1;
    /// Everything else as if there was no protection; none of it in fault handlers.
    const BACKGROUND: u32 = 1 << 2;
    // SAFETY: region 0 (ARMv7-M Architecture Reference Manual, B3.5) forbids accesses to bytes that no
    // correct program touches, and nothing else.
    unsafe {
        mpu.rbar.write(layout::STACK.start | VALID);
        mpu.rasr.write(NEVER_EXECUTE | SIZE | ENABLE);
        mpu.ctrl.write(BACKGROUND | ENABLE);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}
