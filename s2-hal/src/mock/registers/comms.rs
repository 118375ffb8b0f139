//! The communications controller of a PE.

use s2_pac::comms::{
    Receive as ReceiveBlock, ReceiveControl, Ring as RingBlock, SLOTS, Transmit as TransmitBlock,
    TransmitControl, TransmitStatus, ring_end,
};
use s2_pac::map::SRAM_BYTES;
use s2_pac::register::Value;

use super::{Sram, Surroundings, offset};
use crate::packet::Packet;
use crate::topology::Destination;

#[derive(Debug, Default)]
pub(super) struct Transmit {
    slots: [Slot; SLOTS],
    /// When the transmitter is free.
    free: u64,
}

#[derive(Debug, Default)]
struct Slot {
    control: u32,
    /// Whether the control has changed since the status was written.
    changed: bool,
    /// Payload words, the first one first.
    payload: [u32; 4],
    /// Which of them were written since the last key.
    written: [bool; 4],
}

const SLOT_BYTES: u32 = 0x20;
const SLOT_CONTROL: u32 = offset(&TransmitBlock::INFO, "TCR");
const PAYLOAD_3: u32 = offset(&TransmitBlock::INFO, "TDR%s3");
const PAYLOAD_0: u32 = offset(&TransmitBlock::INFO, "TDR%s0");
const SLOT_KEY: u32 = offset(&TransmitBlock::INFO, "TKR");
const STATUS: u32 = offset(&TransmitBlock::INFO, "TCTL");

impl Transmit {
    pub(super) fn is_ready(&self, now: u64) -> bool {
        now >= self.free
    }

    pub(super) fn read(&self, offset: u32, now: u64) -> Option<u32> {
        let slot = &self.slots[(offset / SLOT_BYTES) as usize];
        if offset == STATUS {
            let status = TransmitStatus::default().with_ready(self.is_ready(now));
            return Some(status.into_bits());
        }
        match offset % SLOT_BYTES {
            SLOT_CONTROL => Some(slot.control),
            place @ PAYLOAD_3..=PAYLOAD_0 => Some(slot.payload[(PAYLOAD_0 - place) as usize / 4]),
            _ => None,
        }
    }

    pub(super) fn write<A: Surroundings + ?Sized>(
        &mut self,
        offset: u32,
        value: u32,
        around: &mut A,
    ) -> Option<()> {
        if offset == STATUS {
            if value != TransmitStatus::CONTROL_CHANGED.into_bits() {
                return None;
            }
            for slot in &mut self.slots {
                slot.changed = false;
            }
            return Some(());
        }
        let ready = self.is_ready(around.now());
        let slot = &mut self.slots[(offset / SLOT_BYTES) as usize];
        match offset % SLOT_BYTES {
            SLOT_CONTROL => {
                slot.control = value;
                slot.changed = true;
            }
            place @ PAYLOAD_3..=PAYLOAD_0 => {
                let word = (PAYLOAD_0 - place) as usize / 4;
                slot.payload[word] = value;
                slot.written[word] = true;
            }
            SLOT_KEY => {
                let payload = match slot.written {
                    [false, false, false, false] => None,
                    [true, false, false, false] => Some(slot.payload[0]),
                    // The rings' format of longer payloads is not public.
                    _ => return None,
                };
                let to = destination(TransmitControl::from_bits(slot.control))?;
                if slot.changed || !ready || !to.exists() {
                    return None;
                }
                slot.written = [false; 4];
                self.free = around.send(
                    to,
                    Packet {
                        key: value,
                        payload,
                    },
                );
            }
            _ => return None,
        }
        Some(())
    }
}

/// Where a packet with this control goes, as far as that is known.
fn destination(control: TransmitControl) -> Option<Destination> {
    #[cfg(feature = "provisional")]
    return s2_pac::provisional::destination(control);
    #[cfg(not(feature = "provisional"))]
    {
        let pes = control.pes();
        let to = Destination { x: 1, y: 1, pes };
        (control == TransmitControl::QUAD_PE_1_1.to_pes(pes)).then_some(to)
    }
}

/// The register of the packet that no ring takes.
#[derive(Debug, Default)]
pub(super) struct Receive {
    packet: Option<Packet>,
    dropped: u32,
    overrun: bool,
    settings: u32,
}

const RECEIVE_CONTROL: u32 = offset(&ReceiveBlock::INFO, "RCR");
const RECEIVED_PAYLOAD_3: u32 = offset(&ReceiveBlock::INFO, "RDR3");
const RECEIVED_PAYLOAD_0: u32 = offset(&ReceiveBlock::INFO, "RDR0");
const RECEIVED_KEY: u32 = offset(&ReceiveBlock::INFO, "RKR");
const RECEIVE_DROPPED: u32 = offset(&ReceiveBlock::INFO, "RDC");
const RECEIVE_SETTINGS: u32 = offset(&ReceiveBlock::INFO, "RCTL");

/// Type of a multicast packet; that the receiver shows the transmitter's number is an assumption.
const MULTICAST: u8 = 7;

