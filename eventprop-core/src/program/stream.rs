//! Streams of steps between neighbouring PEs: ports, inboxes and outboxes.
//!
//! A stream goes in *stretches*: one or more steps of which only the last may have events, ended by a
//! marker. So quiet steps cost nothing, and a receiver that holds a whole stretch knows all its steps.

use s2_hal::packet::{Error as _, Fanout, Packet, PacketReceiver, PacketSender};
use s2_hal::topology::Destination;

use super::{Fault, Status, Waiting};
use crate::event::{
    CONTROL_POSITION_BITS, Checksum, Content, Direction, ERROR_POSITION_BITS, Envelope,
    MARKER_POSITION_BITS, MAX_NEIGHBOURS, Message, Source, Target, Word, nearest, routing_key,
    target_bits, unpack,
};

/// Most stretches that a sender may be ahead of its receivers.
pub const MAX_WINDOW: usize = 4;

/// How packets reach the PEs of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Through the chip's router, which holds an entry for every key.
    Router,
    /// To lists of destinations that the sender holds.
    Direct {
        /// Where each neighbour is.
        one: [Destination; MAX_NEIGHBOURS],
        /// The destinations of all neighbours, those of one QuadPE joined.
        all: [Destination; MAX_NEIGHBOURS],
        /// How many of `all` count.
        all_len: u8,
        /// Where the optimiser is.
        optimizer: Destination,
    },
}

/// The neighbours of a PE in one direction, and what each may send in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    pub(super) sources: [Source; MAX_NEIGHBOURS],
    pub(super) len: u8,
    /// How packets reach them.
    pub routing: Routing,
}

impl Neighbours {
    /// No neighbours.
    pub const NONE: Self = Self {
        sources: [0; MAX_NEIGHBOURS],
        len: 0,
        routing: Routing::Router,
    };

    /// Takes the neighbours' numbers.
    ///
    /// Returns `None` for more than [`MAX_NEIGHBOURS`].
    #[must_use]
    pub fn new(sources: &[Source], routing: Routing) -> Option<Self> {
        let mut all = [0; MAX_NEIGHBOURS];
        all.get_mut(..sources.len())?.copy_from_slice(sources);
        Some(Self {
            sources: all,
            len: sources.len() as u8,
            routing,
        })
    }

    /// Checks what [`new`](Self::new) guarantees, for a value that came over a wire.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let lists = match self.routing {
            Routing::Router => true,
            Routing::Direct { all_len, .. } => usize::from(all_len) <= MAX_NEIGHBOURS,
        };
        super::require(
            lists && self.len() <= MAX_NEIGHBOURS,
            "a PE has at most 14 neighbours in a direction",
        )
    }

    /// Their numbers.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources[..usize::from(self.len)]
    }

    /// Number of neighbours.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which neighbour `source` is.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    #[must_use]
    pub fn position(&self, source: Source) -> Option<usize> {
        self.sources().iter().position(|&s| s == source)
    }
}

/// The way to the neighbours of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    /// The bits of a key that all targets have in common.
    key: u32,
    neighbours: Neighbours,
}

impl Port {
    /// To nobody.
    const NONE: Self = Self {
        key: 0,
        neighbours: Neighbours::NONE,
    };

    /// From the PE `source` to its neighbours.
    pub(crate) fn new(source: Source, direction: Direction, neighbours: Neighbours) -> Self {
        Self {
            key: routing_key(direction, source, Target::One(0)),
            neighbours,
        }
    }

    /// The bits of a key that lead a packet to a target.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn key(&self, target: Target) -> u32 {
        self.key | target_bits(target)
    }

    /// How packets reach a target.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn fanout(&self, target: Target) -> Fanout<'_> {
        match &self.neighbours.routing {
            Routing::Router => Fanout::Router,
            Routing::Direct {
                one,
                all,
                all_len,
                optimizer,
            } => Fanout::Direct(match target {
                Target::One(n) => core::slice::from_ref(&one[usize::from(n)]),
                Target::Optimizer => core::slice::from_ref(optimizer),
                Target::All => &all[..usize::from(*all_len)],
            }),
        }
    }

    /// Sends one message to a target; `false` when the transmitter is busy.
    #[inline(always)]
    pub(crate) fn send(
        &self,
        pe: &mut impl PacketSender,
        target: Target,
        message: Message,
    ) -> Result<bool, Fault> {
        let packet = message.packet(self.key(target));
        try_send(pe, self.fanout(target), packet)
    }
}

