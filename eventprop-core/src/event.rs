//! What a packet means: the one place where keys and payloads are packed and unpacked.
//!
//! Key:
//!
//! | bits | field | meaning |
//! |---|---|---|
//! | 31 | towards the input | set for errors and for everything else that travels upstream; the precedent is the error bit of online learning on the prototype chip |
//! | 30:28 | kind | [`Message`]'s variant |
//! | 27:20 | source | chip-wide number of the sending PE ([`Source`]) |
//! | 19:16 | target | [`Target`]: one neighbour of the sender, the optimiser, or all |
//! | 15:0 | tag | depends on the kind |
//!
//! The router needs only bits 31 and 27:16 ([`ROUTING_MASK`]).
//!
//! A marker ends a *stretch*: one or more steps of which only the last may have events. Stretches
//! are numbered by *positions*: how many of them the sender has sent to this receiver before, since it
//! was started, over all samples. A position is shortened to the low bits that fit; the receiver knows
//! what it expects and reads them as the nearest number ([`nearest`]).

use s2_hal::packet::Packet;

use crate::log::Event;

/// Bits of a key that decide where a packet goes.
pub const ROUTING_MASK: u32 = 0x8FFF_0000;
/// Most events that one PE may emit in one step: what an index can count.
pub const MAX_EVENTS_PER_STEP: usize = 4096;
/// Most steps of a stretch: what a marker can count.
pub const MAX_STRETCH: usize = 64;
/// Most neighbours of a PE in one direction.
pub const MAX_NEIGHBOURS: usize = 14;

/// Chip-wide number of a sending PE.
pub type Source = u8;

/// To which of the sender's neighbours a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Neighbour `n` in the direction of the packet, below [`MAX_NEIGHBOURS`].
    One(u8),
    /// The optimiser.
    Optimizer,
    /// All neighbours in the direction of the packet.
    All,
}

/// Which way a packet travels through the network's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the loss.
    Downstream,
    /// Towards the input.
    Upstream,
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A spike.
    Spike {
        /// Position of its stretch (15 bits).
        position: u16,
        /// Number of the event among its sender's events of that stretch.
        index: u16,
        /// Neuron within the whole layer, and ticks within the step.
        event: Event,
    },
    /// A stretch is complete.
    Marker {
        /// Position of the stretch (10 bits).
        position: u16,
        /// How many steps it has: 1 to [`MAX_STRETCH`].
        steps: u8,
        /// How many events or errors of its last step were sent to this target.
        count: u16,
        /// Checksum over them ([`Checksum`]).
        checksum: u32,
    },
    /// dL/dt of one of the receiver's spikes.
    Error {
        /// Position of the stretch (4 bits).
        position: u16,
        /// Number of the event among the receiver's events of the step that is answered.
        index: u16,
        /// Which word of the error.
        part: ErrorPart,
        /// The word.
        word: u32,
    },
    /// The sender has consumed all stretches before a position, of what travels the other way.
    Acknowledge {
        /// That position.
        position: u16,
    },
    /// The sender's gradient of a minibatch is complete.
    Ready {
        /// Number of minibatches that it has finished.
        minibatch: u16,
    },
    /// The weights of the next minibatch are in place.
    Release {
        /// Number of minibatches that the optimiser has finished.
        minibatch: u16,
    },
}

/// Which part of an error a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorPart {
    /// The whole error, rounded (F18): from a layer on a single PE.
    Whole,
    /// High word of this PE's share of the unrounded sum (F38): from a layer split over PEs.
    High,
    /// Low word of that share.
    Low,
}

/// A packet's contents with its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Which way it travels.
    pub direction: Direction,
    /// Who sent it.
    pub source: Source,
    /// To whom.
    pub target: Target,
    /// What it says.
    pub message: Message,
}

/// A packet that no program of this crate sends, or whose redundant bits disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

const SPIKE: u32 = 0;
const MARKER: u32 = 1;
const ERROR: u32 = 2;
const ERROR_HIGH: u32 = 3;
const ERROR_LOW: u32 = 4;
const ACKNOWLEDGE: u32 = 5;
const READY: u32 = 6;
const RELEASE: u32 = 7;

const TARGET_OPTIMIZER: u32 = 14;
const TARGET_ALL: u32 = 15;

/// Bits of the payload that hold a marker's checksum.
const CHECKSUM_BITS: u32 = 19;
/// Where a marker's payload holds the steps, and its position.
const STEPS_SHIFT: u32 = CHECKSUM_BITS;
const POSITION_SHIFT: u32 = 25;