impl Receive {
    pub(super) fn waits(&self) -> bool {
        self.packet.is_some()
    }

    pub(super) fn overrun(&self) -> bool {
        self.overrun
    }

    pub(super) fn receive(&mut self, packet: Packet) -> bool {
        let free = self.packet.is_none();
        if free {
            self.packet = Some(packet);
        } else {
            self.dropped = self.dropped.saturating_add(1);
            self.overrun = true;
        }
        free
    }

    pub(super) fn read(&mut self, offset: u32) -> Option<u32> {
        Some(match offset {
            RECEIVE_CONTROL => {
                let control = ReceiveControl::default();
                let packet_type = self.packet.map_or(0, |_| MULTICAST);
                control.with_packet_type(packet_type).into_bits()
            }
            RECEIVED_PAYLOAD_3..RECEIVED_PAYLOAD_0 if offset.is_multiple_of(4) => 0,
            RECEIVED_PAYLOAD_0 => self.packet?.payload.unwrap_or(0),
            RECEIVED_KEY => {
                self.overrun = false;
                self.packet.take()?.key
            }
            RECEIVE_DROPPED => self.dropped,
            RECEIVE_SETTINGS => self.settings,
            _ => return None,
        })
    }

    pub(super) fn write(&mut self, offset: u32, value: u32) -> Option<()> {
        if offset != RECEIVE_SETTINGS {
            return None;
        }
        self.settings = value;
        Some(())
    }
}

/// A receive ring. All fill and lengths in words.
#[derive(Debug, Default)]
pub(super) struct Ring {
    config: u32,
    control: u32,
    start: u32,
    end: u32,
    read: u32,
    write: u32,
    limit: u32,
    words: u32,
    most: u32,
    dropped: u32,
    overrun: bool,
    /// The read pointer that counts.
    committed: u32,
}

const CONFIG: u32 = offset(&RingBlock::INFO, "DMAc");
const START: u32 = offset(&RingBlock::INFO, "DMAs");
const END: u32 = offset(&RingBlock::INFO, "DMAe");
const READ: u32 = offset(&RingBlock::INFO, "DMAr");
const WRITE: u32 = offset(&RingBlock::INFO, "DMAw");
const LIMIT: u32 = offset(&RingBlock::INFO, "DMAl");
const WORDS: u32 = offset(&RingBlock::INFO, "DBO");
const MOST_WORDS: u32 = offset(&RingBlock::INFO, "DMax");
const DROPPED: u32 = offset(&RingBlock::INFO, "DDC");
const CONTROL: u32 = offset(&RingBlock::INFO, "DCTL");

impl Ring {
    pub(super) fn works(&self) -> bool {
        self.config != 0 && self.control != 0
    }

    pub(super) fn words(&self) -> u32 {
        self.words
    }

    /// Whether a packet would be dropped.
    pub(super) fn is_full(&self) -> bool {
        self.works() && self.words + 2 >= self.length()
    }

    pub(super) fn limit_reached(&self) -> bool {
        self.limit != 0 && self.words >= self.limit
    }

    pub(super) fn overrun(&self) -> bool {
        self.overrun
    }

    fn length(&self) -> u32 {
        (self.end - self.start + 4 - ring_end(0, 1)) / 4
    }

    /// Words from one place of the ring to another.
    fn distance(&self, from: u32, to: u32) -> u32 {
        let (from, to) = ((from - self.start) / 4, (to - self.start) / 4);
        (to + self.length() - from) % self.length()
    }

    pub(super) fn receive<S: Sram + ?Sized>(
        &mut self,
        payload: u32,
        key: u32,
        sram: &mut S,
    ) -> bool {
        if self.is_full() {
            self.dropped = self.dropped.wrapping_add(1);
            self.overrun = true;
            return false;
        }
        for word in [payload, key] {
            sram.store(self.write, word);
            self.write += 4;
            if self.write == self.start + 4 * self.length() {
                self.write = self.start;
            }
        }
        self.words += 2;
        self.most = self.most.max(self.words);
        true
    }

    pub(super) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            CONFIG => self.config,
            START => self.start,
            END => self.end,
            READ => self.read,
            WRITE => self.write,
            LIMIT => self.limit,
            WORDS => self.words,
            MOST_WORDS => self.most,
            DROPPED => self.dropped,
            CONTROL => self.control,
            _ => return None,
        })
    }

    pub(super) fn write(&mut self, offset: u32, value: u32, opened: bool) -> Option<()> {
        match offset {
            CONFIG if value != 0 => self.restart(value)?,
            CONFIG => self.config = 0,
            START if self.config == 0 => self.start = value,
            END if self.config == 0 => self.end = value,
            READ => self.read = value,
            WRITE if self.config == 0 && opened => self.write = value,
            LIMIT => self.limit = value,
            CONTROL => self.control = value,
            _ => return None,
        }
        Some(())
    }

    /// Takes over the pointers.
    fn restart(&mut self, config: u32) -> Option<()> {
        let aligned = [self.start, self.end, self.read, self.write]
            .iter()
            .all(|pointer| pointer.is_multiple_of(4));
        let end = self.start.checked_add(4)?;
        if !aligned || self.end < end || self.start >= SRAM_BYTES {
            return None;
        }
        let beyond = self.start + 4 * self.length();
        let inside = self.start..beyond;
        if beyond > SRAM_BYTES || !inside.contains(&self.read) || !inside.contains(&self.write) {
            return None;
        }
        if self.config == 0 {
            self.words = self.distance(self.read, self.write);
        } else {
            self.words = self
                .words
                .checked_sub(self.distance(self.committed, self.read))?;
        }
        self.committed = self.read;
        self.overrun = false;
        self.config = config;
        Some(())
    }
}

