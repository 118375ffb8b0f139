//! Streams of steps between neighbouring PEs: ports, inboxes and outboxes.

use s2_hal::packet::{Error as _, Fanout, Packet, PacketReceiver, PacketSender};
use s2_hal::topology::Destination;

use super::{Fault, Status, Waiting};
use crate::event::{
    CONTROL_POSITION_BITS, Checksum, Direction, ERROR_POSITION_BITS, Envelope,
    MARKER_POSITION_BITS, MAX_NEIGHBOURS, Message, Source, Target, nearest, routing_key, unpack,
};

/// Most steps that a sender may be ahead of its receivers.
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
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources[..usize::from(self.len)]
    }

    /// Number of neighbours.
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
    #[must_use]
    pub fn position(&self, source: Source) -> Option<usize> {
        self.sources().iter().position(|&s| s == source)
    }
}

/// Sends packets to the neighbours of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) source: Source,
    pub(crate) direction: Direction,
    pub(crate) neighbours: Neighbours,
}

impl Port {
    /// To nobody.
    pub(crate) const NONE: Self = Self {
        source: 0,
        direction: Direction::Downstream,
        neighbours: Neighbours::NONE,
    };

    /// The bits of a key that lead a packet to a target.
    pub(crate) fn routing(&self, target: Target) -> u32 {
        routing_key(self.direction, self.source, target)
    }

    /// Sends a packet to its target; `false` when the transmitter is busy.
    pub(crate) fn send(
        &self,
        pe: &mut impl PacketSender,
        target: Target,
        packet: Packet,
    ) -> Result<bool, Fault> {
        let to = match &self.neighbours.routing {
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
        };
        match pe.try_send(to, packet) {
            Ok(()) => Ok(true),
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(error)) => Err(Fault::Send(error.kind())),
        }
    }
}

/// Takes the next packet from the ring, unpacked.
#[inline]
pub(crate) fn receive(pe: &mut impl PacketReceiver) -> Result<Option<(Packet, Envelope)>, Fault> {
    match pe.try_receive() {
        Ok(packet) => match unpack(packet) {
            Ok(envelope) => Ok(Some((packet, envelope))),
            Err(_) => Err(Fault::UnknownPacket { key: packet.key }),
        },
        Err(nb::Error::WouldBlock) => Ok(None),
        Err(nb::Error::Other(error)) => Err(match error.kind() {
            s2_hal::packet::ErrorKind::Overrun => Fault::RingOverrun,
            kind => Fault::Send(kind),
        }),
    }
}

/// One step from one source, as far as it has arrived.
#[derive(Clone, Copy, Debug)]
struct Partial {
    arrived: u16,
    /// One more than the largest index that has arrived.
    end: u16,
    announced: Option<u16>,
    expected_sum: u32,
    sum: Checksum,
}

impl Partial {
    const NEW: Self = Self {
        arrived: 0,
        end: 0,
        announced: None,
        expected_sum: 0,
        sum: Checksum::NEW,
    };
}

/// Collects steps from neighbours until they are complete.
///
/// Keeps the words of at most a window of steps, `[slot][source][index][lane]`, in memory that the caller
/// lends, with a bit per word that says whether it has arrived. A step's slot are the low bits of its
/// position.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sources: Neighbours,
    /// Events that each source may send in a step.
    capacity: [u16; MAX_NEIGHBOURS],
    /// Where each source's words start within a step.
    start: [u32; MAX_NEIGHBOURS],
    words_per_step: usize,
    /// Packets per event.
    lanes: usize,
    window: u32,
    /// One less than the number of slots, a power of two.
    slot_mask: usize,
    /// Position of the step that is worked on next.
    expected: u32,
    /// Position up to which the sources were told.
    acknowledged: u32,
    /// Next source to be told, while an acknowledgement is being sent.
    telling: Option<u8>,
    steps: [[Partial; MAX_NEIGHBOURS]; MAX_WINDOW],
}

/// The memory of an [`Inbox`].
pub(crate) struct InboxMemory<'m> {
    pub(crate) words: &'m mut [u32],
    pub(crate) arrived: &'m mut [u32],
}

/// An event's place among the steps.
pub(crate) struct Place {
    pub(crate) position: u16,
    pub(crate) position_bits: u32,
    pub(crate) index: u16,
    pub(crate) lane: usize,
}

impl Inbox {
    /// An inbox without sources.
    pub(crate) const EMPTY: Self = Self {
        sources: Neighbours::NONE,
        capacity: [0; MAX_NEIGHBOURS],
        start: [0; MAX_NEIGHBOURS],
        words_per_step: 0,
        lanes: 0,
        window: 0,
        slot_mask: 0,
        expected: 0,
        acknowledged: 0,
        telling: None,
        steps: [[Partial::NEW; MAX_NEIGHBOURS]; MAX_WINDOW],
    };