/// Sends a packet; `false` when the transmitter is busy.
#[inline(always)]
fn try_send(pe: &mut impl PacketSender, to: Fanout<'_>, packet: Packet) -> Result<bool, Fault> {
    match pe.try_send(to, packet) {
        Ok(()) => Ok(true),
        Err(nb::Error::WouldBlock) => Ok(false),
        Err(nb::Error::Other(error)) => Err(Fault::Send(error.kind())),
    }
}

/// Takes the next packet from the ring.
#[cfg_attr(target_arch = "arm", inline)]
#[cfg_attr(not(target_arch = "arm"), inline(always))]
pub(crate) fn receive(pe: &mut impl PacketReceiver) -> Result<Option<Packet>, Fault> {
    match pe.try_receive() {
        Ok(packet) => Ok(Some(packet)),
        Err(nb::Error::WouldBlock) => Ok(None),
        Err(nb::Error::Other(error)) => Err(match error.kind() {
            s2_hal::packet::ErrorKind::Overrun => Fault::RingOverrun,
            kind => Fault::Send(kind),
        }),
    }
}

/// Unpacks a packet.
#[cfg_attr(not(target_arch = "arm"), inline)]
pub(crate) fn open(packet: Packet) -> Result<Envelope, Fault> {
    unpack(packet).map_err(|_| Fault::UnknownPacket { key: packet.key })
}

/// One stretch from one source, as far as it has arrived.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Packets of events.
    arrived: u16,
    /// One more than the largest index that has arrived.
    end: u16,
    /// What the marker says; no steps before it has arrived.
    announced: u16,
    steps: u8,
    checksum: u32,
    sum: Checksum,
}

impl Stretch {
    const NEW: Self = Self {
        arrived: 0,
        end: 0,
        announced: 0,
        steps: 0,
        checksum: 0,
        sum: Checksum::NEW,
    };
}

/// What has come from one source.
#[derive(Clone, Copy, Debug)]
struct Stream {
    source: Source,
    /// Events that it may send in a step.
    capacity: u16,
    /// Where its memory starts within a slot, and how many words of it are bits.
    start: usize,
    flags: usize,
    /// Position of its head, the stretch that is worked on next.
    expected: u32,
    /// Position up to which it was told.
    acknowledged: u32,
    /// Steps of the sample that its consumed stretches make.
    reached: usize,
    /// A window of stretches.
    stretches: [Stretch; MAX_WINDOW],
}

impl Stream {
    const EMPTY: Self = Self {
        source: 0,
        capacity: 0,
        start: 0,
        flags: 0,
        expected: 0,
        acknowledged: 0,
        reached: 0,
        stretches: [Stretch::NEW; MAX_WINDOW],
    };

    #[inline]
    fn stretch(&mut self, position: u32) -> &mut Stretch {
        &mut self.stretches[position as usize % MAX_WINDOW]
    }

    #[inline]
    fn head(&self) -> &Stretch {
        &self.stretches[self.expected as usize % MAX_WINDOW]
    }

    /// Steps of the sample up to the end of the head, once its marker has come.
    #[inline]
    fn end(&self) -> usize {
        self.reached + usize::from(self.head().steps)
    }

    /// The position that a packet means; `None` for a stretch that is over.
    #[inline]
    fn position(&self, window: u32, low: u16, bits: u32) -> Result<Option<u32>, Fault> {
        let ahead = nearest(self.expected, low, bits);
        if ahead.cast_unsigned() < window {
            return Ok(Some(self.expected.wrapping_add_signed(ahead)));
        }
        // The position of an error has few bits, all in the key: beyond the window it is a late repetition.
        if ahead < 0 || bits == ERROR_POSITION_BITS {
            return Ok(None);
        }
        Err(Fault::BeyondWindow {
            source: self.source,
            expected: self.expected,
            ahead,
        })
    }

