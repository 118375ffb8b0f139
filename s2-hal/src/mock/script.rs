//! A strict double: plays an expected sequence of operations, for tests of one program.
//!
//! A [`Script`] stands in for a PE. Packets to send, packets to receive and DMA jobs must come in
//! exactly the order in which they were written down, with exactly these values; anything else panics
//! with what was expected and what came. Only looking for a packet is free: where the script has none
//! at that place, the ring is empty.
//!
//! # Examples
//! ```
//! use s2_hal::mock::script::{Script, Target};
//! use s2_hal::packet::{Fanout, Packet, PacketReceiver, PacketSender};
//!
//! /// Sends back what it receives.
//! fn echo(pe: &mut (impl PacketReceiver + PacketSender)) {
//!     while let Ok(packet) = pe.try_receive() {
//!         while pe.try_send(Fanout::Router, packet).is_err() {}
//!     }
//! }
//!
//! let packet = Packet { key: 1, payload: Some(2) };
//! let mut script = Script::new()
//!     .receive(packet)
//!     .send_busy()
//!     .send(Target::Router, packet);
//! echo(&mut script);
//! script.done();
//! ```

use std::collections::VecDeque;

use crate::dma::{self, Address, Direction};
use crate::math::{ExpLog, I1F31, I17F15, SoftwareExpLog};
use crate::packet::{self, Fanout, Packet, PacketReceiver, PacketSender};
use crate::timer::Ticks;
use crate::topology::Destination;

/// Where a packet is expected to go; [`Fanout`] with its list owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the router.
    Router,
    /// Directly to these QuadPEs, in this order.
    Direct(Vec<Destination>),
}

