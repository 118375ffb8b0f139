//! The receive ring of a PE, and what is on its way there.

use super::counters::PeCounters;
use crate::packet::Packet;

/// A receive ring, and the packets that will reach it.
///
/// Nobody looks into a ring but its PE's program, so packets are put into it only when that is polled.
pub(super) struct Ring {
    /// Packets with the times of their arrival, in the order of these; of one time, in the order in which they
    /// were sent. First come those that were taken, then those in the ring, then those under way.
    packets: Vec<Flight>,
    /// Packets that were taken.
    taken: usize,
    /// These and the ones in the ring.
    arrived: usize,
    /// Words that the ones in the ring take.
    used: usize,
    /// Words that the ring has.
    capacity: usize,
}

/// A packet on its way and the time of its arrival, in two registers: many are copied.
#[derive(Clone, Copy)]
pub(super) struct Flight {
    /// The time, and in the lowest bit whether there is a payload.
    time: u64,
    key: u32,
    payload: u32,
}

impl Flight {
    /// The last time at which a flight may end: at 300 MHz, after five hundred years.
    const END: u64 = u64::MAX >> 2;

    #[inline]
    pub(super) fn new(packet: Packet, time: u64) -> Self {
        Self {
            time: time.min(Self::END) << 1 | u64::from(packet.payload.is_some()),
            key: packet.key,
            payload: packet.payload.unwrap_or(0),
        }
    }

    /// The same that ends so many cycles later.
    #[inline]
    pub(super) fn later(self, cycles: u64) -> Self {
        Self {
            time: self.time + (cycles << 1),
            ..self
        }
    }

    #[inline]
    pub(super) fn time(self) -> u64 {
        self.time >> 1
    }

    #[inline]
    pub(super) fn packet(self) -> Packet {
        Packet {
            key: self.key,
            payload: (self.time & 1 == 1).then_some(self.payload),
        }
    }

    /// Words that the packet takes in a ring.
    #[inline]
    fn words(self) -> usize {
        1 + (self.time & 1) as usize
    }
}

/// Packets that were taken are forgotten when they are so many.
const TAKEN: usize = 16;

impl Ring {
    /// An empty ring.
    pub(super) const fn new(capacity: usize) -> Self {
        Self {
            packets: Vec::new(),
            taken: 0,
            arrived: 0,
            used: 0,
            capacity,
        }
    }

    /// Sets the length in words; packets that wait in the ring stay.
    pub(super) fn set_capacity(&mut self, words: usize) {
        self.capacity = words;
    }

    /// Sends a packet that will arrive later than any time that [`arrive`](Self::arrive) was called with.
    /// Returns whether it will be the next one.
    #[inline]
    pub(super) fn send(&mut self, flight: Flight) -> bool {
        self.packets.push(flight);
        let under_way = &mut self.packets[self.arrived..];
        // It overtakes few others, which make room one by one.
        let mut place = under_way.len() - 1;
        while place > 0 && under_way[place - 1].time() > flight.time() {
            under_way[place] = under_way[place - 1];
            place -= 1;
        }
        under_way[place] = flight;
        place == 0
    }

    /// Puts the packets into the ring that have arrived by `time`. Returns whether any was dropped because
    /// the ring was full.
    #[inline]
    pub(super) fn arrive(&mut self, time: u64, counters: &mut PeCounters) -> bool {
        let before = counters.dropped;
        loop {
            let (mut count, mut used) = (0, self.used);
            for next in &self.packets[self.arrived..] {
                if next.time() > time || used + next.words() > self.capacity {
                    break;
                }
                count += 1;
                used += next.words();
            }
            self.arrived += count;
            self.used = used;
            counters.delivered += count as u64;
            if self.next_arrival().is_none_or(|at| at > time) {
                break;
            }
            // For a shorter one behind it there may be room.
            self.packets.remove(self.arrived);
            counters.dropped += 1;
        }
        counters.ring_peak_words = counters.ring_peak_words.max(self.used as u64);
        counters.dropped > before
    }

    /// Takes the oldest packet out of the ring.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Packet> {
        if self.taken == self.arrived {
            return None;
        }
        let oldest = self.packets[self.taken];
        self.used -= oldest.words();
        self.taken += 1;
        if self.taken == TAKEN {
            self.forget_taken();
        }
        Some(oldest.packet())
    }

    #[inline(never)]
    fn forget_taken(&mut self) {
        self.packets.drain(..self.taken);
        self.arrived -= self.taken;
        self.taken = 0;
    }

    /// When the next packet arrives.
    #[inline]
    pub(super) fn next_arrival(&self) -> Option<u64> {
        self.packets.get(self.arrived).map(|next| next.time())
    }

    /// When the last packet that is under way arrives.
    pub(super) fn last_arrival(&self) -> Option<u64> {
        (self.packets[self.arrived..].last()).map(|last| last.time())
    }

    /// Packets under way, and packets in the ring.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.packets.len() - self.arrived, self.arrived - self.taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Against a sorted list and a ring that packets reach one by one.
        #[test]
        #[cfg_attr(miri, ignore = "slow, and safe code")]
        fn packets_come_in_the_order_of_time(
            rounds in prop::collection::vec(
                (prop::collection::vec((1_u64..200, any::<bool>()), 0..20), 0_u64..100, 0_usize..20),
                1..40,
            ),
        ) {
            const CAPACITY: usize = 12;
            let mut ring = Ring::new(CAPACITY);
            let mut counters = PeCounters::default();
            let mut on_the_way: Vec<(u64, u32, Packet)> = Vec::new();
            let mut arrived: VecDeque<Packet> = VecDeque::new();
            let (mut now, mut sent, mut dropped) = (0, 0, 0);
            for (sends, passes, takes) in rounds {
                for (ahead, payload) in sends {
                    let packet = Packet { key: sent, payload: payload.then_some(sent) };
                    let first = on_the_way.iter().all(|&(at, ..)| at > now + ahead);
                    prop_assert_eq!(ring.send(Flight::new(packet, now + ahead)), first);
                    on_the_way.push((now + ahead, sent, packet));
                    sent += 1;
                }
                on_the_way.sort_by_key(|&(at, number, _)| (at, number));
                prop_assert_eq!(ring.next_arrival(), on_the_way.first().map(|&(at, ..)| at));
                now += passes;
                let overrun = ring.arrive(now, &mut counters);
                let before = dropped;
                while on_the_way.first().is_some_and(|&(at, ..)| at <= now) {
                    let (_, _, packet) = on_the_way.remove(0);
                    let words = |packet: Packet| 1 + usize::from(packet.payload.is_some());
                    let used: usize = arrived.iter().copied().map(words).sum();
                    if used + words(packet) <= CAPACITY {
                        arrived.push_back(packet);
                    } else {
                        dropped += 1;
                    }
                }
                prop_assert_eq!(overrun, dropped > before);
                prop_assert_eq!(counters.dropped, dropped);
                prop_assert_eq!(ring.waiting(), (on_the_way.len(), arrived.len()));
                for _ in 0..takes {
                    prop_assert_eq!(ring.take(), arrived.pop_front());
                }
            }
        }
    }
}