    /// Two packets claim one place.
    fn conflict(&self, position: u32) -> Fault {
        Fault::Conflict {
            source: self.source,
            position,
        }
    }
}

/// What [`Inbox::known`] comes to.
pub(crate) enum Known {
    /// So many steps of the sample.
    Steps(usize),
    /// No new ones before something arrives.
    Not(Waiting),
}

/// Collects stretches from neighbours until they are complete.
///
/// Sources cut the same steps into stretches of their own. When the head of every source is complete,
/// all steps up to the nearest end of a head are known: the last of them has the events of the heads
/// that end there, and those before have none. Only these heads are consumed.
///
/// Keeps the words of at most a window of stretches, `[slot][source][index][lane]`, in memory that the
/// caller lends, and clears once; before those of each source there is a bit per word that says whether it
/// has arrived. Both are zero where nothing has. A stretch's slot are the low bits of its position.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    content: Content,
    sources: u8,
    window: u32,
    /// One less than the number of slots, a power of two.
    slot_mask: u32,
    words_per_slot: usize,
    /// Most stretches of a source that are consumed and not acknowledged.
    untold: u32,
    streams: [Stream; MAX_NEIGHBOURS],
}

impl Inbox {
    /// An inbox without sources.
    pub(crate) const EMPTY: Self = Self {
        content: Content::Spikes,
        sources: 0,
        window: 0,
        slot_mask: 0,
        words_per_slot: 0,
        untold: 0,
        streams: [Stream::EMPTY; MAX_NEIGHBOURS],
    };

    /// Gives an empty inbox its sources. `capacity`: events that each source may send in a step.
    pub(crate) fn configure(
        &mut self,
        sources: &[Source],
        capacity: &[u16],
        content: Content,
        window: usize,
    ) {
        assert!(capacity.len() == sources.len() && (1..=MAX_WINDOW).contains(&window));
        self.content = content;
        self.sources = sources.len() as u8;
        self.window = window as u32;
        self.slot_mask = self.window.next_power_of_two() - 1;
        for ((stream, &source), &events) in self.streams.iter_mut().zip(sources).zip(capacity) {
            stream.source = source;
            stream.capacity = events;
            stream.start = self.words_per_slot;
            stream.flags = flag_words(events, content);
            self.words_per_slot += words_of(events, content);
        }
    }

    /// Words of memory for an inbox.
    pub(crate) fn memory(capacity: &[u16], content: Content, window: usize) -> usize {
        let words: usize = (capacity.iter())
            .map(|&events| words_of(events, content))
            .sum();
        words * window.next_power_of_two()
    }

    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn streams(&self) -> &[Stream] {
        &self.streams[..usize::from(self.sources)]
    }

    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn streams_mut(&mut self) -> &mut [Stream] {
        &mut self.streams[..usize::from(self.sources)]
    }