/// The bits of a key that decide where packets of a sender go ([`ROUTING_MASK`]).
#[cfg_attr(not(target_arch = "arm"), inline)]
#[must_use]
pub fn routing_key(direction: Direction, source: Source, target: Target) -> u32 {
    let upstream = u32::from(direction == Direction::Upstream);
    upstream << 31 | u32::from(source) << 20 | target_bits(target)
}

/// The bits of a key that say the target.
#[cfg_attr(not(target_arch = "arm"), inline)]
pub(crate) fn target_bits(target: Target) -> u32 {
    let number = match target {
        Target::One(n) => u32::from(n),
        Target::Optimizer => TARGET_OPTIMIZER,
        Target::All => TARGET_ALL,
    };
    number << 16
}

/// Packs a message.
///
/// Positions are shortened to their low bits; other fields must be in their range.
#[must_use]
pub fn pack(envelope: Envelope) -> Packet {
    let Envelope {
        direction,
        source,
        target,
        message,
    } = envelope;
    message.packet(routing_key(direction, source, target))
}

impl Message {
    /// The packet that says this, on the way that the [routing key](routing_key) names.
    #[inline(always)]
    pub(crate) fn packet(self, routing: u32) -> Packet {
        let (kind, tag, payload) = match self {
            Self::Spike {
                position,
                index,
                event,
            } => {
                debug_assert!(usize::from(index) < MAX_EVENTS_PER_STEP && event.neuron < 1 << 12);
                let (low, high) = (u32::from(position) & 0x7FF, u32::from(position) >> 11 & 0xF);
                let payload = low << 21 | u32::from(index) << 9 | u32::from(event.offset);
                (SPIKE, high << 12 | u32::from(event.neuron), payload)
            }
            Self::Marker {
                position,
                steps,
                count,
                checksum,
            } => {
                debug_assert!(usize::from(count) <= MAX_EVENTS_PER_STEP);
                debug_assert!((1..=MAX_STRETCH).contains(&usize::from(steps)));
                let (low, high) = (u32::from(position) & 0x7F, u32::from(position) >> 7 & 0x7);
                let steps = (u32::from(steps) - 1) << STEPS_SHIFT;
                let payload = low << POSITION_SHIFT | steps | checksum;
                (MARKER, high << 13 | u32::from(count), payload)
            }
            Self::Error {
                position,
                index,
                part,
                word,
            } => {
                let kind = match part {
                    ErrorPart::Whole => ERROR,
                    ErrorPart::High => ERROR_HIGH,
                    ErrorPart::Low => ERROR_LOW,
                };
                let position = u32::from(position) & 0xF;
                (kind, position << 12 | u32::from(index), word)
            }
            Self::Acknowledge { position } => (ACKNOWLEDGE, 0, doubled(position)),
            Self::Ready { minibatch } => (READY, 0, doubled(minibatch)),
            Self::Release { minibatch } => (RELEASE, 0, doubled(minibatch)),
        };
        Packet {
            key: routing | kind << 28 | tag,
            payload: Some(payload),
        }
    }
}

/// What a stream is made of: the kind of its words, the first of them if there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Content {
    /// Spikes.
    Spikes = SPIKE,
    /// Errors, whole.
    Errors = ERROR,
    /// Shares of errors, of two words each.
    Shares = ERROR_HIGH,
}

impl Content {
    /// Words, which are packets, per event.
    pub(crate) const fn lanes(self) -> usize {
        1 << self.lane_bits()
    }

    /// Binary logarithm of the [lanes](Self::lanes).
    pub(crate) const fn lane_bits(self) -> u32 {
        matches!(self, Self::Shares) as u32
    }
}

/// A word of an event that a packet carries, and its place in a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    /// The kind of its packet.
    kind: u32,
    /// Position of the stretch, and how many bits of it these are.
    pub(crate) position: u16,
    pub(crate) position_bits: u32,
    /// Number of the event.
    pub(crate) index: u16,
    /// What it says: of a spike, its [event](Self::event).
    pub(crate) word: u32,
}

impl Word {
    /// Unpacks a spike or a part of an error: nearly all packets. `None` for any other.
    #[inline(always)]
    pub(crate) fn of(packet: Packet) -> Option<Self> {
        let (tag, payload) = (packet.key & 0xFFFF, packet.payload?);
        let kind = packet.key >> 28 & 7;
        match kind {
            SPIKE => Some(Self {
                kind,
                position: (payload >> 21 | (tag >> 12) << 11) as u16,
                position_bits: SPIKE_POSITION_BITS,
                index: (payload >> 9 & 0xFFF) as u16,
                word: (tag & 0xFFF) << 16 | payload & 0x1FF,
            }),
            ERROR | ERROR_HIGH | ERROR_LOW => Some(Self {
                kind,
                position: (tag >> 12) as u16,
                position_bits: ERROR_POSITION_BITS,
                index: (tag & 0xFFF) as u16,
                word: payload,
            }),
            _ => None,
        }
    }

