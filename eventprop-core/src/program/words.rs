//! Faults and reasons to wait as five words each, for a place of fixed size in memory that a host reads.

use s2_hal::{dma, packet};

use super::{Fault, Waiting};

/// Number of words.
pub const WORDS: usize = 5;

/// The words of a fault or of a reason to wait: which one, and its numbers.
pub type Words = [u32; WORDS];

const DMA_KINDS: [dma::ErrorKind; 6] = [
    dma::ErrorKind::Alignment,
    dma::ErrorKind::Region,
    dma::ErrorKind::Length,
    dma::ErrorKind::Bus,
    dma::ErrorKind::Busy,
    dma::ErrorKind::Other,
];

const PACKET_KINDS: [packet::ErrorKind; 3] = [
    packet::ErrorKind::Overrun,
    packet::ErrorKind::NoSuchDestination,
    packet::ErrorKind::Other,
];

/// Place of a kind in its list; kinds that the list does not know yet count as the last one, "other".
fn place<T: PartialEq>(list: &[T], kind: &T) -> u32 {
    let found = list.iter().position(|known| known == kind);
    found.unwrap_or(list.len() - 1) as u32
}

impl Fault {
    /// The fault's words. The text of [`Fault::Configuration`] is not in them.
    #[must_use]
    pub fn to_words(&self) -> Words {
        match *self {
            Self::RingOverrun => [1, 0, 0, 0, 0],
            Self::UnknownPacket { key } => [2, key, 0, 0, 0],
            Self::UnexpectedPacket { key } => [3, key, 0, 0, 0],
            Self::BeyondWindow {
                source,
                expected,
                ahead,
            } => [4, source.into(), expected, ahead.cast_unsigned(), 0],
            Self::IndexOutOfRange {
                source,
                index,
                limit,
            } => [5, source.into(), index.into(), limit.into(), 0],
            Self::Conflict { source, position } => [6, source.into(), position, 0, 0],
            Self::Checksum { source, position } => [7, source.into(), position, 0, 0],
            Self::TooManyEvents {
                source,
                position,
                announced,
                arrived,
            } => [8, source.into(), position, announced.into(), arrived.into()],
            Self::EventOutOfRange {
                source,
                neuron,
                offset,
            } => [9, source.into(), neuron.into(), offset.into(), 0],
            Self::SpikesExceedMemory { capacity, step } => [10, capacity as u32, step as u32, 0, 0],
            Self::ArrivalsExceedMemory { capacity, step } => {
                [11, capacity as u32, step as u32, 0, 0]
            }
            Self::BadSample { sample } => [12, sample, 0, 0, 0],
            Self::Dma(kind) => [13, place(&DMA_KINDS, &kind), 0, 0, 0],
            Self::Send(kind) => [14, place(&PACKET_KINDS, &kind), 0, 0, 0],
            Self::MemoryTooSmall { needed, available } => {
                [15, needed as u32, available as u32, 0, 0]
            }
            Self::Configuration(_) => [16, 0, 0, 0, 0],
            Self::BeyondSample {
                source,
                position,
                end,
            } => [17, source.into(), position, end as u32, 0],
        }
    }

