//! The communications controller of a PE: packets out, packets in, DMA over the network.
//!
//! The public headers describe it as one struct from `0xE200_0000` on. Here it is cut into the parts
//! that a program uses apart from each other, so that each can have one owner: [`Transmit`],
//! [`Receive`], [`Global`], two [`Ring`]s, and [`NocDma`].

use crate::register::{block, fields};

/// Number of transmit slots.
pub const SLOTS: usize = 4;

block! {
    /// Sends packets: four slots of control, payload and key. Writing a slot's key sends.
    Transmit {
        /// Transmit control of a slot: destination and packet type.
        [J "qpe-types.h; fields: compiled listings and NESTML"]
        control[4; 0x20] = 0x00, "TCR": TransmitControl, ReadWrite;
        /// Fourth payload word.
        [J "qpe-types.h"]
        payload_3[4; 0x20] = 0x04, "TDR%s3": u32, ReadWrite;
        /// Third payload word.
        [J "qpe-types.h"]
        payload_2[4; 0x20] = 0x08, "TDR%s2": u32, ReadWrite;
        /// Second payload word.
        [J "qpe-types.h"]
        payload_1[4; 0x20] = 0x0c, "TDR%s1": u32, ReadWrite;
        /// First payload word, the only one of a packet with 32 bits of payload.
        [J "qpe-types.h"]
        payload_0[4; 0x20] = 0x10, "TDR%s0": u32, ReadWrite;
        /// Key. Writing it sends the packet.
        [J "qpe-types.h; the same name in product code (N)"]
        key[4; 0x20] = 0x14, "TKR": u32, Write;
        /// Whether a packet can be sent; and what to write behind a change of a slot's control.
        [J "qpe-types.h; use: NESTML (N)"]
        status = 0x7c, "TCTL": TransmitStatus, ReadWrite;
    }
    instances COMMS_TRANSMIT
}

fields! {
    /// Where a packet goes and of which type it is.
    ///
    /// Only what is read in public code has a field here. The edges of the other fields (column and row
    /// of the QuadPE, type, forced route) are inferred from one constant, see `provisional`.
    TransmitControl {
        /// The PEs of the QuadPE that receive the packet, as a mask: PE 0 is bit 3 of it (value 8), PE 3
        /// is bit 0. The meaning of bit 4 is not public.
        [J] 18..=22 destination_pes / with_destination_pes: u8;
        /// Always 3 in public product code; the meaning is not public.
        [N] 29..=30 fixed / with_fixed: u8;
    }
}

impl TransmitControl {
    /// A multicast packet ("SPINN") without forced route to QuadPE (1,1), to none of its PEs yet. This
    /// constant is read as a whole in compiled listings of the prototype (tag J).
    pub const QUAD_PE_1_1: Self = Self(0x6481_c700);

    /// These bits. For the inferred encodings in `provisional`.
    #[cfg_attr(not(feature = "provisional"), allow(dead_code))]
    pub(crate) const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// This control with the PEs of the QuadPE set: bit `p` of `pes` stands for PE `p`, as everywhere
    /// else in this project.
    ///
    /// # Panics
    /// If `pes` has bits above bit 3.
    #[must_use]
    pub fn to_pes(self, pes: u8) -> Self {
        assert!(pes < 16, "a QuadPE has four PEs");
        self.with_destination_pes(pes.reverse_bits() >> 4)
    }

    /// The PEs of the QuadPE that are set, as in [`to_pes`](Self::to_pes).
    #[must_use]
    pub fn pes(self) -> u8 {
        self.destination_pes().reverse_bits() >> 4
    }
}

fields! {
    /// State of the transmitter.
    TransmitStatus {
        /// The transmitter is empty: a packet may be sent.
        [J] 31..=31 ready / with_ready: bool;
    }
}

impl TransmitStatus {
    /// What product code writes after it has changed a slot's control (tag N). The meaning of the bits
    /// is not public.
    pub const CONTROL_CHANGED: Self = Self(0xe);
}

block! {
    /// Receives packets that no ring takes, one at a time.
    Receive {
        /// Receive control: type of the packet that waits.
        [J "qpe-types.h; field: compiled listings"]
        control = 0x00, "RCR": ReceiveControl, ReadPure;
        /// Fourth payload word of the packet.
        [J "qpe-types.h"]
        payload_3 = 0x04, "RDR3": u32, ReadPure;
        /// Third payload word.
        [J "qpe-types.h"]
        payload_2 = 0x08, "RDR2": u32, ReadPure;
        /// Second payload word.
        [J "qpe-types.h"]
        payload_1 = 0x0c, "RDR1": u32, ReadPure;
        /// First payload word, the only one of a packet with 32 bits of payload.
        [J "qpe-types.h"]
        payload_0 = 0x10, "RDR0": u32, ReadPure;
        /// Key of the packet. Whether reading it frees the receiver is not public; taken as if it did.
        [J "qpe-types.h"]
        key = 0x14, "RKR": u32, ReadEffect;
        /// Packets dropped.
        [J "qpe-types.h"]
        dropped = 0x18, "RDC": u32, ReadPure;
        /// Settings of the receiver.
        [J "qpe-types.h; value: compiled listings"]
        settings = 0x1c, "RCTL": ReceiveSettings, ReadWrite;
    }
    instances COMMS_RECEIVE
}

fields! {
    /// What waits in the receiver.
    ReceiveControl {
        /// Type of the packet; 5 is the "protocol" type of the prototype's programs.
        [J] 14..=16 packet_type / with_packet_type: u8;
    }
}

