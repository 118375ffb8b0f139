//! The DMA engine of a PE.

use super::memory::{Memories, NoMemory};
use super::timing;
use crate::dma::{Address, Direction, JobError as DmaError};
use crate::topology::PeId;

/// A job in flight.
pub(super) struct Job {
    direction: Direction,
    local: *mut u8,
    remote: Address,
    length: usize,
    moved: usize,
    /// When the first bytes arrive.
    first_at: u64,
    fails: bool,
}

// SAFETY: the contract of `Channel::start` allows the local memory to be accessed from any thread,
// and nothing else in a job is tied to one.
unsafe impl Send for Job {}

impl Job {
    /// Prepares a job that the PE starts at `time`.
    ///
    /// # Safety
    /// As for [`Channel::start`](crate::dma::Channel::start); in flight means until the job is
    /// dropped.
    pub(super) unsafe fn new(
        pe: PeId,
        time: u64,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
        fails: bool,
    ) -> Self {
        let way = timing::way((pe.x, pe.y), remote);
        Self {
            direction,
            local,
            remote,
            length,
            moved: 0,
            first_at: time + timing::DMA_START + 2 * way,
            fails,
        }
    }

    /// When the last byte has arrived.
    pub(super) fn end(&self) -> u64 {
        self.arrival(self.length)
    }

    /// When it ends, or fails.
    pub(super) fn outcome_at(&self) -> u64 {
        self.arrival(if self.fails {
            self.length / 2
        } else {
            self.length
        })
    }

    /// When so many bytes have arrived.
    fn arrival(&self, bytes: usize) -> u64 {
        self.first_at + (bytes as u64).div_ceil(timing::DMA_BYTES)
    }

    /// Moves the bytes that are due at `time`. Returns how many, and whether the job has ended.
    pub(super) fn advance(
        &mut self,
        time: u64,
        memories: &mut Memories,
    ) -> (usize, Result<bool, DmaError>) {
        let due = (time.saturating_sub(self.first_at)).saturating_mul(timing::DMA_BYTES);
        let due = usize::try_from(due).unwrap_or(usize::MAX).min(self.length);
        // A job that fails does so half-way.
        let half = self.length / 2;
        let target = if self.fails { due.min(half) } else { due };
        let count = target - self.moved;
        let remote = self
            .remote
            .checked_add(self.moved as u32)
            .unwrap_or(self.remote);
        // SAFETY: `moved + count` is at most `length`, so the pointer stays inside the local memory,
        // or at its end.
        let local = unsafe { self.local.add(self.moved) };
        let result = match self.direction {
            Direction::Read => {
                // SAFETY: by the contract of `start`, kept by the creator of this job, the `length`
                // bytes at `local` are initialised and may be written while the job is in flight, and
                // nothing else accesses them.
                let bytes = unsafe { std::slice::from_raw_parts_mut(local, count) };
                memories.read(remote, bytes)
            }
            Direction::Write => {
                // SAFETY: by the same contract they may be read, and nothing writes them.
                let bytes = unsafe { std::slice::from_raw_parts(local, count) };
                memories.write(remote, bytes)
            }
        };
        if let Err(NoMemory) = result {
            return (0, Err(DmaError::Bus { remote }));
        }
        self.moved = target;
        if self.fails && due >= half {
            let remote = remote.checked_add(count as u32).unwrap_or(remote);
            return (count, Err(DmaError::Bus { remote }));
        }
        (count, Ok(due == self.length))
    }
}
