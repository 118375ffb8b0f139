//! How long things take on the model, in cycles of the 300 MHz network clock, at which the PEs run
//! too. Only the first two figures are published (tag S: 300 MHz, 5 cycles a hop); the others are
//! plausible, and no program may depend on them.

use crate::dma::{Address, DRAM_HALF, Place};
use crate::topology;

/// Cycles per second.
pub const FREQUENCY: u32 = 300_000_000;

/// A packet, one hop.
pub(super) const HOP: u64 = 5;

/// A packet, through the router.
pub(super) const ROUTER: u64 = 8;

/// A PE, from an arrival to the first instruction of its program.
pub(super) const WAKE: u64 = 60;

/// A PE, for a poll, beside what the operations in it cost: some thousand instructions. An emulated PE takes
/// 200,000 for a training sample of 200 neurons, which are 24 polls here, and 4,000 in 3 polls where the sample
/// comes in.
pub(super) const POLL: u64 = 3000;

/// A PE, to hand a packet to the transmitter, or to find it busy.
pub(super) const SEND: u64 = 10;

/// A PE, to take a packet from the ring, or to find it empty.
pub(super) const RECEIVE: u64 = 8;

/// A PE, to read the clock, or to take an exponential.
pub(super) const READ_REGISTER: u64 = 2;

/// Packets that the transmitter holds.
pub(super) const TRANSMIT_SLOTS: u64 = 4;

/// The DMA engine, to start.
pub(super) const DMA_START: u64 = 30;

/// The DRAM, on top of the hops.
pub(super) const DRAM: u64 = 60;

/// Bytes per cycle of a DMA job: one network packet.
pub(super) const DMA_BYTES: u64 = 16;

/// A PE, to ask the DMA engine whether it is done.
pub(super) const DMA_POLL: u64 = 16;

/// Cycles from a network node to a memory.
pub(super) fn way(from: (u8, u8), memory: Address) -> u64 {
    match memory.place() {
        Some(Place::Sram { pe, .. }) => u64::from(topology::hops(from, (pe.x, pe.y))) * HOP,
        Some(Place::Dram { offset }) => {
            let node = topology::DRAM[(offset / DRAM_HALF) as usize][0];
            u64::from(topology::hops(from, node)) * HOP + DRAM
        }
        None => 0,
    }
}
