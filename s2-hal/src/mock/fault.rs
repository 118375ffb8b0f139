//! Faults to order: what goes wrong on the model, when and where.
//!
//! A [`FaultPlan`] is part of the [`Config`](super::Config). The same plan and seed give the same
//! faults. Overruns need no plan: a small ring does it.
//!
//! # Examples
//! ```
//! use s2_hal::mock::fault::{FaultPlan, PacketFault, PacketRule, TransferRule};
//! use s2_hal::topology::PeId;
//!
//! let pe = PeId::new(1, 1, 0).unwrap();
//! let plan = FaultPlan {
//!     packets: vec![
//!         // The third packet with bit 31 in its key that reaches `pe` is lost on the way.
//!         PacketRule::nth(2, PacketFault::Lose).matching(1 << 31, 1 << 31).to(pe),
//!         // One packet in a million arrives with a bit of its payload flipped.
//!         PacketRule::chance(1e-6, PacketFault::Corrupt { bits: None }),
//!     ],
//!     transfers: vec![TransferRule::nth(0)],
//!     ..FaultPlan::default()
//! };
//! # let _ = plan;
//! ```

use crate::rng::Kiss64;
use crate::topology::PeId;

/// What goes wrong during a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// Faults of packets. The first rule that strikes decides.
    pub packets: Vec<PacketRule>,
    /// DMA jobs that fail.
    pub transfers: Vec<TransferRule>,
    /// PEs that hang.
    pub hangs: Vec<Hang>,
}

/// When a rule strikes, among the packets or jobs that it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// Once: the first is number 0.
    Nth(u64),
    /// Each time with this probability.
    Chance(f64),
}

/// What happens to a packet. Faults strike a packet on its way to one PE: copies for other PEs are
/// packets of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketFault {
    /// It does not arrive.
    Lose,
    /// It arrives twice.
    Duplicate {
        /// Cycles from the first arrival to the second.
        later: u32,
    },
    /// It arrives with another payload; a packet without payload is spared.
    Corrupt {
        /// Bits of the payload to flip; `None`: one bit, drawn at random.
        bits: Option<u32>,
    },
}

/// A fault of packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PacketRule {
    /// What happens.
    pub fault: PacketFault,
    /// Which of the packets it happens to.
    pub when: When,
    /// The rule is about packets with `packet.key & mask == key`.
    pub key: u32,
    /// See `key`.
    pub mask: u32,
    /// The rule is about packets to this PE; `None`: to any.
    pub to: Option<PeId>,
}

impl PacketRule {
    /// `fault` strikes packet number `n`, counted from 0.
    pub const fn nth(n: u64, fault: PacketFault) -> Self {
        Self::new(When::Nth(n), fault)
    }

    /// `fault` strikes each packet with this probability.
    pub const fn chance(probability: f64, fault: PacketFault) -> Self {
        Self::new(When::Chance(probability), fault)
    }

    const fn new(when: When, fault: PacketFault) -> Self {
        Self {
            fault,
            when,
            key: 0,
            mask: 0,
            to: None,
        }
    }

    /// Only packets with `packet.key & mask == key` count.
    #[must_use]
    pub const fn matching(mut self, key: u32, mask: u32) -> Self {
        (self.key, self.mask) = (key, mask);
        self
    }

    /// Only packets to `pe` count.
    #[must_use]
    pub const fn to(mut self, pe: PeId) -> Self {
        self.to = Some(pe);
        self
    }
}

/// DMA jobs that fail half-way, with [`dma::ErrorKind::Bus`](crate::dma::ErrorKind::Bus).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransferRule {
    /// Which of the jobs fail.
    pub when: When,
    /// The rule is about jobs of this PE; `None`: of any.
    pub pe: Option<PeId>,
}

impl TransferRule {
    /// Job number `n` fails, counted from 0.
    pub const fn nth(n: u64) -> Self {
        Self {
            when: When::Nth(n),
            pe: None,
        }
    }

    /// Each job fails with this probability.
    pub const fn chance(probability: f64) -> Self {
        Self {
            when: When::Chance(probability),
            pe: None,
        }
    }

    /// Only jobs of `pe` count.
    #[must_use]
    pub const fn of(mut self, pe: PeId) -> Self {
        self.pe = Some(pe);
        self
    }
}

/// A PE that hangs: its program is not polled any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hang {
    /// The PE.
    pub pe: PeId,
    /// Polls of its program before it hangs, counted since the plan was set.
    pub after_polls: u64,
}

/// A plan at work: with what it has counted so far.
pub(super) struct Faults {
    packets: Vec<Armed<PacketRule>>,
    transfers: Vec<Armed<TransferRule>>,
    hangs: Vec<(usize, u64)>,
}

struct Armed<R> {
    rule: R,
    /// Place of the one PE that the rule is about.
    pe: Option<usize>,
    seen: u64,
}

impl<R> Armed<R> {
    fn strikes(&mut self, when: When, rng: &mut Kiss64) -> bool {
        self.seen += 1;
        match when {
            When::Nth(n) => self.seen - 1 == n,
            When::Chance(probability) => f64::from(rng.next()) < probability * 4_294_967_296.0,
        }
    }
}

impl Faults {
    /// `place` numbers the PEs; a rule about a PE that does not exist never strikes.
    pub(super) fn new(plan: &FaultPlan, place: impl Fn(PeId) -> Option<usize>) -> Self {
        fn arm<R>(rule: R, pe: Option<Option<usize>>) -> Armed<R> {
            Armed {
                rule,
                pe: pe.map(|place| place.unwrap_or(usize::MAX)),
                seen: 0,
            }
        }
        Self {
            packets: plan
                .packets
                .iter()
                .map(|&rule| arm(rule, rule.to.map(&place)))
                .collect(),
            transfers: plan
                .transfers
                .iter()
                .map(|&rule| arm(rule, rule.pe.map(&place)))
                .collect(),
            hangs: plan
                .hangs
                .iter()
                .filter_map(|hang| Some((place(hang.pe)?, hang.after_polls)))
                .collect(),
        }
    }

    /// Whether no packet can be struck.
    #[inline]
    pub(super) fn spare_packets(&self) -> bool {
        self.packets.is_empty()
    }

    /// The fault that strikes a packet to a PE.
    pub(super) fn packet(&mut self, to: usize, key: u32, rng: &mut Kiss64) -> Option<PacketFault> {
        let mut struck = None;
        for armed in &mut self.packets {
            let PacketRule { when, fault, .. } = armed.rule;
            if key & armed.rule.mask == armed.rule.key
                && armed.pe.is_none_or(|pe| pe == to)
                && armed.strikes(when, rng)
            {
                struck = struck.or(Some(fault));
            }
        }
        struck
    }

    /// Whether a DMA job of a PE fails.
    pub(super) fn transfer(&mut self, of: usize, rng: &mut Kiss64) -> bool {
        let mut struck = false;
        for armed in &mut self.transfers {
            let when = armed.rule.when;
            if armed.pe.is_none_or(|pe| pe == of) {
                struck |= armed.strikes(when, rng);
            }
        }
        struck
    }

    /// Whether a PE hangs instead of being polled.
    #[inline]
    pub(super) fn hangs(&mut self, pe: usize) -> bool {
        let mut hangs = false;
        for (at, left) in &mut self.hangs {
            if *at == pe {
                hangs |= *left == 0;
                *left = left.saturating_sub(1);
            }
        }
        hangs
    }
}