    /// Takes a word of an event, and the packet that carries it. Repetitions are counted in `status` and
    /// change nothing.
    #[inline(always)]
    pub(crate) fn word(
        &mut self,
        memory: &mut [u32],
        source: usize,
        packet: Packet,
        word: &Word,
        status: &mut Status,
    ) -> Result<(), Fault> {
        let Some(lane) = word.lane(self.content) else {
            return Err(Fault::UnexpectedPacket { key: packet.key });
        };
        let stream = &mut self.streams[source];
        let Some(position) = stream.position(self.window, word.position, word.position_bits)?
        else {
            status.ignored_packets += 1;
            return Ok(());
        };
        let (index, limit) = (word.index, stream.capacity);
        if index >= limit {
            return Err(Fault::IndexOutOfRange {
                source: stream.source,
                index,
                limit,
            });
        }
        // An index below the capacity is within the memory, so nothing wraps.
        let slot = (position & self.slot_mask) as usize;
        let start = (slot.wrapping_mul(self.words_per_slot)).wrapping_add(stream.start);
        let within = (usize::from(index) << self.content.lane_bits()) + lane;
        let at = start.wrapping_add(stream.flags).wrapping_add(within);
        let (flags, bit) = (start.wrapping_add(within / 32), 1 << (within % 32));
        if memory[flags] & bit != 0 {
            if memory[at] != word.word {
                return Err(stream.conflict(position));
            }
            status.ignored_packets += 1;
            return Ok(());
        }
        memory[flags] |= bit;
        memory[at] = word.word;
        let stretch = stream.stretch(position);
        stretch.arrived += 1;
        stretch.end = stretch.end.max(index + 1);
        stretch.sum.add(packet);
        Ok(())
    }

    /// Takes a marker: its position, and what it says of steps, events and their checksum. Repetitions are
    /// counted in `status` and change nothing.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn marker(
        &mut self,
        source: usize,
        low: u16,
        says: (u8, u16, u32),
        status: &mut Status,
    ) -> Result<(), Fault> {
        let stream = &mut self.streams[source];
        let Some(position) = stream.position(self.window, low, MARKER_POSITION_BITS)? else {
            status.ignored_packets += 1;
            return Ok(());
        };
        let stretch = stream.stretch(position);
        if stretch.steps == 0 {
            (stretch.steps, stretch.announced, stretch.checksum) = says;
        } else if (stretch.steps, stretch.announced, stretch.checksum) == says {
            status.ignored_packets += 1;
        } else {
            return Err(stream.conflict(position));
        }
        Ok(())
    }

    /// Begins a sample, or its backward pass.
    pub(crate) fn restart(&mut self) {
        for stream in &mut self.streams {
            stream.reached = 0;
        }
    }

    /// Number of steps from the start of the sample that are known, or what is needed before there are
    /// any new ones: the heads of all sources, which are checked once they are complete. A sample has
    /// `limit` steps.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn known(&self, limit: usize) -> Result<Known, Fault> {
        let mut known = limit;
        for stream in self.streams() {
            let head = stream.head();
            let (source, position) = (stream.source, stream.expected);
            let (announced, arrived) = (head.announced, head.arrived);
            let wanted = usize::from(announced) << self.content.lane_bits();
            if head.steps == 0 {
                return Ok(Known::Not(Waiting::Marker {
                    source,
                    position,
                    arrived,
                }));
            }
            if usize::from(arrived) < wanted {
                return Ok(Known::Not(Waiting::Events {
                    source,
                    position,
                    announced,
                    arrived,
                }));
            }
            if usize::from(arrived) > wanted {
                return Err(Fault::TooManyEvents {
                    source,
                    position,
                    announced,
                    arrived,
                });
            }
            if head.sum.finish(position, head.steps) != head.checksum {
                return Err(Fault::Checksum { source, position });
            }
            let end = stream.end();
            if end > limit {
                return Err(Fault::BeyondSample {
                    source,
                    position,
                    end,
                });
            }
            known = known.min(end);
        }
        Ok(Known::Steps(known))
    }

    /// What the inbox still needs before steps are known.
    pub(crate) fn waiting(&self) -> Waiting {
        match self.known(usize::MAX) {
            Ok(Known::Not(waiting)) => waiting,
            _ => Waiting::Nothing,
        }
    }

    /// Words of the events of each source in the last of the [`known`](Self::known) steps, `[index]`, of a
    /// stream of spikes.
    #[inline]
    pub(crate) fn events<'a>(
        &'a self,
        memory: &'a [u32],
        known: usize,
    ) -> impl Iterator<Item = (Source, &'a [u32])> {
        self.streams().iter().map(move |stream| {
            let ends = stream.end() == known;
            let count = if ends { stream.head().announced } else { 0 };
            (stream.source, self.words(memory, stream, count.into()))
        })
    }

    /// Words of a source's complete head for so many events, `[index][lane]`; zero for an event that nothing has
    /// come for.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn answers<'a>(&self, memory: &'a [u32], source: usize, events: usize) -> &'a [u32] {
        let count = events << self.content.lane_bits();
        self.words(memory, &self.streams[source], count)
    }

    /// Where the memory of a stream's head is.
    #[inline]
    fn at(&self, stream: &Stream) -> usize {
        (stream.expected & self.slot_mask) as usize * self.words_per_slot + stream.start
    }

    #[inline]
    fn words<'a>(&self, memory: &'a [u32], stream: &Stream, count: usize) -> &'a [u32] {
        &memory[self.at(stream) + stream.flags..][..count]
    }

    /// Consumes the heads that end with the last of the [`known`](Self::known) steps.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn consume(&mut self, memory: &mut [u32], known: usize) {
        for n in 0..usize::from(self.sources) {
            let at = self.at(&self.streams[n]);
            let stream = &mut self.streams[n];
            if stream.end() != known {
                continue;
            }
            let head = core::mem::replace(stream.stretch(stream.expected), Stretch::NEW);
            if head.end > 0 {
                let words = usize::from(head.end) << self.content.lane_bits();
                memory[at..][..stream.flags + words].fill(0);
            }
            stream.reached = known;
            stream.expected = stream.expected.wrapping_add(1);
            let untold = stream.expected.wrapping_sub(stream.acknowledged);
            self.untold = self.untold.max(untold);
        }
    }

    /// Acknowledges what each source has sent: every window, and every half window when there is no
    /// `other` work. `false` when the transmitter is busy.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        other: bool,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        let most = if other {
            self.window
        } else {
            self.window.div_ceil(2)
        };
        if self.untold < most {
            return Ok(true);
        }
        self.tell(pe, port, most, status)
    }

    /// Tells sources that have `most` stretches consumed and not acknowledged.
    #[inline(never)]
    fn tell(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        most: u32,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        let mut left = 0;
        for (n, stream) in self.streams_mut().iter_mut().enumerate() {
            let untold = stream.expected.wrapping_sub(stream.acknowledged);
            if untold < most {
                left = left.max(untold);
                continue;
            }
            let message = Message::Acknowledge {
                position: stream.expected as u16,
            };
            if !port.send(pe, Target::One(n as u8), message)? {
                return Ok(false);
            }
            status.packets[2] += 1;
            stream.acknowledged = stream.expected;
        }
        self.untold = left;
        Ok(true)
    }
}

