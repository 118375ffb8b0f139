//! The guard and the fences that the three shapes share.

use super::{Address, Channel, Direction};

/// Tells the compiler that the memory behind `pointer` may have been read and written by someone else
/// just now: values that it holds in registers go to memory before this point and are read again
/// after it. On a Cortex-M it also orders the accesses on the bus.
///
/// The pointer matters: a bare compiler fence says nothing about memory whose address, as far as the
/// compiler can see, never left the function.
#[inline]
pub fn hand_over(pointer: *mut u8) {
    #[cfg(all(target_arch = "arm", not(miri)))]
    // SAFETY: a barrier has no effect but the order of memory accesses. Without `nomem` the compiler
    // assumes that the block accesses the memory behind its operand.
    unsafe {
        core::arch::asm!("dmb /* {0} */", in(reg) pointer, options(nostack, preserves_flags));
    }
    #[cfg(all(not(target_arch = "arm"), not(miri)))]
    // SAFETY: the block is empty. Without `nomem` the compiler assumes that it accesses the memory
    // behind its operand.
    unsafe {
        core::arch::asm!("/* {0} */", in(reg) pointer, options(nostack, preserves_flags));
    }
    // Miri cannot run inline assembly, and does not reorder.
    #[cfg(miri)]
    core::hint::black_box(pointer);
}

/// A job in flight. Dropping it aborts the job. It must not leave this library's frames: a caller
/// could forget it.
pub(super) struct Running<'c, C: Channel> {
    channel: &'c mut C,
    local: *mut u8,
    in_flight: bool,
}

impl<'c, C: Channel> Running<'c, C> {
    /// Starts a job.
    ///
    /// # Safety
    /// As for [`Channel::start`]; in flight means until the value is dropped.
    pub(super) unsafe fn start(
        channel: &'c mut C,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<Self, C::Error> {
        hand_over(local);
        // SAFETY: the caller keeps the contract of `start`.
        unsafe { channel.start(direction, local, remote, length)? };
        Ok(Self {
            channel,
            local,
            in_flight: true,
        })
    }

    /// Waits for the end of the job.
    pub(super) fn wait(mut self) -> Result<(), C::Error> {
        let result = self.channel.wait();
        self.in_flight = false;
        result
        // Dropping `self` takes the memory back.
    }
}

impl<C: Channel> Drop for Running<'_, C> {
    fn drop(&mut self) {
        if self.in_flight {
            self.channel.abort();
        }
        hand_over(self.local);
    }
}
