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

/// A [`dma::Channel`] that copies word by word through the windows. It needs no register whose meaning
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
        let words = job.words.min(WORDS_PER_POLL);
        let places = (0..words).map(|word| {
            (
                job.local.wrapping_add(word),
                job.remote.wrapping_add(4 * word as u32),
            )
        });
        match job.direction {
            Direction::Read => places.for_each(|(local, remote)| {
                let word = self.window.bus.read(remote);
                // SAFETY: by the contract of `start`, kept by its caller, the word may be written while the
                // job is in flight; it is one of the job's, and aligned as `check` demands.
                unsafe { local.write_volatile(word) };
            }),
            Direction::Write => places.for_each(|(local, remote)| {
                // SAFETY: by the same contract it is initialised and nobody writes it.
                let word = unsafe { local.read_volatile() };
                self.window.bus.write(remote, word);
            }),
        }
        job.local = job.local.wrapping_add(words);
        job.remote = job.remote.wrapping_add(4 * words as u32);
        job.words -= words;
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