    /// Gives an empty inbox its sources. `capacity`: events that each source may send in a step; `lanes`:
    /// packets per event.
    pub(crate) fn configure(
        &mut self,
        sources: Neighbours,
        capacity: &[u16],
        lanes: usize,
        window: usize,
    ) {
        assert!(capacity.len() == sources.len() && (1..=MAX_WINDOW).contains(&window));
        self.sources = sources;
        self.lanes = lanes;
        self.window = window as u32;
        self.slot_mask = window.next_power_of_two() - 1;
        for (n, &events) in capacity.iter().enumerate() {
            self.capacity[n] = events;
            self.start[n] = self.words_per_step as u32;
            // Whole words of bits per source, so that a step of one source is cleared by itself.
            self.words_per_step += (usize::from(events) * lanes).next_multiple_of(32);
        }
    }

    /// Length of the two memories of an inbox.
    pub(crate) fn memory(capacity: &[u16], lanes: usize, window: usize) -> (usize, usize) {
        let words: usize = capacity
            .iter()
            .map(|&events| (usize::from(events) * lanes).next_multiple_of(32))
            .sum();
        let slots = window.next_power_of_two();
        (words * slots, words * slots / 32)
    }

    #[inline]
    fn slot(&self, position: u32) -> usize {
        position as usize & self.slot_mask
    }

    /// Where the words of a source start in a slot. (Within the memory, so that nothing wraps.)
    #[inline]
    fn at(&self, slot: usize, source: usize) -> usize {
        slot.wrapping_mul(self.words_per_step)
            .wrapping_add(self.start[source] as usize)
    }

    /// Where a word of a source's event is. An index below the capacity is within the memory, too.
    #[inline]
    fn word_at(&self, slot: usize, source: usize, index: usize, lane: usize) -> usize {
        self.at(slot, source)
            .wrapping_add(index.wrapping_mul(self.lanes))
            .wrapping_add(lane)
    }

    /// Slot of a packet's position; `None` for a step that is over.
    #[inline]
    fn slot_of(&self, source: usize, low: u16, bits: u32) -> Result<Option<usize>, Fault> {
        let ahead = nearest(self.expected, low, bits).cast_unsigned();
        if ahead < self.window {
            return Ok(Some(self.slot(self.expected.wrapping_add(ahead))));
        }
        let ahead = ahead.cast_signed();
        // The position of an error has few bits, all in the key: beyond the window it is a late repetition.
        if ahead < 0 || bits == ERROR_POSITION_BITS {
            return Ok(None);
        }
        Err(Fault::BeyondWindow {
            source: self.sources.sources()[source],
            expected: self.expected,
            ahead,
        })
    }

    /// Two packets claim one place.
    #[cold]
    fn conflict(&self, source: usize, low: u16, bits: u32) -> Fault {
        let ahead = nearest(self.expected, low, bits);
        Fault::Conflict {
            source: self.sources.sources()[source],
            position: self.expected.wrapping_add_signed(ahead),
        }
    }

    /// Takes a word of an event. Repetitions are counted in `status` and change nothing.
    pub(crate) fn word(
        &mut self,
        memory: &mut InboxMemory<'_>,
        source: usize,
        packet: Packet,
        place: &Place,
        word: u32,
        status: &mut Status,
    ) -> Result<(), Fault> {
        let &Place {
            position,
            position_bits,
            index,
            lane,
        } = place;
        let Some(slot) = self.slot_of(source, position, position_bits)? else {
            status.ignored_packets += 1;
            return Ok(());
        };
        let limit = self.capacity[source];
        if index >= limit {
            return Err(Fault::IndexOutOfRange {
                source: self.sources.sources()[source],
                index,
                limit,
            });
        }
        let at = self.word_at(slot, source, index.into(), lane);
        let (flags, bit) = (&mut memory.arrived[at / 32], 1 << (at % 32));
        let stored = &mut memory.words[at];
        if *flags & bit != 0 {
            if *stored != word {
                return Err(self.conflict(source, position, position_bits));
            }
            status.ignored_packets += 1;
            return Ok(());
        }
        *flags |= bit;
        *stored = word;
        let partial = &mut self.steps[slot][source];
        partial.arrived += 1;
        partial.end = partial.end.max(index + 1);
        partial.sum.add(packet);
        Ok(())
    }