/// Words of bits for so many events.
fn flag_words(events: u16, content: Content) -> usize {
    (usize::from(events) * content.lanes()).div_ceil(32)
}

/// Words of a slot for so many events of a source.
fn words_of(events: u16, content: Content) -> usize {
    flag_words(events, content) + usize::from(events) * content.lanes()
}

/// A stretch to be sent.
pub(crate) struct Outgoing {
    /// To whom: all receivers together, or one.
    pub(crate) target: Target,
    /// Its steps.
    pub(crate) steps: usize,
    /// Events of the last of them.
    pub(crate) events: usize,
    /// What they are.
    pub(crate) content: Content,
}

/// How far the sending of a stretch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is sent.
    All,
    /// The transmitter is busy.
    Busy,
    /// A receiver has to acknowledge something before.
    Blocked,
}

/// Sends stretches to neighbours, at most a window ahead of their acknowledgements.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    /// The way to the receivers.
    pub(crate) port: Port,
    window: u32,
    /// Per receiver: position of the next stretch, or of the one under way.
    positions: [u32; MAX_NEIGHBOURS],
    acknowledged: [u32; MAX_NEIGHBOURS],
    /// Of the stretch under way: which of its packets, and their sum so far.
    packet: usize,
    sum: Checksum,
}

impl Outbox {
    /// An outbox without receivers.
    pub(crate) const EMPTY: Self = Self {
        port: Port::NONE,
        window: 0,
        positions: [0; MAX_NEIGHBOURS],
        acknowledged: [0; MAX_NEIGHBOURS],
        packet: 0,
        sum: Checksum::NEW,
    };

