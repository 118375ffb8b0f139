//! Copying memory by the processor, through the PE's windows on the chip.

use s2_pac::bus::{Bus, Mmio};

use super::check;
use crate::dma::{self, Address, Direction, JobError};
use crate::topology::PeId;

/// The windows through which a PE sees the other memories of the chip.
#[derive(Debug)]
pub struct Window<B = Mmio> {
    bus: B,
}

impl<B> Window<B> {
    pub(super) const fn new(bus: B) -> Self {
        Self { bus }
    }
}

/// Words that one poll moves.
const WORDS_PER_POLL: usize = 64;

/// Words that are loaded before they are stored: those of 16 bytes, of which every job is a multiple. One by one, half
/// of the instructions would be the loop's.
const GROUP: usize = 4;
const GROUP_BYTES: u32 = 4 * GROUP as u32;

/// A [`dma::Channel`] that copies words through the windows. It needs no register whose meaning
/// is not public, and keeps the rules of the chip's DMA, so that programs can change to the engine.
///
/// Each poll moves 256 bytes at most. A read or write that fails on the bus is a fault of the processor.
#[derive(Debug)]
pub struct WindowCopy<B = Mmio> {
    window: Window<B>,
    own: PeId,
    job: Option<Job>,
}

#[derive(Debug)]
struct Job {
    direction: Direction,
    /// Next word.
    local: *mut u32,
    /// Its counterpart.
    remote: u32,
    words: usize,
}

// SAFETY: the contract of `Channel::start` allows the local memory to be accessed from any thread.
unsafe impl Send for Job {}

impl<B: Bus> WindowCopy<B> {
    /// A channel on PE `own`.
    pub const fn new(window: Window<B>, own: PeId) -> Self {
        Self {
            window,
            own,
            job: None,
        }
    }
}

impl<B> dma::ErrorType for WindowCopy<B> {
    type Error = JobError;
}

// SAFETY: local memory is touched only in `poll`, only the words of the job, and only read for
// `Direction::Write`. A job exists from a successful `start` until `poll` or `abort` drops it. The end
// is reported when no word is left. The job's pointer does not depend on where the channel lies.
unsafe impl<B: Bus> dma::Channel for WindowCopy<B> {
    unsafe fn start(
        &mut self,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<(), JobError> {
        if self.job.is_some() {
            return Err(JobError::Busy);
        }
        check(self.own, local, remote, length)?;
        self.job = Some(Job {
            direction,
            local: local.cast(),
            remote: remote.0,
            words: length / 4,
        });
        Ok(())
    }

    fn poll(&mut self) -> nb::Result<(), JobError> {
        let Some(mut job) = self.job.take() else {
            return Ok(());
        };
        let bus = &mut self.window.bus;
        let groups = job.words.min(WORDS_PER_POLL) / GROUP;
        let (mut local, mut remote) = (job.local, job.remote);
        match job.direction {
            Direction::Read => {
                for _ in 0..groups {
                    let first = bus.read(remote);
                    let second = bus.read(remote.wrapping_add(4));
                    let third = bus.read(remote.wrapping_add(8));
                    let fourth = bus.read(remote.wrapping_add(12));
                    // SAFETY: by the contract of `start`, kept by its caller, the words may be written while
                    // the job is in flight; they are the job's, of which at least a group is left, and aligned
                    // as `check` demands.
                    unsafe {
                        local.write_volatile(first);
                        local.wrapping_add(1).write_volatile(second);
                        local.wrapping_add(2).write_volatile(third);
                        local.wrapping_add(3).write_volatile(fourth);
                    }
                    local = local.wrapping_add(GROUP);
                    remote = remote.wrapping_add(GROUP_BYTES);
                }
            }
            Direction::Write => {
                for _ in 0..groups {
                    // SAFETY: by the same contract they are initialised and nobody writes them.
                    let (first, second, third, fourth) = unsafe {
                        (
                            local.read_volatile(),
                            local.wrapping_add(1).read_volatile(),
                            local.wrapping_add(2).read_volatile(),
                            local.wrapping_add(3).read_volatile(),
                        )
                    };
                    bus.write(remote, first);
                    bus.write(remote.wrapping_add(4), second);
                    bus.write(remote.wrapping_add(8), third);
                    bus.write(remote.wrapping_add(12), fourth);
                    local = local.wrapping_add(GROUP);
                    remote = remote.wrapping_add(GROUP_BYTES);
                }
            }
        }
        (job.local, job.remote) = (local, remote);
        job.words -= groups * GROUP;
        if job.words > 0 {
            self.job = Some(job);
            return Err(nb::Error::WouldBlock);
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.job = None;
    }
}