    /// Takes a marker.
    pub(crate) fn marker(
        &mut self,
        source: usize,
        low: u16,
        count: u16,
        checksum: u32,
        status: &mut Status,
    ) -> Result<(), Fault> {
        let Some(slot) = self.slot_of(source, low, MARKER_POSITION_BITS)? else {
            status.ignored_packets += 1;
            return Ok(());
        };
        let partial = &mut self.steps[slot][source];
        match partial.announced {
            None => (partial.announced, partial.expected_sum) = (Some(count), checksum),
            Some(before) if before == count && partial.expected_sum == checksum => {
                status.ignored_packets += 1;
            }
            Some(_) => return Err(self.conflict(source, low, MARKER_POSITION_BITS)),
        }
        Ok(())
    }

    /// Whether the expected step is complete; checks counts and checksums then.
    pub(crate) fn complete(&self) -> Result<bool, Fault> {
        let partials = &self.steps[self.slot(self.expected)];
        for (partial, &source) in partials.iter().zip(self.sources.sources()) {
            let Some(announced) = partial.announced else {
                return Ok(false);
            };
            let (announced, arrived) = (announced, partial.arrived);
            let wanted = usize::from(announced) * self.lanes;
            if usize::from(arrived) < wanted {
                return Ok(false);
            }
            let position = self.expected;
            if usize::from(arrived) > wanted {
                return Err(Fault::TooManyEvents {
                    source,
                    position,
                    announced,
                    arrived,
                });
            }
            if partial.sum.finish(position) != partial.expected_sum {
                return Err(Fault::Checksum { source, position });
            }
        }
        Ok(true)
    }

    /// What the inbox still needs of the expected step.
    pub(crate) fn waiting(&self) -> Waiting {
        let partials = &self.steps[self.slot(self.expected)];
        for (partial, &source) in partials.iter().zip(self.sources.sources()) {
            let (position, arrived) = (self.expected, partial.arrived);
            match partial.announced {
                None => {
                    return Waiting::Marker {
                        source,
                        position,
                        arrived,
                    };
                }
                Some(announced) if usize::from(arrived) < usize::from(announced) * self.lanes => {
                    return Waiting::Events {
                        source,
                        position,
                        announced,
                        arrived,
                    };
                }
                Some(_) => {}
            }
        }
        Waiting::Nothing
    }

    /// Number of events of the expected step from one source, once complete.
    pub(crate) fn count(&self, source: usize) -> usize {
        usize::from(
            self.steps[self.slot(self.expected)][source]
                .announced
                .unwrap_or(0),
        )
    }

    /// Words of the expected step from one source, `[index][lane]`, once complete: those of its
    /// events in order when every index below the count has arrived.
    pub(crate) fn words<'a>(&self, memory: &'a InboxMemory<'_>, source: usize) -> &'a [u32] {
        let at = self.at(self.slot(self.expected), source);
        &memory.words[at..at + self.count(source) * self.lanes]
    }

    /// A word of the expected step from one source, if it has arrived.
    pub(crate) fn find(
        &self,
        memory: &InboxMemory<'_>,
        source: usize,
        index: usize,
        lane: usize,
    ) -> Option<u32> {
        if index >= usize::from(self.capacity[source]) {
            return None;
        }
        let at = self.word_at(self.slot(self.expected), source, index, lane);
        (memory.arrived[at / 32] >> (at % 32) & 1 == 1).then(|| memory.words[at])
    }

    /// Ends the expected step.
    pub(crate) fn consume(&mut self, memory: &mut InboxMemory<'_>) {
        let slot = self.slot(self.expected);
        for n in 0..self.sources.len() {
            let partial = core::mem::replace(&mut self.steps[slot][n], Partial::NEW);
            if partial.end > 0 {
                let first = self.at(slot, n) / 32;
                let words = (usize::from(partial.end) * self.lanes).div_ceil(32);
                memory.arrived[first..first + words].fill(0);
            }
        }
        self.expected = self.expected.wrapping_add(1);
    }

    /// Acknowledges consumed steps: every window, and every half window when there is no `other` work.
    /// `false` when the transmitter is busy.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        other: bool,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        let behind = self.expected.wrapping_sub(self.acknowledged);
        let most = if other {
            self.window
        } else {
            self.window.div_ceil(2)
        };
        if self.telling.is_none() && behind < most {
            return Ok(true);
        }
        self.tell(pe, port, status)
    }

    /// Tells all sources up to where steps are consumed.
    #[inline(never)]
    fn tell(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        if self.telling.is_none() {
            self.acknowledged = self.expected;
            self.telling = Some(0);
        }
        while let Some(n) = self.telling {
            if usize::from(n) == self.sources.len() {
                self.telling = None;
                break;
            }
            let message = Message::Acknowledge {
                position: self.acknowledged as u16,
            };
            let target = Target::One(n);
            if !port.send(pe, target, message.packet(port.routing(target)))? {
                return Ok(false);
            }
            status.packets[2] += 1;
            self.telling = Some(n + 1);
        }
        Ok(true)
    }
}