    /// Gives an empty outbox its receivers.
    pub(crate) fn configure(&mut self, port: Port, window: usize) {
        self.port = port;
        self.window = window as u32;
    }

    /// The receivers of a target.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn targeted(&self, target: Target) -> core::ops::Range<usize> {
        match target {
            Target::One(n) => usize::from(n)..usize::from(n) + 1,
            _ => 0..self.port.neighbours.len(),
        }
    }

    /// The first receiver of a target that has to acknowledge something before the next stretch.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn blocking(&self, target: Target) -> Option<usize> {
        let open = |n: usize| {
            let ahead = self.positions[n].wrapping_sub(self.acknowledged[n]);
            ahead < self.window
        };
        self.targeted(target).find(|&n| !open(n))
    }

    /// Takes an acknowledgement of receiver `n`.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn acknowledged(
        &mut self,
        n: usize,
        low: u16,
        status: &mut Status,
    ) -> Result<(), Fault> {
        let before = self.acknowledged[n];
        let ahead = nearest(before, low, CONTROL_POSITION_BITS);
        if ahead < 0 {
            status.ignored_packets += 1;
            return Ok(());
        }
        let expected = self.positions[n];
        if ahead.cast_unsigned() > expected.wrapping_sub(before) {
            return Err(Fault::BeyondWindow {
                source: self.port.neighbours.sources()[n],
                expected,
                ahead,
            });
        }
        self.acknowledged[n] = before.wrapping_add_signed(ahead);
        Ok(())
    }

    /// Sends a stretch: the messages of its events, made by `message(position, packet)`, then the marker.
    /// Until it is sent, the same call is repeated.
    pub(crate) fn send(
        &mut self,
        pe: &mut impl PacketSender,
        stretch: &Outgoing,
        message: impl Fn(u32, usize) -> Message,
        status: &mut Status,
    ) -> Result<Sent, Fault> {
        let target = stretch.target;
        if self.blocking(target).is_some() {
            return Ok(Sent::Blocked);
        }
        let packets = stretch.events << stretch.content.lane_bits();
        let position = self.positions[self.targeted(target).start];
        let (key, to) = (self.port.key(target), self.port.fanout(target));
        let (mut at, mut sum) = (self.packet, self.sum);
        let busy = loop {
            let message = if at < packets {
                message(position, at)
            } else {
                let steps = stretch.steps as u8;
                Message::Marker {
                    position: position as u16,
                    steps,
                    count: stretch.events as u16,
                    checksum: sum.finish(position, steps),
                }
            };
            let packet = message.packet(key);
            if !try_send(pe, to, packet)? {
                break true;
            }
            if at == packets {
                break false;
            }
            sum.add(packet);
            at += 1;
        };
        if busy {
            (self.packet, self.sum) = (at, sum);
            return Ok(Sent::Busy);
        }
        (self.packet, self.sum) = (0, Checksum::NEW);
        for n in self.targeted(target) {
            self.positions[n] = position.wrapping_add(1);
        }
        status.packets[usize::from(stretch.content != Content::Spikes)] += packets as u64;
        status.packets[2] += 1;
        Ok(Sent::All)
    }

    /// What the next stretch to a target waits for.
    pub(crate) fn waiting(&self, target: Target) -> Waiting {
        self.blocking(target)
            .map_or(Waiting::Nothing, |n| Waiting::Acknowledgement {
                source: self.port.neighbours.sources()[n],
                acknowledged: self.acknowledged[n],
                position: self.positions[n],
            })
    }
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use std::{vec, vec::Vec};

    use proptest::collection;
    use proptest::prelude::*;

    use super::*;
    use crate::event::MAX_STRETCH;
    use crate::log::Event;
    use crate::numeric::scramble;

    /// Most events of a source in a step.
    const EVENTS: u16 = 5;
    /// Number of the first receiver; the sources' start at zero.
    const RECEIVER: Source = 100;

    /// Packets under way to a source or a receiver, and the only source of chance.
    struct Network {
        way: Vec<(Source, Packet)>,
        receivers: u8,
        seed: u32,
    }

    impl Network {
        fn below(&mut self, limit: usize) -> usize {
            self.seed = self.seed.wrapping_add(1);
            scramble(self.seed) as usize % limit
        }

        fn one_in(&mut self, n: usize) -> bool {
            self.below(n) == 0
        }

        /// Any packet under way, which may come again later.
        fn deliver(&mut self) -> Option<(Source, Packet, Envelope)> {
            let count = self.way.len().checked_sub(1)? + 1;
            let at = self.below(count);
            let (to, packet) = self.way.swap_remove(at);
            if self.one_in(4) {
                self.way.push((to, packet));
            }
            Some((to, packet, unpack(packet).unwrap()))
        }
    }

    impl s2_hal::packet::ErrorType for Network {
        type Error = Infallible;
    }

    impl PacketSender for Network {
        fn try_send(&mut self, _: Fanout<'_>, packet: Packet) -> nb::Result<(), Infallible> {
            if self.one_in(3) {
                return Err(nb::Error::WouldBlock);
            }
            let envelope = unpack(packet).unwrap();
            match (envelope.direction, envelope.target) {
                (Direction::Upstream, Target::One(n)) => self.way.push((n, packet)),
                _ => (0..self.receivers).for_each(|n| self.way.push((RECEIVER + n, packet))),
            }
            Ok(())
        }
    }

    /// A source with the number of its events in each step, over all samples.
    struct Sender {
        outbox: Outbox,
        train: Vec<u16>,
        /// Steps that were sent.
        step: usize,
    }

    fn spike(step: usize, index: usize) -> Event {
        Event {
            neuron: (step % 4096) as u16,
            offset: index as u16,
        }
    }

    impl Sender {
        /// Sends the next stretch, or a part of it.
        fn work(&mut self, steps: usize, network: &mut Network) {
            let from = self.step - self.step % steps;
            let stretch = (self.train[self.step..].iter().zip(self.step + 1..))
                .find(|&(&events, until)| {
                    events > 0 || until == from + steps || until - self.step == MAX_STRETCH
                })
                .map(|(&events, until)| (events, until));
            let Some((events, until)) = stretch else {
                return;
            };
            let outgoing = Outgoing {
                target: Target::All,
                steps: until - self.step,
                events: events.into(),
                content: Content::Spikes,
            };
            let message = |position: u32, n: usize| Message::Spike {
                position: position as u16,
                index: n as u16,
                event: spike(until - 1, n),
            };
            let mut status = Status::NEW;
            if self.outbox.send(network, &outgoing, message, &mut status) == Ok(Sent::All) {
                self.step = until;
            }
        }
    }

    struct Receiver {
        inbox: Inbox,
        memory: Vec<u32>,
        port: Port,
        /// Steps of samples that are over.
        before: usize,
        /// Step, source and words of all that was seen.
        seen: Vec<(usize, Source, Vec<u32>)>,
    }

    impl Receiver {
        fn work(&mut self, steps: usize, network: &mut Network) {
            if let Known::Steps(known) = self.inbox.known(steps).unwrap() {
                for (source, words) in self.inbox.events(&self.memory, known) {
                    if !words.is_empty() {
                        self.seen
                            .push((self.before + known - 1, source, words.to_vec()));
                    }
                }
                self.inbox.consume(&mut self.memory, known);
                if known == steps {
                    self.before += steps;
                    self.inbox.restart();
                }
            }
            let other = network.one_in(2);
            let mut status = Status::NEW;
            self.inbox
                .acknowledge(network, &self.port, other, &mut status)
                .unwrap();
        }
    }

    fn neighbours(first: Source, count: usize) -> Neighbours {
        let numbers: Vec<Source> = (first..).take(count).collect();
        Neighbours::new(&numbers, Routing::Router).unwrap()
    }

    /// Events of a source over two samples: mostly none.
    fn trains(steps: usize) -> impl Strategy<Value = Vec<Vec<u16>>> {
        let events = prop_oneof![1 => Just(0), 1 => 0..=EVENTS];
        let often = collection::vec(events, 2 * steps);
        let seldom = collection::vec(prop_oneof![40 => Just(0), 1 => 1..=EVENTS], 2 * steps);
        collection::vec(prop_oneof![often, seldom], 1..=4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// Several receivers of several sources see every step with its events, in order, whatever the
        /// window, the order of packets and their repetitions; and none waits for ever.
        #[test]
        fn receivers_see_the_steps_that_were_sent(
            (steps, trains) in (1usize..150).prop_flat_map(|steps| (Just(steps), trains(steps))),
            receivers in 1usize..=3,
            window in 1..=MAX_WINDOW,
            seed in any::<u32>(),
        ) {
            let sources = trains.len();
            let mut network = Network { way: Vec::new(), receivers: receivers as u8, seed };
            let mut senders: Vec<Sender> = (0..).zip(&trains).map(|(source, train)| {
                let mut outbox = Outbox::EMPTY;
                let to = neighbours(RECEIVER, receivers);
                outbox.configure(Port::new(source, Direction::Downstream, to), window);
                Sender { outbox, train: train.clone(), step: 0 }
            }).collect();
            let capacity = [EVENTS; 4];
            let capacity = &capacity[..sources];
            let from = neighbours(0, sources);
            let mut all: Vec<Receiver> = (RECEIVER..).take(receivers).map(|number| {
                let mut inbox = Inbox::EMPTY;
                inbox.configure(from.sources(), capacity, Content::Spikes, window);
                let words = Inbox::memory(capacity, Content::Spikes, window);
                let port = Port::new(number, Direction::Upstream, from);
                Receiver { inbox, memory: vec![0; words], port, before: 0, seen: Vec::new() }
            }).collect();

            let mut rounds = 0;
            while all.iter().any(|receiver| receiver.before < 2 * steps) {
                rounds += 1;
                prop_assert!(rounds < 1_000_000, "nothing moves any more");
                match network.below(4) {
                    0 => {
                        let n = network.below(sources);
                        senders[n].work(steps, &mut network);
                    }
                    1 => {
                        let n = network.below(receivers);
                        all[n].work(steps, &mut network);
                    }
                    _ => if let Some((to, packet, envelope)) = network.deliver() {
                        let Envelope { source, message, .. } = envelope;
                        let mut status = Status::NEW;
                        match (to.checked_sub(RECEIVER), message) {
                            (Some(n), Message::Marker { position, steps, count, checksum }) => {
                                let inbox = &mut all[usize::from(n)].inbox;
                                let says = (steps, count, checksum);
                                inbox.marker(source.into(), position, says, &mut status).unwrap();
                            }
                            (Some(n), _) => {
                                let Receiver { inbox, memory, .. } = &mut all[usize::from(n)];
                                let word = Word::of(packet).unwrap();
                                inbox.word(memory, source.into(), packet, &word, &mut status).unwrap();
                            }
                            (None, Message::Acknowledge { position }) => {
                                let outbox = &mut senders[usize::from(to)].outbox;
                                outbox.acknowledged((source - RECEIVER).into(), position, &mut status).unwrap();
                            }
                            _ => unreachable!("nothing else is sent upstream"),
                        }
                    }
                }
            }
            let sent: Vec<_> = (0..2 * steps).flat_map(|step| {
                (0..).zip(&trains).filter(move |(_, train)| train[step] > 0).map(move |(source, train)| {
                    let words = (0..usize::from(train[step])).map(|n| {
                        let Event { neuron, offset } = spike(step, n);
                        u32::from(neuron) << 16 | u32::from(offset)
                    });
                    (step, source, words.collect::<Vec<_>>())
                })
            }).collect();
            for receiver in &all {
                prop_assert_eq!(&receiver.seen, &sent);
            }
        }
    }
}
