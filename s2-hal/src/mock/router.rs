//! The router's table, arranged for fast look-up.

use std::collections::HashMap;
use std::ops::Range;

use super::{number, timing};
use crate::router::Entry;
use crate::topology;

/// Slots of the cache of recent keys.
const CACHE: usize = 1 << CACHE_BITS;

/// Few under Miri, which takes its time to make them.
const CACHE_BITS: u32 = if cfg!(miri) { 4 } else { 12 };

pub(super) struct Table {
    routes: Vec<Route>,
    /// Targets of all routes, one after the other.
    targets: Vec<Target>,
    /// One group per distinct mask, in the order of the groups' first entries.
    groups: Vec<Group>,
    /// Bits of a key that any entry looks at.
    relevant: u32,
    /// Relevant bits of a key and its route, if an entry matches, by a hash of these bits.
    cache: Vec<Option<(u32, Option<Route>)>>,
}

struct Group {
    mask: u32,
    first: u32,
    /// The first entry of each key.
    entries: HashMap<u32, u32>,
}

/// Where the packets of an entry go.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// Place of its first [target](Table::target).
    first: u32,
    /// Number of targets.
    targets: u8,
    /// Number of links.
    pub(super) links: u8,
    /// Hops from the router to all QuadPEs of the route.
    pub(super) hops: u16,
}

impl Route {
    /// Places of its [targets](Table::target).
    #[inline]
    pub(super) fn targets(&self) -> Range<u32> {
        self.first..self.first + u32::from(self.targets)
    }
}

/// A PE that packets go to.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// Its number.
    pub(super) pe: u8,
    /// Cycles from the router to it.
    pub(super) latency: u16,
}

impl Table {
    /// Arranges a table that was checked.
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut table = Self {
            routes: Vec::with_capacity(entries.len()),
            targets: Vec::new(),
            groups: Vec::new(),
            relevant: entries.iter().fold(0, |bits, entry| bits | entry.mask),
            cache: vec![None; CACHE],
        };
        let mut group_of = HashMap::new();
        for (place, entry) in (0_u32..).zip(entries) {
            let start = table.targets.len() as u32;
            let mut hops = 0u32;
            let mut last = None;
            for pe in entry.route.pes() {
                let away = topology::hops_to_router((pe.x, pe.y));
                // Core ids keep the PEs of a QuadPE together, and one packet serves them all.
                if last.replace((pe.x, pe.y)) != Some((pe.x, pe.y)) {
                    hops += away;
                }
                table.targets.extend(number(pe).map(|number| Target {
                    pe: number as u8,
                    latency: away as u16 * timing::HOP as u16,
                }));
            }
            table.routes.push(Route {
                first: start,
                targets: (table.targets.len() as u32 - start) as u8,
                links: entry.route.links().count() as u8,
                hops: hops as u16,
            });
            let group = *group_of.entry(entry.mask).or_insert_with(|| {
                table.groups.push(Group {
                    mask: entry.mask,
                    first: place,
                    entries: HashMap::new(),
                });
                table.groups.len() - 1
            });
            table.groups[group]
                .entries
                .entry(entry.key)
                .or_insert(place);
        }
        table
    }

    /// The bits of a key that its route depends on.
    #[inline]
    pub(super) fn relevant(&self, key: u32) -> u32 {
        key & self.relevant
    }

    /// The route of the first entry that matches a key, of which the [relevant](Self::relevant) bits will do.
    pub(super) fn look_up(&mut self, key: u32) -> Option<Route> {
        let key = self.relevant(key);
        let slot = (key.wrapping_mul(0x9e37_79b1) >> (32 - CACHE_BITS)) as usize;
        match self.cache[slot] {
            Some((cached, route)) if cached == key => route,
            _ => {
                let route = self.search(key);
                self.cache[slot] = Some((key, route));
                route
            }
        }
    }

    #[cold]
    fn search(&self, key: u32) -> Option<Route> {
        let mut best = u32::MAX;
        for group in &self.groups {
            if group.first > best {
                break;
            }
            if let Some(&place) = group.entries.get(&(key & group.mask)) {
                best = best.min(place);
            }
        }
        self.routes.get(best as usize).copied()
    }

    /// A target of a route.
    #[inline]
    pub(super) fn target(&self, place: u32) -> Target {
        self.targets[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::{self, Link};
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        // Few masks and few bits, so that entries overlap.
        let masks = prop::sample::select(vec![0, 1, 3, 0xf, 0x8000_000f, 0x8000_0000, u32::MAX]);
        (masks, 0_u32..16, any::<bool>(), 1_u8..=152, any::<bool>()).prop_map(
            |(mask, low, high, core, link)| {
                let route = router::Route::NONE.with_core(core);
                Entry {
                    key: (low | u32::from(high) << 31) & mask,
                    mask,
                    route: if link {
                        route.with_link(Link::North)
                    } else {
                        route
                    },
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        #[cfg_attr(miri, ignore = "slow, and safe code")]
        fn the_first_matching_entry_counts(
            entries in prop::collection::vec(entry(), 0..40),
            keys in prop::collection::vec((0_u32..20, any::<bool>()), 1..40),
        ) {
            let mut table = Table::new(&entries);
            for (low, high) in keys {
                let key = low | u32::from(high) << 31;
                let expected = entries.iter().find(|entry| entry.matches(key));
                // Twice: searched, then cached.
                for _ in 0..2 {
                    let found = table.look_up(key);
                    prop_assert_eq!(found.is_some(), expected.is_some());
                    let (Some(found), Some(expected)) = (found, expected) else { continue };
                    let targets: Vec<_> = found
                        .targets()
                        .map(|place| super::super::pe(table.target(place).pe.into()))
                        .collect();
                    prop_assert_eq!(targets, expected.route.pes().collect::<Vec<_>>());
                    prop_assert_eq!(found.links as usize, expected.route.links().count());
                }
            }
        }
    }
}