    /// Which word of an event of a stream it is, if it is one.
    #[inline(always)]
    pub(crate) fn lane(&self, content: Content) -> Option<usize> {
        let lane = self.kind.wrapping_sub(content as u32) as usize;
        (lane < content.lanes()).then_some(lane)
    }

    /// The event that a spike's word says.
    #[inline]
    pub(crate) fn event(word: u32) -> Event {
        Event {
            neuron: (word >> 16) as u16,
            offset: word as u16,
        }
    }
}

/// Who sent a packet, and which way.
#[inline(always)]
pub(crate) fn sender(packet: Packet) -> (Direction, Source) {
    let direction = if packet.key >> 31 == 1 {
        Direction::Upstream
    } else {
        Direction::Downstream
    };
    (direction, (packet.key >> 20) as u8)
}

/// Unpacks a packet.
///
/// # Errors
/// [`Unknown`] for a packet without payload, or with a control word that contradicts itself.
#[cfg_attr(not(target_arch = "arm"), inline)]
pub fn unpack(packet: Packet) -> Result<Envelope, Unknown> {
    let Packet {
        key,
        payload: Some(payload),
    } = packet
    else {
        return Err(Unknown);
    };
    let tag = key & 0xFFFF;
    let message = match key >> 28 & 7 {
        MARKER if (tag & 0x1FFF) as usize > MAX_EVENTS_PER_STEP => return Err(Unknown),
        MARKER => Message::Marker {
            position: (payload >> POSITION_SHIFT | (tag >> 13) << 7) as u16,
            steps: (payload >> STEPS_SHIFT & 0x3F) as u8 + 1,
            count: (tag & 0x1FFF) as u16,
            checksum: payload & ((1 << CHECKSUM_BITS) - 1),
        },
        ACKNOWLEDGE => Message::Acknowledge {
            position: single(payload)?,
        },
        READY => Message::Ready {
            minibatch: single(payload)?,
        },
        RELEASE => Message::Release {
            minibatch: single(payload)?,
        },
        _ => {
            let Word {
                kind,
                position,
                index,
                word,
                ..
            } = Word::of(packet).ok_or(Unknown)?;
            let error = |part| Message::Error {
                position,
                index,
                part,
                word,
            };
            match kind {
                SPIKE => Message::Spike {
                    position,
                    index,
                    event: Word::event(word),
                },
                ERROR => error(ErrorPart::Whole),
                ERROR_HIGH => error(ErrorPart::High),
                _ => error(ErrorPart::Low),
            }
        }
    };
    let (direction, source) = sender(packet);
    Ok(Envelope {
        direction,
        source,
        target: match key >> 16 & 0xF {
            TARGET_OPTIMIZER => Target::Optimizer,
            TARGET_ALL => Target::All,
            n => Target::One(n as u8),
        },
        message,
    })
}

/// A control word: a number and its complement, so that a changed bit is noticed.
#[cfg_attr(not(target_arch = "arm"), inline)]
fn doubled(number: u16) -> u32 {
    u32::from(!number) << 16 | u32::from(number)
}

#[cfg_attr(not(target_arch = "arm"), inline)]
fn single(word: u32) -> Result<u16, Unknown> {
    let number = word as u16;
    if (word >> 16) as u16 == !number {
        Ok(number)
    } else {
        Err(Unknown)
    }
}

/// How far the position with the low bits `low` lies behind (negative) or ahead of `expected`, the
/// nearest of all that have these bits.
#[cfg_attr(not(target_arch = "arm"), inline)]
#[must_use]
pub fn nearest(expected: u32, low: u16, bits: u32) -> i32 {
    let unused = 32 - bits;
    (u32::from(low).wrapping_sub(expected) << unused).cast_signed() >> unused
}

/// Bits of a position in a [`Message::Spike`].
pub const SPIKE_POSITION_BITS: u32 = 15;
/// Bits of a position in a [`Message::Marker`].
pub const MARKER_POSITION_BITS: u32 = 10;
/// Bits of a position in a [`Message::Error`].
pub const ERROR_POSITION_BITS: u32 = 4;
/// Bits of a position in a [`Message::Acknowledge`], and of a minibatch's number.
pub const CONTROL_POSITION_BITS: u32 = 16;

/// Checksum over the packets of one stretch, the same in whatever order they arrive.
///
/// A single changed bit of a payload always changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum(u32);