fields! {
    /// Settings of the receiver. Bits not public.
    ReceiveSettings {}
}

impl ReceiveSettings {
    /// What programs of the prototype write at start-up (tag J).
    pub const START: Self = Self(0x01f0_0000);
}

block! {
    /// Who this PE is, and settings of the whole controller.
    Global {
        /// Number of the PE and of the chip.
        [J "qpe-types.h; product code reads the same fields (N)"]
        id = 0x00, "ID": Id, ReadPure;
        /// Settings of the controller.
        [J "qpe-types.h"]
        control = 0x04, "GCTL": GlobalControl, ReadWrite;
    }
    instances COMMS_GLOBAL
}

fields! {
    /// Who a PE is.
    Id {
        /// Number of the PE: see [`PeId::from_noc_id`](crate::map::PeId::from_noc_id).
        [J] 0..=7 pe / with_pe: u8;
        /// Number of the chip.
        [J] 16..=31 chip / with_chip: u16;
    }
}

fields! {
    /// Settings of the controller.
    GlobalControl {
        /// Set to 1 and back to 0 around a write to a ring's write pointer. The name is this project's,
        /// the meaning is not public.
        [J] 2..=2 ring_write / with_ring_write: bool;
        /// Writes do not wait for their end.
        [J] 11..=11 buffered_write / with_buffered_write: bool;
    }
}

block! {
    /// A receive ring in the PE's SRAM, which hardware fills with arriving packets ("spDMA") and
    /// software drains. There are two.
    ///
    /// With payload a packet takes two words, payload first and key second, each of which wraps by
    /// itself (tag J).
    Ring {
        /// Settings, and restart after the read pointer has moved.
        [J "qpe-types.h; value: compiled listings"]
        config = 0x00, "DMAc": RingConfig, ReadWrite;
        /// Address of the first word.
        [J "qpe-types.h"]
        start = 0x04, "DMAs": u32, ReadPointer;
        /// Address of the end. Whether of the last word or behind it is not public.
        [J "qpe-types.h"]
        end = 0x08, "DMAe": u32, ReadPointer;
        /// Address of the word that software reads next; software moves it.
        [J "qpe-types.h; use: NESTML (N)"]
        read = 0x0c, "DMAr": u32, ReadPointer;
        /// Address of the word that hardware writes next.
        [J "qpe-types.h"]
        write = 0x10, "DMAw": u32, ReadPointer;
        /// Fill in words from which on the limit interrupt is raised.
        [J "qpe-types.h"]
        limit = 0x14, "DMAl": u32, ReadWrite;
        /// Words that wait.
        [J "qpe-types.h; called N_WORDS in product code (N)"]
        words = 0x18, "DBO": u32, ReadPure;
        /// Largest number of words that have waited.
        [J "qpe-types.h"]
        most_words = 0x1c, "DMax": u32, ReadPure;
        /// Packets dropped because the ring was full.
        [J "qpe-types.h"]
        dropped = 0x20, "DDC": u32, ReadPure;
        /// Control.
        [J "qpe-types.h; value: compiled listings"]
        control = 0x3c, "DCTL": RingControl, ReadWrite;
    }
    instances COMMS_RING_0, COMMS_RING_1
}

/// What belongs into [`Ring::end`](Ring::end) for a ring of `words` words from `start` on.
///
/// Whether the end is the address of the last word or the one behind it is not public (tag I): the last
/// word is taken, since programs of the prototype keep one word more than the constant that they call
/// the buffer's length. A correction is a change of this function.
#[must_use]
pub const fn ring_end(start: u32, words: u32) -> u32 {
    start.wrapping_add(4 * (words - 1))
}

fields! {
    /// Settings of a ring. Bits not public.
    RingConfig {}
}

impl RingConfig {
    /// Multicast packets with payload, and reset: written to start the ring and again after each move of
    /// the read pointer (tag J, one constant of compiled listings). The setting for packets without
    /// payload is not public.
    pub const MULTICAST_WITH_PAYLOAD_RESET: Self = Self(0x0020_0641);
}

fields! {
    /// Control of a ring. Bits not public.
    RingControl {}
}

impl RingControl {
    /// What programs of the prototype write at start-up (tag J).
    pub const START: Self = Self(0xf);
}

block! {
    /// Copies memory over the network. Fields and unit of the length are not public; see `provisional`.
    NocDma {
        /// Local address.
        [J "qpe-types.h"]
        local = 0x00, "LOCAL_ADDR": u32, ReadPointer;
        /// Remote address.
        [J "qpe-types.h"]
        remote = 0x04, "REMOTE_ADDR": u32, ReadPointer;
        /// Length; unit not public.
        [J "qpe-types.h"]
        length = 0x08, "DMA_LEN": u32, ReadPointer;
        /// Settings; bits not public.
        [J "qpe-types.h"]
        config = 0x0c, "DMA_CFG": u32, ReadPointer;
        /// End of jobs; bits not public.
        [J "qpe-types.h"]
        done = 0x10, "DMA_DONE": u32, ReadEffect;
        /// State; bits not public.
        [J "qpe-types.h"]
        status = 0x14, "DMA_STATUS": u32, ReadPure;
        /// Command, which starts a job; bits not public.
        [J "qpe-types.h"]
        command = 0x3c, "DMA_CMD": u32, ReadPointer;
    }
    instances COMMS_NOC_DMA
}