    /// The fault of these words, or `None` if they are those of none. [`Fault::Configuration`] comes
    /// back with the text "a number is out of its range".
    #[must_use]
    pub fn from_words(words: Words) -> Option<Self> {
        let [code, a, b, c, d] = words;
        let source = u8::try_from(a);
        let half = |word| u16::try_from(word).ok();
        Some(match code {
            1 => Self::RingOverrun,
            2 => Self::UnknownPacket { key: a },
            3 => Self::UnexpectedPacket { key: a },
            4 => Self::BeyondWindow {
                source: source.ok()?,
                expected: b,
                ahead: c.cast_signed(),
            },
            5 => Self::IndexOutOfRange {
                source: source.ok()?,
                index: half(b)?,
                limit: half(c)?,
            },
            6 => Self::Conflict {
                source: source.ok()?,
                position: b,
            },
            7 => Self::Checksum {
                source: source.ok()?,
                position: b,
            },
            8 => Self::TooManyEvents {
                source: source.ok()?,
                position: b,
                announced: half(c)?,
                arrived: half(d)?,
            },
            9 => Self::EventOutOfRange {
                source: source.ok()?,
                neuron: half(b)?,
                offset: half(c)?,
            },
            10 => Self::SpikesExceedMemory {
                capacity: a as usize,
                step: b as usize,
            },
            11 => Self::ArrivalsExceedMemory {
                capacity: a as usize,
                step: b as usize,
            },
            12 => Self::BadSample { sample: a },
            13 => Self::Dma(*DMA_KINDS.get(a as usize)?),
            14 => Self::Send(*PACKET_KINDS.get(a as usize)?),
            15 => Self::MemoryTooSmall {
                needed: a as usize,
                available: b as usize,
            },
            16 => Self::Configuration("a number is out of its range"),
            17 => Self::BeyondSample {
                source: source.ok()?,
                position: b,
                end: c as usize,
            },
            _ => return None,
        })
    }
}

impl Waiting {
    /// The words of a reason to wait.
    #[must_use]
    pub fn to_words(&self) -> Words {
        match *self {
            Self::Nothing => [0; WORDS],
            Self::Marker {
                source,
                position,
                arrived,
            } => [1, source.into(), position, arrived.into(), 0],
            Self::Events {
                source,
                position,
                announced,
                arrived,
            } => [2, source.into(), position, announced.into(), arrived.into()],
            Self::Acknowledgement {
                source,
                acknowledged,
                position,
            } => [3, source.into(), acknowledged, position, 0],
            Self::Gradients { source, minibatch } => [4, source.into(), minibatch, 0, 0],
            Self::Weights { minibatch } => [5, minibatch, 0, 0, 0],
        }
    }

    /// The reason of these words, or `None` if they are those of none.
    #[must_use]
    pub fn from_words(words: Words) -> Option<Self> {
        let [code, a, b, c, d] = words;
        let source = u8::try_from(a);
        let half = |word| u16::try_from(word).ok();
        Some(match code {
            0 => Self::Nothing,
            1 => Self::Marker {
                source: source.ok()?,
                position: b,
                arrived: half(c)?,
            },
            2 => Self::Events {
                source: source.ok()?,
                position: b,
                announced: half(c)?,
                arrived: half(d)?,
            },
            3 => Self::Acknowledgement {
                source: source.ok()?,
                acknowledged: b,
                position: c,
            },
            4 => Self::Gradients {
                source: source.ok()?,
                minibatch: b,
            },
            5 => Self::Weights { minibatch: a },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_round_trip(
            code in 0..20u32, a in any::<u8>(), b in any::<u16>(), c in any::<u16>(), d in any::<u16>(),
        ) {
            let words = [code, a.into(), b.into(), c.into(), d.into()];
            // A fault made of words gives words that make the same fault, all 17 of them.
            if let Some(fault) = Fault::from_words(words) {
                prop_assert_eq!(Fault::from_words(fault.to_words()), Some(fault));
                prop_assert_eq!(fault.to_words()[0], code);
            } else {
                prop_assert!(code == 0 || code > 17 || matches!(code, 13 | 14));
            }
            if let Some(waiting) = Waiting::from_words(words) {
                prop_assert_eq!(Waiting::from_words(waiting.to_words()), Some(waiting));
            } else {
                prop_assert!(code > 5);
            }
        }
    }

    #[test]
    fn numbers_keep_their_places() {
        let fault = Fault::TooManyEvents {
            source: 200,
            position: 70_000,
            announced: 6,
            arrived: 7,
        };
        assert_eq!(fault.to_words(), [8, 200, 70_000, 6, 7]);
        let fault = Fault::BeyondWindow {
            source: 3,
            expected: 9,
            ahead: -5,
        };
        assert_eq!(Fault::from_words(fault.to_words()), Some(fault));
        // A source of more than a byte is none.
        assert_eq!(Fault::from_words([6, 256, 0, 0, 0]), None);
    }
}