#[cfg(feature = "provisional")]
pub(super) use noc_dma::NocDma;

#[cfg(feature = "provisional")]
mod noc_dma {
    use s2_pac::comms::NocDma as NocDmaBlock;
    use s2_pac::provisional::{NOC_DMA_READ, NOC_DMA_WRITE, NocDmaDone, NocDmaStatus};

    use super::*;
    use crate::dma::{self, Address, Place};
    use crate::topology::PeId;

    const LOCAL: u32 = offset(&NocDmaBlock::INFO, "LOCAL_ADDR");
    const REMOTE: u32 = offset(&NocDmaBlock::INFO, "REMOTE_ADDR");
    const LENGTH: u32 = offset(&NocDmaBlock::INFO, "DMA_LEN");
    const DONE: u32 = offset(&NocDmaBlock::INFO, "DMA_DONE");
    const STATUS: u32 = offset(&NocDmaBlock::INFO, "DMA_STATUS");
    const COMMAND: u32 = offset(&NocDmaBlock::INFO, "DMA_CMD");

    /// Cycles of a job, besides one for every 16 bytes.
    const START_UP: u64 = 30;

    /// DMA over the network, in the placeholder encoding.
    #[derive(Debug, Default)]
    pub(in super::super) struct NocDma {
        local: u32,
        remote: u32,
        length: u32,
        /// The job whose end was not taken.
        job: Option<Job>,
    }

    #[derive(Clone, Copy, Debug)]
    struct Job {
        write: bool,
        failed: bool,
        end: u64,
    }

    impl NocDma {
        /// Whether a read or a write has ended whose end was not taken.
        pub(in super::super) fn ended(&self, now: u64) -> (bool, bool) {
            match self.job {
                Some(job) if job.end <= now => (!job.write, job.write),
                _ => (false, false),
            }
        }

        /// When the job that runs will end.
        pub(in super::super) fn end(&self, now: u64) -> Option<u64> {
            self.job.map(|job| job.end).filter(|&end| end > now)
        }

        pub(in super::super) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
            Some(match offset {
                LOCAL => self.local,
                REMOTE => self.remote,
                LENGTH => self.length,
                DONE => {
                    let (read, write) = self.ended(now);
                    if read || write {
                        self.job = None;
                    }
                    let done = NocDmaDone::default().with_read(read).with_write(write);
                    done.into_bits()
                }
                STATUS => {
                    let status = NocDmaStatus::default();
                    let status = match self.job {
                        Some(job) if job.end > now => status.with_busy(true),
                        Some(job) => status.with_failed(job.failed),
                        None => status,
                    };
                    status.into_bits()
                }
                _ => return None,
            })
        }

        pub(in super::super) fn write<S: Sram + ?Sized, A: Surroundings + ?Sized>(
            &mut self,
            offset: u32,
            value: u32,
            id: PeId,
            sram: &mut S,
            around: &mut A,
        ) -> Option<()> {
            // The registers of a job may not change under it.
            if self.job.is_some() {
                return None;
            }
            match offset {
                LOCAL => self.local = value,
                REMOTE => self.remote = value,
                LENGTH => self.length = value,
                COMMAND => {
                    let write = match value {
                        NOC_DMA_READ => false,
                        NOC_DMA_WRITE => true,
                        _ => return None,
                    };
                    let failed = self.copy(write, id, sram, around).is_none();
                    let end = around.now() + START_UP + u64::from(self.length / 16);
                    self.job = Some(Job { write, failed, end });
                }
                _ => return None,
            }
            Some(())
        }

        /// Moves the bytes of a job; `None` if there is no memory for it.
        fn copy<S: Sram + ?Sized, A: Surroundings + ?Sized>(
            &self,
            write: bool,
            id: PeId,
            sram: &mut S,
            around: &mut A,
        ) -> Option<()> {
            let remote = Address(self.remote);
            dma::check(self.local as usize, remote, self.length as usize).ok()?;
            let own = matches!(remote.place(), Some(Place::Sram { pe, .. }) if pe == id);
            if own || self.length > SRAM_BYTES.checked_sub(self.local)? {
                return None;
            }
            for bytes in (0..self.length).step_by(4) {
                let there = remote.checked_add(bytes)?;
                if write {
                    around.store(there, sram.load(self.local + bytes))?;
                } else {
                    sram.store(self.local + bytes, around.load(there)?);
                }
            }
            Some(())
        }
    }
}