/// Sends steps to neighbours, at most a window ahead of their acknowledgements.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    receivers: Neighbours,
    window: u32,
    /// Position of the next step, or of the one under way.
    position: u32,
    acknowledged: [u32; MAX_NEIGHBOURS],
    /// Of the step under way: which target, which of its packets, and their sum so far.
    target: u8,
    packet: usize,
    sum: Checksum,
}

impl Outbox {
    /// An outbox without receivers.
    pub(crate) const EMPTY: Self = Self {
        receivers: Neighbours::NONE,
        window: 0,
        position: 0,
        acknowledged: [0; MAX_NEIGHBOURS],
        target: 0,
        packet: 0,
        sum: Checksum::NEW,
    };

    /// Gives an empty outbox its receivers.
    pub(crate) fn configure(&mut self, receivers: Neighbours, window: usize) {
        self.receivers = receivers;
        self.window = window as u32;
    }

    /// Whether another step may be sent.
    pub(crate) fn open(&self) -> bool {
        self.acknowledged[..self.receivers.len()]
            .iter()
            .all(|&consumed| self.position.wrapping_sub(consumed) < self.window)
    }

    /// Takes an acknowledgement of receiver `n`.
    pub(crate) fn acknowledged(
        &mut self,
        n: usize,
        low: u16,
        status: &mut Status,
    ) -> Result<(), Fault> {
        let ahead = nearest(self.acknowledged[n], low, CONTROL_POSITION_BITS);
        let Ok(ahead) = u32::try_from(ahead) else {
            status.ignored_packets += 1;
            return Ok(());
        };
        if ahead > self.position.wrapping_sub(self.acknowledged[n]) {
            let source = self.receivers.sources()[n];
            return Err(Fault::BeyondWindow {
                source,
                expected: self.position,
                ahead: ahead as i32,
            });
        }
        self.acknowledged[n] = self.acknowledged[n].wrapping_add(ahead);
        Ok(())
    }

    /// Sends the step under way to all receivers together: `count` messages made by `message`, then
    /// the marker. `false` when the transmitter is busy; the same call is repeated then.
    pub(crate) fn send_all(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        count: usize,
        message: impl Fn(u32, usize) -> Message,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        if !self.send_to(pe, port, Target::All, count, 1, message, status)? {
            return Ok(false);
        }
        self.position = self.position.wrapping_add(1);
        Ok(true)
    }

    /// Sends the step under way to each receiver `n` by itself: the `events(n)` events of `lanes`
    /// messages each made by `message(position, n, packet)`, then the marker.
    pub(crate) fn send_each(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        lanes: usize,
        events: impl Fn(usize) -> usize,
        message: impl Fn(u32, usize, usize) -> Message,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        while usize::from(self.target) < self.receivers.len() {
            let n = usize::from(self.target);
            let target = Target::One(self.target);
            let one = |position, packet| message(position, n, packet);
            if !self.send_to(pe, port, target, events(n), lanes, one, status)? {
                return Ok(false);
            }
            self.target += 1;
        }
        self.target = 0;
        self.position = self.position.wrapping_add(1);
        Ok(true)
    }

    #[allow(clippy::too_many_arguments)]
    fn send_to(
        &mut self,
        pe: &mut impl PacketSender,
        port: &Port,
        target: Target,
        events: usize,
        lanes: usize,
        message: impl Fn(u32, usize) -> Message,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        let packets = events * lanes;
        let routing = port.routing(target);
        loop {
            let message = if self.packet < packets {
                message(self.position, self.packet)
            } else {
                Message::Marker {
                    position: self.position as u16,
                    count: events as u16,
                    checksum: self.sum.finish(self.position),
                }
            };
            let packet = message.packet(routing);
            if !port.send(pe, target, packet)? {
                return Ok(false);
            }
            if self.packet == packets {
                break;
            }
            self.sum.add(packet);
            self.packet += 1;
        }
        let kind = usize::from(port.direction == Direction::Upstream);
        status.packets[kind] += packets as u64;
        status.packets[2] += 1;
        self.packet = 0;
        self.sum = Checksum::NEW;
        Ok(true)
    }

    /// What the outbox waits for, when it is not [open](Self::open).
    pub(crate) fn waiting(&self) -> Waiting {
        for (&source, &acknowledged) in self.receivers.sources().iter().zip(&self.acknowledged) {
            if self.position.wrapping_sub(acknowledged) >= self.window {
                return Waiting::Acknowledgement {
                    source,
                    acknowledged,
                    position: self.position,
                };
            }
        }
        Waiting::Nothing
    }
}
