//! What the model counts.

/// Counters of one PE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeCounters {
    /// Packets that its transmitter took; a packet to several QuadPEs counts once for each.
    pub sent: u64,
    /// Calls to send that were answered with `WouldBlock`.
    pub send_refused: u64,
    /// Packets that reached its ring.
    pub delivered: u64,
    /// Packets that its program took.
    pub received: u64,
    /// Packets dropped because its ring was full.
    pub dropped: u64,
    /// Overruns reported to its program.
    pub overruns: u64,
    /// Largest fill of its ring, in words.
    pub ring_peak_words: u64,
    /// DMA jobs that it started.
    pub transfers: u64,
    /// Bytes that its DMA jobs moved.
    pub transfer_bytes: u64,
    /// DMA jobs that failed after they had started.
    pub transfer_errors: u64,
    /// Polls of its program.
    pub polls: u64,
    /// Polls of its program that made no progress.
    pub idle_polls: u64,
}

/// Counters of the chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Sums over the PEs; of `ring_peak_words`, the largest.
    pub pes: PeCounters,
    /// Packets that matched an entry of the router.
    pub router_hits: u64,
    /// Packets that matched no entry and were dropped, since they came in by no link.
    pub router_misses: u64,
    /// Copies that left the chip by a link. Nothing is connected there.
    pub left_chip: u64,
    /// Hops of all packets.
    pub hops: u64,
    /// Packets that a fault lost.
    pub lost: u64,
    /// Packets that a fault duplicated.
    pub duplicated: u64,
    /// Packets whose payload a fault changed.
    pub corrupted: u64,
}

impl Counters {
    pub(super) fn add(&mut self, pe: &PeCounters) {
        let sum = &mut self.pes;
        sum.sent += pe.sent;
        sum.send_refused += pe.send_refused;
        sum.delivered += pe.delivered;
        sum.received += pe.received;
        sum.dropped += pe.dropped;
        sum.overruns += pe.overruns;
        sum.ring_peak_words = sum.ring_peak_words.max(pe.ring_peak_words);
        sum.transfers += pe.transfers;
        sum.transfer_bytes += pe.transfer_bytes;
        sum.transfer_errors += pe.transfer_errors;
        sum.polls += pe.polls;
        sum.idle_polls += pe.idle_polls;
    }
}