impl From<Fanout<'_>> for Target {
    fn from(fanout: Fanout<'_>) -> Self {
        match fanout {
            Fanout::Router => Self::Router,
            Fanout::Direct(list) => Self::Direct(list.to_vec()),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Send(Target, Packet),
    SendBusy,
    Receive(Packet),
    ReceiveError(packet::ErrorKind),
    Read(Address, Vec<u8>),
    Write(Address, Vec<u8>),
    TransferFails(Direction, Address, usize, dma::ErrorKind),
}

/// The double. See the [module](self).
///
/// Time goes on by one tick, a microsecond, with every look at it. Exponentials are those of
/// [`SoftwareExpLog`].
///
/// Dropping a script with steps left panics, as [`done`](Script::done) does.
#[derive(Debug, Default)]
pub struct Script {
    steps: VecDeque<Step>,
    /// Steps that were played.
    played: usize,
    job: Option<Job>,
    ticks: u64,
}

#[derive(Debug)]
struct Job {
    step: Step,
    local: *mut u8,
    /// Whether it was polled before: the first poll never finds it at its end.
    polled: bool,
}

impl Script {
    /// An empty script.
    pub fn new() -> Self {
        Self::default()
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    /// Expects that `packet` is sent to `to`.
    #[must_use]
    pub fn send(self, to: Target, packet: Packet) -> Self {
        self.step(Step::Send(to, packet))
    }

    /// Expects an attempt to send any packet, and answers that the transmitter is busy.
    #[must_use]
    pub fn send_busy(self) -> Self {
        self.step(Step::SendBusy)
    }

    /// Lets `packet` be received.
    #[must_use]
    pub fn receive(self, packet: Packet) -> Self {
        self.step(Step::Receive(packet))
    }

    /// Lets an attempt to receive fail.
    #[must_use]
    pub fn receive_error(self, kind: packet::ErrorKind) -> Self {
        self.step(Step::ReceiveError(kind))
    }

    /// Expects a DMA job that reads as many bytes as `data` has from `remote`, and gives it `data`.
    #[must_use]
    pub fn dma_read<T: dma::Pod>(self, remote: Address, data: &[T]) -> Self {
        self.step(Step::Read(remote, bytemuck::cast_slice(data).to_vec()))
    }

    /// Expects a DMA job that writes `data` to `remote`.
    #[must_use]
    pub fn dma_write<T: dma::Pod>(self, remote: Address, data: &[T]) -> Self {
        self.step(Step::Write(remote, bytemuck::cast_slice(data).to_vec()))
    }

    /// Expects a DMA job over `length` bytes, and lets it fail at its end, without moving anything.
    #[must_use]
    pub fn dma_fails(
        self,
        direction: Direction,
        remote: Address,
        length: usize,
        kind: dma::ErrorKind,
    ) -> Self {
        self.step(Step::TransferFails(direction, remote, length, kind))
    }

    /// Ends the test.
    ///
    /// # Panics
    /// If steps are left, or a DMA job is in flight.
    pub fn done(self) {
        // `drop` checks.
    }

    fn check_done(&self) {
        assert!(
            self.job.is_none(),
            "a DMA job is still in flight: {:?}",
            self.job
        );
        assert!(
            self.steps.is_empty(),
            "{} steps of the script were not played; number {} is {:?}",
            self.steps.len(),
            self.played,
            self.steps.front(),
        );
    }

    /// Takes the next step.
    fn next(&mut self, what: &dyn std::fmt::Debug) -> Step {
        let Some(step) = self.steps.pop_front() else {
            panic!(
                "the script ended after {} steps, then came {what:?}",
                self.played
            )
        };
        self.played += 1;
        step
    }

    fn mismatch(&self, expected: &Step, what: &dyn std::fmt::Debug) -> ! {
        panic!(
            "step {} of the script: expected {expected:?}, but {what:?} came",
            self.played - 1
        )
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_done();
        }
    }
}

impl packet::ErrorType for Script {
    type Error = packet::ErrorKind;
}

impl PacketSender for Script {
    fn try_send(&mut self, to: Fanout<'_>, packet: Packet) -> nb::Result<(), packet::ErrorKind> {
        let came = Step::Send(to.into(), packet);
        match self.next(&came) {
            Step::SendBusy => Err(nb::Error::WouldBlock),
            expected if expected == came => Ok(()),
            expected => self.mismatch(&expected, &came),
        }
    }
}

impl PacketReceiver for Script {
    fn try_receive(&mut self) -> nb::Result<Packet, packet::ErrorKind> {
        let result = match self.steps.front() {
            Some(&Step::Receive(packet)) => Ok(packet),
            Some(&Step::ReceiveError(kind)) => Err(nb::Error::Other(kind)),
            _ => return Err(nb::Error::WouldBlock),
        };
        self.next(&"a receive");
        result
    }
}

impl dma::ErrorType for Script {
    type Error = dma::ErrorKind;
}

// SAFETY: local memory is touched only in `poll`, only over the bytes of the job, whose number was
// compared in `start`, and only read for `Direction::Write`. A job exists from a successful `start`
// until `poll` or `abort` takes it; the only way out of `poll` that leaves it is `WouldBlock`. The
// pointer does not depend on where the script lies.
unsafe impl dma::Channel for Script {
    unsafe fn start(
        &mut self,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<(), dma::ErrorKind> {
        use dma::Error as _;
        if self.job.is_some() {
            return Err(dma::ErrorKind::Busy);
        }
        dma::check(local.addr(), remote, length).map_err(|refusal| refusal.kind())?;
        let came = (direction, remote, length);
        let step = self.next(&came);
        let expected = match &step {
            Step::Read(remote, data) => Some((Direction::Read, *remote, data.len())),
            Step::Write(remote, data) => Some((Direction::Write, *remote, data.len())),
            Step::TransferFails(direction, remote, length, _) => {
                Some((*direction, *remote, *length))
            }
            _ => None,
        };
        if expected != Some(came) {
            self.mismatch(&step, &came);
        }
        self.job = Some(Job {
            step,
            local,
            polled: false,
        });
        Ok(())
    }

    fn poll(&mut self) -> nb::Result<(), dma::ErrorKind> {
        let Some(mut job) = self.job.take() else {
            return Ok(());
        };
        if !job.polled {
            job.polled = true;
            self.job = Some(job);
            return Err(nb::Error::WouldBlock);
        }
        match &job.step {
            Step::Read(_, data) => {
                // SAFETY: by the contract of `start`, kept by its caller, these bytes may be written
                // while the job is in flight; `start` compared their number with that of `data`,
                // which is memory of the script's own.
                unsafe {
                    job.local
                        .copy_from_nonoverlapping(data.as_ptr(), data.len())
                };
                Ok(())
            }
            Step::Write(remote, data) => {
                // SAFETY: by the same contract these bytes are initialised and nobody writes them;
                // `start` compared their number.
                let came = unsafe { std::slice::from_raw_parts(job.local, data.len()) };
                let same = data.iter().zip(came).take_while(|(a, b)| a == b).count();
                assert!(
                    same == data.len(),
                    "step {} of the script: the data written to {remote} differ from byte {same} on: expected {:02x?}, but {:02x?} came",
                    self.played - 1,
                    &data[same..data.len().min(same + 16)],
                    &came[same..data.len().min(same + 16)],
                );
                Ok(())
            }
            Step::TransferFails(.., kind) => Err(nb::Error::Other(*kind)),
            step => unreachable!("{step:?} is no DMA job"),
        }
    }

    fn abort(&mut self) {
        self.job = None;
    }
}

impl Ticks for Script {
    fn now(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn frequency(&self) -> u32 {
        1_000_000
    }
}

impl ExpLog for Script {
    fn exp(&mut self, x: I17F15) -> I17F15 {
        SoftwareExpLog.exp(x)
    }

    fn exp_fraction(&mut self, x: I17F15) -> I1F31 {
        SoftwareExpLog.exp_fraction(x)
    }

    fn ln(&mut self, x: I17F15) -> I17F15 {
        SoftwareExpLog.ln(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Packet = Packet {
        key: 5,
        payload: None,
    };

    fn message(test: impl FnOnce() + std::panic::UnwindSafe) -> String {
        *std::panic::catch_unwind(test)
            .expect_err("the script was followed")
            .downcast()
            .unwrap()
    }

    #[test]
    fn deviations_are_named() {
        let other = Packet { key: 6, ..PACKET };
        let text = message(|| {
            let mut script = Script::new().send(Target::Router, PACKET);
            let _ = script.try_send(Fanout::Router, other);
        });
        assert!(text.contains("step 0") && text.contains("key: 5") && text.contains("key: 6"));

        let text = message(|| {
            let _ = Script::new().try_send(Fanout::Router, PACKET);
        });
        assert!(text.contains("ended after 0 steps"), "{text}");

        let text = message(|| Script::new().receive(PACKET).done());
        assert!(
            text.contains("1 steps of the script were not played"),
            "{text}"
        );

        let remote = Address::dram(0x400).unwrap();
        let text = message(|| {
            let mut script = Script::new().dma_write(remote, &[1_u64, 2]);
            let _ = dma::copy::write(&mut script, &dma::Aligned([1_u64, 3])[..], remote);
        });
        assert!(text.contains("differ from byte 8 on"), "{text}");
    }

    #[test]
    fn dma_jobs_play_their_part() {
        let remote = Address::dram(0x400).unwrap();
        let mut script = Script::new()
            .dma_read(remote, &[7_i32, 8, 9, 10])
            .dma_fails(Direction::Write, remote, 16, dma::ErrorKind::Bus);
        let mut buffer = dma::Aligned([0_i32; 4]);
        dma::copy::read(&mut script, remote, &mut buffer[..]).unwrap();
        assert_eq!(buffer.0, [7, 8, 9, 10]);
        let failed = dma::copy::write(&mut script, &buffer[..], remote);
        assert_eq!(failed, Err(dma::ErrorKind::Bus));
        // A job that the chip would refuse is no step.
        let refused = dma::copy::read(&mut script, remote, &mut buffer[..1]);
        assert_eq!(refused, Err(dma::ErrorKind::Length));
        script.done();
    }
}
