//! Copying memory by the DMA engine of the communications controller, in a **placeholder encoding**:
//! the engine's commands and states are not public ([`s2_pac::provisional`]).

use s2_pac::bus::{Bus, Mmio};
use s2_pac::comms::NocDma;
use s2_pac::provisional::{NOC_DMA_READ, NOC_DMA_WRITE, NocDmaStatus};
use s2_pac::register::Value;

use super::check;
use crate::dma::{self, Address, Direction, JobError};
use crate::topology::PeId;

/// A [`dma::Channel`] over the engine.
///
/// No command that stops the engine is known: [`abort`](dma::Channel::abort), and dropping the channel,
/// wait for the end of the job.
#[derive(Debug)]
pub struct NocCopy<B: Bus = Mmio> {
    registers: NocDma<B>,
    own: PeId,
    /// Where the job in flight copies from or to.
    job: Option<Address>,
}

impl<B: Bus> NocCopy<B> {
    /// A channel on PE `own`.
    pub const fn new(registers: NocDma<B>, own: PeId) -> Self {
        Self {
            registers,
            own,
            job: None,
        }
    }

    fn status(&mut self) -> NocDmaStatus {
        NocDmaStatus::from_bits(self.registers.status().read())
    }
}

impl<B: Bus> dma::ErrorType for NocCopy<B> {
    type Error = JobError;
}

// SAFETY: the engine gets the local memory of one job at a time, by the placeholder encoding, and is
// idle when the status says so; that is when `poll` and `abort` end a job. Moving the channel moves
// no memory of the job.
unsafe impl<B: Bus> dma::Channel for NocCopy<B> {
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
        let command = match direction {
            Direction::Read => NOC_DMA_READ,
            Direction::Write => NOC_DMA_WRITE,
        };
        let registers = &mut self.registers;
        // SAFETY: the caller hands these bytes over until the job has ended. The length fits: it is at
        // most one DRAM half.
        unsafe {
            registers
                .local()
                .write_pointer(local.expose_provenance() as u32);
            registers.remote().write_pointer(remote.0);
            registers.length().write_pointer(length as u32);
            registers.command().write_pointer(command);
        }
        self.job = Some(remote);
        Ok(())
    }

    fn poll(&mut self) -> nb::Result<(), JobError> {
        let Some(remote) = self.job else {
            return Ok(());
        };
        let status = self.status();
        if status.busy() {
            return Err(nb::Error::WouldBlock);
        }
        self.registers.done().take();
        self.job = None;
        if status.failed() {
            return Err(nb::Error::Other(JobError::Bus { remote }));
        }
        Ok(())
    }

    fn abort(&mut self) {
        while self.poll() == Err(nb::Error::WouldBlock) {}
    }
}

impl<B: Bus> Drop for NocCopy<B> {
    fn drop(&mut self) {
        dma::Channel::abort(self);
    }
}