impl Checksum {
    /// Odd, and far from any small multiple of a power of two: see the test.
    const PAYLOAD_FACTOR: u32 = 0x9E37_79B1;
    const KEY_FACTOR: u32 = 0x85EB_CA6B;
    const POSITION_FACTOR: u32 = 0xC2B2_AE35;
    const STEPS_FACTOR: u32 = 0x27D4_EB2F;

    /// No packets.
    pub const NEW: Self = Self(0);

    /// Takes a packet's tag and payload into account.
    #[inline]
    pub fn add(&mut self, packet: Packet) {
        let payload = packet
            .payload
            .unwrap_or(0)
            .wrapping_mul(Self::PAYLOAD_FACTOR);
        let tag = (packet.key & 0xFFFF).wrapping_mul(Self::KEY_FACTOR);
        self.0 = self.0.wrapping_add(payload).wrapping_add(tag);
    }

    /// What the marker of the stretch at `position`, of so many `steps`, carries.
    #[inline]
    #[must_use]
    pub fn finish(self, position: u32, steps: u8) -> u32 {
        let marker = position
            .wrapping_mul(Self::POSITION_FACTOR)
            .wrapping_add(u32::from(steps).wrapping_mul(Self::STEPS_FACTOR));
        self.0.wrapping_add(marker) >> (32 - CHECKSUM_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages() -> impl Strategy<Value = Message> {
        let part = prop_oneof![
            Just(ErrorPart::Whole),
            Just(ErrorPart::High),
            Just(ErrorPart::Low)
        ];
        prop_oneof![
            (0u16..1 << 15, 0u16..4096, 0u16..4096, 0u16..=256).prop_map(
                |(position, index, neuron, offset)| Message::Spike {
                    position,
                    index,
                    event: Event { neuron, offset }
                }
            ),
            (0u16..1 << 10, 1u8..=64, 0u16..=4096, 0u32..1 << 19).prop_map(
                |(position, steps, count, checksum)| Message::Marker {
                    position,
                    steps,
                    count,
                    checksum,
                }
            ),
            (0u16..16, 0u16..4096, part, any::<u32>()).prop_map(|(position, index, part, word)| {
                Message::Error {
                    position,
                    index,
                    part,
                    word,
                }
            }),
            any::<u16>().prop_map(|position| Message::Acknowledge { position }),
            any::<u16>().prop_map(|minibatch| Message::Ready { minibatch }),
            any::<u16>().prop_map(|minibatch| Message::Release { minibatch }),
        ]
    }

    proptest! {
        #[test]
        fn packets_carry_messages(message in messages(), up in any::<bool>(), source in any::<u8>(), n in 0u8..16) {
            let envelope = Envelope {
                direction: if up { Direction::Upstream } else { Direction::Downstream },
                source,
                target: match n { 14 => Target::Optimizer, 15 => Target::All, n => Target::One(n) },
                message,
            };
            let packet = pack(envelope);
            prop_assert_eq!(unpack(packet), Ok(envelope));
            let key = routing_key(envelope.direction, source, envelope.target);
            prop_assert_eq!(packet.key & ROUTING_MASK, key);
        }

        #[test]
        fn any_packet_is_understood_or_refused(key in any::<u32>(), payload in any::<Option<u32>>()) {
            let packet = Packet { key, payload };
            if let Ok(envelope) = unpack(packet) {
                prop_assert_eq!(unpack(pack(envelope)), Ok(envelope));
            }
        }

        #[test]
        fn positions_are_found_again(expected in any::<u32>(), distance in -7i32..8) {
            let position = expected.wrapping_add_signed(distance);
            prop_assert_eq!(nearest(expected, (position & 0xF) as u16, 4), distance);
            prop_assert_eq!(nearest(expected, (position & 0x7FFF) as u16, 15), distance);
        }
    }

    /// Flipping bit b of a payload, or of a marker's steps or position, changes the sum by 2^b times the
    /// factor, up or down. The high 19 bits notice every change that is not within 2^13 of a multiple of
    /// 2^32.
    #[test]
    fn checksum_notices_every_single_bit() {
        for (factor, bits) in [
            (Checksum::PAYLOAD_FACTOR, 32),
            (Checksum::STEPS_FACTOR, 7),
            (Checksum::POSITION_FACTOR, MARKER_POSITION_BITS),
        ] {
            for bit in 0..bits {
                let change = factor << bit;
                let unseen = 1 << (32 - CHECKSUM_BITS);
                assert!((unseen..=u32::MAX - unseen).contains(&change), "bit {bit}");
            }
        }
    }
}
