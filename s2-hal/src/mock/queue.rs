//! Events in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A packet without payload reaches a PE's ring.
    Key { pe: u8, key: u32 },
    /// A packet with payload reaches a PE's ring.
    Payload { pe: u8, key: u32, payload: u32 },
    /// A PE's program may be polled.
    Wake { pe: u8 },
}

/// A queue of events by time, events of one time in the order of their arrival.
///
/// Almost every event lies less than [`SLOTS`] cycles ahead: it goes into the slot of its cycle on a
/// wheel, in constant time. The rest waits in a heap.
pub(super) struct Queue {
    /// No event lies before this time, which is the last one that was taken.
    now: u64,
    slots: Vec<Vec<Event>>,
    /// Bit `i` of word `w` set: slot `64 * w + i` has events.
    occupied: [u64; SLOTS / 64],
    far: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Events that ever went to the heap: keeps those of one time in order.
    far_count: u64,
}

/// Few under Miri, which takes its time to make them.
const SLOTS: usize = if cfg!(miri) { 64 } else { 1024 };

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            slots: vec![Vec::new(); SLOTS],
            occupied: [0; SLOTS / 64],
            far: BinaryHeap::new(),
            far_count: 0,
        }
    }

    /// Adds an event at time `at`, not before the last time taken.
    #[inline]
    pub(super) fn push(&mut self, at: u64, event: Event) {
        debug_assert!(at >= self.now, "an event in the past");
        if at - self.now < SLOTS as u64 {
            let slot = at as usize % SLOTS;
            self.slots[slot].push(event);
            self.occupied[slot / 64] |= 1 << (slot % 64);
        } else {
            self.far.push(Reverse((at, self.far_count, event)));
            self.far_count += 1;
        }
    }

    /// Time of the next event.
    pub(super) fn next_time(&self) -> Option<u64> {
        let near = self.next_near();
        let far = self.far.peek().map(|Reverse((at, ..))| *at);
        match (near, far) {
            (Some(near), Some(far)) => Some(near.min(far)),
            (near, far) => near.or(far),
        }
    }

    /// Packets among the events.
    pub(super) fn packets(&self) -> usize {
        let near = self.slots.iter().flatten();
        let far = self.far.iter().map(|Reverse((_, _, event))| event);
        near.chain(far)
            .filter(|event| !matches!(event, Event::Wake { .. }))
            .count()
    }

    fn next_near(&self) -> Option<u64> {
        const WORDS: usize = SLOTS / 64;
        let start = self.now as usize % SLOTS;
        let (first, bit) = (start / 64, start % 64);
        // Once around the wheel; the first word twice, its upper part first.
        for step in 0..=WORDS {
            let word = (first + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == WORDS {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let slot = 64 * word + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(self.now + ahead as u64);
            }
        }
        None
    }

    /// Moves the events of time `at`, which must be the next time, into `events`.
    pub(super) fn take(&mut self, at: u64, events: &mut Vec<Event>) {
        self.now = at;
        events.clear();
        while let Some(&Reverse((time, _, event))) = self.far.peek()
            && time == at
        {
            events.push(event);
            self.far.pop();
        }
        let slot = at as usize % SLOTS;
        if self.occupied[slot / 64] >> (slot % 64) & 1 == 1 {
            events.append(&mut self.slots[slot]);
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Against a sorted list: times near and far, pushes between takes.
        #[test]
        #[cfg_attr(miri, ignore = "slow, and safe code")]
        fn events_come_in_the_order_of_time(
            batches in prop::collection::vec(
                prop::collection::vec(prop_oneof![0_u64..200, 0_u64..20_000], 0..20),
                1..40,
            ),
        ) {
            let mut queue = Queue::new();
            let mut model: Vec<(u64, u32)> = Vec::new();
            let (mut now, mut count) = (0, 0);
            let mut events = Vec::new();
            let mut batches = batches.into_iter();
            loop {
                let batch = batches.next();
                for ahead in batch.iter().flatten() {
                    queue.push(now + ahead, Event::Key { pe: 0, key: count });
                    model.push((now + ahead, count));
                    count += 1;
                }
                model.sort();
                let expected = model.first().map(|(at, _)| *at);
                prop_assert_eq!(queue.next_time(), expected);
                let Some(at) = expected else {
                    if batch.is_none() { break; }
                    continue;
                };
                now = at;
                queue.take(at, &mut events);
                let mut keys: Vec<u32> = events
                    .iter()
                    .map(|event| match event {
                        Event::Key { key, .. } => *key,
                        other => panic!("{other:?}"),
                    })
                    .collect();
                keys.sort();
                let due: Vec<u32> = model.iter().take_while(|(t, _)| *t == at).map(|(_, k)| *k).collect();
                prop_assert_eq!(keys, due);
                model.retain(|(t, _)| *t != at);
            }
        }
    }
}
