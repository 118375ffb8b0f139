//! Receiving packets from a ring in the PE's memory.

use s2_pac::bus::{Bus, Mmio};
use s2_pac::comms::{Global, Receive, ReceiveSettings, Ring, RingConfig, RingControl, ring_end};

use super::PacketError;
use crate::dma::Block;
use crate::packet::{self, Packet, PacketReceiver};

/// Receives packets with a payload word from a ring that hardware fills.
///
/// Packets without payload are not received: the setting of a ring that takes them is not public.
///
/// # Room
/// The ring is emptied in batches, as public product code does: the read pointer is moved when all
/// packets that waited at the last look have been taken. Until then they keep their places. Where
/// senders wait for answers, so that a bounded number of words is under way, call
/// [`commit`](Receiver::commit) before an answer is sent ([`Pe`](super::Pe) does), or give the ring
/// room for twice as many. One word at least should stay free: whether hardware fills the last one is
/// not public.
///
/// # Overruns
/// show as a change of the ring's drop counter, which is looked at with each batch: one error, however
/// many packets were dropped since.
///
/// # End
/// Dropping the receiver writes zero to the ring's settings. That it stops the ring is plausible but
/// not public, so the memory is not given back.
#[derive(Debug)]
pub struct Receiver<B: Bus = Mmio> {
    ring: Ring<B>,
    /// First word of the ring.
    memory: *mut u32,
    /// Words of the ring.
    length: u32,
    /// Index of the word that is read next.
    next: u32,
    /// Words that wait, of those that waited at the last look.
    waiting: u32,
    /// Words that were taken since hardware was told.
    taken: u32,
    /// The drop counter at the last look.
    dropped: u32,
}

// SAFETY: the memory belongs to the receiver alone, apart from hardware.
unsafe impl<B: Bus + Send> Send for Receiver<B> {}

/// The memory given for a ring has no word, or more than the chip has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizeError {
    /// Blocks of 16 bytes given.
    pub blocks: usize,
}

impl core::fmt::Display for RingSizeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "a receive ring of {} blocks of 16 bytes; it must have 1 to {}",
            self.blocks, MOST_BLOCKS
        )
    }
}

impl core::error::Error for RingSizeError {}

const MOST_BLOCKS: usize = crate::topology::SRAM_BYTES as usize / size_of::<Block>();

impl<B: Bus> Receiver<B> {
    /// Starts a ring in `memory`, with the values that public programs of the prototype write (tag J).
    ///
    /// # Errors
    /// If `memory` is empty or larger than a PE's SRAM; it comes back with the ring's registers.
    pub fn new(
        mut ring: Ring<B>,
        receive: &mut Receive<B>,
        global: &mut Global<B>,
        memory: &'static mut [Block],
    ) -> Result<Self, (RingSizeError, Ring<B>, &'static mut [Block])> {
        let blocks = memory.len();
        if blocks == 0 || blocks > MOST_BLOCKS {
            return Err((RingSizeError { blocks }, ring, memory));
        }
        let length = (size_of_val(memory) / 4) as u32;
        let memory = memory.as_mut_ptr().cast::<u32>();
        // Pointers have 32 bits on the chip; a double on a PC gets the lower half. The rest of the
        // program may not touch what is behind an exposed pointer, and hardware may.
        let start = memory.expose_provenance() as u32;
        // Quiet, whatever was there before.
        ring.config().write(RingConfig::default());
        receive.settings().write(ReceiveSettings::START);
        // SAFETY: hardware writes packets between start and end only, the pointers lie there, and that
        // memory was given for good.
        unsafe {
            ring.start().write_pointer(start);
            ring.end().write_pointer(ring_end(start, length));
            ring.read().write_pointer(start);
            global
                .control()
                .modify(|control| control.with_ring_write(true));
            ring.write().write_pointer(start);
            global
                .control()
                .modify(|control| control.with_ring_write(false));
        }
        let dropped = ring.dropped().read();
        ring.control().write(RingControl::START);
        ring.config()
            .write(RingConfig::MULTICAST_WITH_PAYLOAD_RESET);
        Ok(Self {
            ring,
            memory,
            length,
            next: 0,
            waiting: 0,
            taken: 0,
            dropped,
        })
    }

    /// Whether no packet waits.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.waiting == 0 && self.ring.words().read() <= self.taken
    }

    /// Tells hardware that the places of all packets that were taken are free.
    #[inline]
    pub fn commit(&mut self) {
        if self.taken > 0 {
            self.taken = 0;
            let next = self.memory.wrapping_add(self.next as usize);
            // SAFETY: the pointer lies in the ring's memory, and the words that hardware may now write
            // have been read.
            unsafe { self.ring.read().write_pointer(next.addr() as u32) };
            self.ring
                .config()
                .write(RingConfig::MULTICAST_WITH_PAYLOAD_RESET);
        }
    }

    /// Raises the ring's limit interrupt when as many words wait.
    pub fn set_limit(&mut self, words: u32) {
        self.ring.limit().write(words);
    }

    /// The largest number of words that have waited.
    pub fn most_words(&mut self) -> u32 {
        self.ring.most_words().read()
    }

    /// Packets dropped, since reset.
    pub fn dropped(&mut self) -> u32 {
        self.ring.dropped().read()
    }

    /// Begins a batch.
    fn look(&mut self) -> nb::Result<(), PacketError> {
        // Counted before the read pointer moves: how soon afterwards the count is right is not public.
        let words = self.ring.words().read().saturating_sub(self.taken);
        self.commit();
        let dropped = self.ring.dropped().read();
        if dropped != self.dropped {
            self.dropped = dropped;
            return Err(nb::Error::Other(PacketError::Overrun));
        }
        // A whole packet has two words. If all words of the ring were taken in one batch, the read
        // pointer would not move.
        self.waiting = words.min(self.length.saturating_sub(2)) & !1;
        if self.waiting == 0 {
            return Err(nb::Error::WouldBlock);
        }
        Ok(())
    }

    #[inline]
    fn take_word(&mut self) -> u32 {
        // SAFETY: `next` is below `length`, so the word lies in the ring's memory, which is never freed.
        // Hardware has written it, and does not write it again before the read pointer has passed it.
        let word = unsafe { self.memory.add(self.next as usize).read_volatile() };
        // Below `length`, so nothing wraps.
        self.next = self.next.wrapping_add(1);
        if self.next == self.length {
            self.next = 0;
        }
        word
    }
}

impl<B: Bus> packet::ErrorType for Receiver<B> {
    type Error = PacketError;
}

impl<B: Bus> PacketReceiver for Receiver<B> {
    #[inline]
    fn try_receive(&mut self) -> nb::Result<Packet, PacketError> {
        if self.waiting == 0 {
            self.look()?;
        }
        let payload = self.take_word();
        let key = self.take_word();
        // An even number that was not zero, and no more words than the ring has.
        self.waiting = self.waiting.wrapping_sub(2);
        self.taken = self.taken.wrapping_add(2);
        Ok(Packet {
            key,
            payload: Some(payload),
        })
    }
}

impl<B: Bus> Drop for Receiver<B> {
    fn drop(&mut self) {
        self.ring.config().write(RingConfig::default());
        self.ring.control().write(RingControl::default());
    }
}
