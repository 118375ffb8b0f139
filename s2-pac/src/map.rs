//! Where things are: base addresses of a PE's registers, the windows through which it sees the rest of
//! the chip, QuadPE coordinates, PE numbers and core ids.
//!
//! The chip's network is a grid of nodes. 38 of them are QuadPEs of four processing elements (PEs)
//! each: columns 1 to 7, rows 1 to 6, without the two nodes of the event router ([`ROUTER`]) and the
//! two of the west link. The table of core ids ([`PeId::core`]) is the only copy in the workspace.
//!
//! Evidence: the geometry and the order of the QuadPEs are read from public host software of the
//! production chip (tag H). The order of the PEs inside a QuadPE is disputed between two branches of
//! that software, see [`PeOrder`].

use core::ops::Range;

/// Base address of the three random number generators (tag J, `constants.h`).
pub const KISS: u32 = 0xe010_0000;

/// Base address of the first random number generator, a KISS32 (tag J, `qpe-types.h`).
pub const KISS32_0: u32 = KISS;

/// Base address of the second random number generator, a KISS32 (tag J, `qpe-types.h`).
pub const KISS32_1: u32 = KISS + 0x20;

/// Base address of the third random number generator, a KISS64 (tag J, `qpe-types.h`).
pub const KISS64: u32 = KISS + 0x40;

/// Base address of the settings of the true random bus (tag J, `constants.h`).
pub const TRUE_RANDOM_CONFIG: u32 = 0xe010_0080;

/// Base address of the values of the true random bus (tag J, `constants.h`).
pub const TRUE_RANDOM: u32 = 0xe010_0090;

/// Base address of the exponential and logarithm unit (tag J, `constants.h`).
pub const EXP_LOG: u32 = 0xe010_0100;

/// Base address of the first timer (tag J, `constants.h`).
pub const TIMER_1: u32 = 0xe100_0000;

/// Base address of the second timer (tag J, `constants.h`).
pub const TIMER_2: u32 = 0xe100_0020;

/// Base address of the communications controller (tag J, `constants.h`).
pub const COMMS: u32 = 0xe200_0000;

/// Base address of its transmitter (tag J, `qpe-types.h`; so are the next ones).
pub const COMMS_TRANSMIT: u32 = COMMS;

/// Base address of its receiver.
pub const COMMS_RECEIVE: u32 = COMMS + 0x80;

/// Base address of its identification and common settings.
pub const COMMS_GLOBAL: u32 = COMMS + 0xf8;

/// Base address of its first receive ring.
pub const COMMS_RING_0: u32 = COMMS + 0x100;

/// Base address of its second receive ring.
pub const COMMS_RING_1: u32 = COMMS + 0x140;

/// Base address of its network DMA.
pub const COMMS_NOC_DMA: u32 = COMMS + 0x180;

/// Base address of the machine-learning accelerator (tag J, `constants.h`).
pub const ML_ACCELERATOR: u32 = 0xe300_0000;

/// Where a PE sees its own SRAM (base: tag J, `constants.h`; size: tag S).
pub const LOCAL_SRAM: Range<u32> = 0..SRAM_BYTES;

/// Where a PE sees the SRAMs of the four PEs of its QuadPE (base: tag J, `constants.h`; that 512 kB can
/// be addressed: tag S). The order of the four in it is not public.
pub const QUAD_SRAM: Range<u32> = 0x0008_0000..0x0008_0000 + 4 * SRAM_BYTES;

/// First address of the window on the DRAM (tag J, `constants.h`). Its size is not public.
pub const DRAM_WINDOW: u32 = 0x2000_0000;

/// First address of the window on the SRAMs of all PEs (tag J, `constants.h`):
/// `SRAM_WINDOW | id << 17 | offset`, `id` from [`PeId::noc_id`].
///
/// A PE converts between such addresses and (PE, offset) by [`PeId::sram_address`] and
/// [`PeId::from_sram_address`].
pub const SRAM_WINDOW: u32 = 0xf000_0000;

/// First address of the QuadPEs' register files (tag J, `constants.h`): an array of structs of
/// [`QUAD_PE_REGISTERS_BYTES`]. Which element belongs to which QuadPE is not public.
pub const QUAD_PE_REGISTERS: u32 = 0xf200_0000;

/// Bytes from the register file of one QuadPE to that of the next (tag J, `qpe-types.h`).
pub const QUAD_PE_REGISTERS_BYTES: u32 = 1 << 19;

/// Base address of the management registers of the prototype (tag J, `constants.h`).
pub const JIB_MANAGEMENT: u32 = 0xf600_0000;

/// Base address of the first UART (tag J, `constants.h`).
pub const UART_0: u32 = 0xf600_0400;

/// Base address of the second UART (tag J, `constants.h`).
pub const UART_1: u32 = 0xf600_0500;

/// Base address of the core registers of the prototype's periphery (tag J, `constants.h`).
pub const JIB_CORE: u32 = 0xf600_2000;

/// What is public about the places of PEs on the prototype chip Jib1. All else in this module that
/// names places is the product chip's.
pub mod jib1 {
    /// Number of QuadPEs (tag J).
    pub const QUAD_PES: usize = 2;

    /// Number of PEs (tag J).
    pub const PES: usize = 4 * QUAD_PES;

    /// The only QuadPE (column, row) that a public constant names (tag J, compiled listings:
    /// [`TransmitControl::QUAD_PE_1_1`](crate::comms::TransmitControl::QUAD_PE_1_1)). Where the other
    /// one is, is not public.
    pub const KNOWN_QUAD_PE: (u8, u8) = (1, 1);
}

/// Number of QuadPEs.
pub const QUAD_PES: usize = 38;

/// Number of PEs.
pub const PES: usize = 4 * QUAD_PES;

/// Bytes of a PE's SRAM.
pub const SRAM_BYTES: u32 = 128 * 1024;

/// Network nodes (column, row) of the event router.
pub const ROUTER: [(u8, u8); 2] = [(4, 3), (4, 4)];

/// Network nodes (column, row) of the lower and the upper half of the DRAM.
pub const DRAM: [[(u8, u8); 2]; 2] = [[(0, 6), (0, 5)], [(0, 2), (0, 1)]];

/// QuadPEs (column, row) in the order of core ids: entry `i` holds the ids `4 * i + 1` to `4 * i + 4`.
const QUAD_PE_ORDER: [(u8, u8); QUAD_PES] = [
    (7, 6),
    (7, 5),
    (6, 6),
    (6, 5),
    (6, 4),
    (5, 4),
    (5, 6),
    (3, 6),
    (4, 6),
    (5, 5),
    (3, 5),
    (4, 5),
    (1, 6),
    (2, 6),
    (1, 5),
    (2, 5),
    (1, 4),
    (2, 4),
    (3, 4),
    (1, 1),
    (2, 1),
    (1, 2),
    (2, 2),
    (1, 3),
    (2, 3),
    (3, 3),
    (5, 1),
    (3, 1),
    (4, 1),
    (5, 2),
    (3, 2),
    (4, 2),
    (7, 1),
    (6, 1),
    (7, 2),
    (6, 2),
    (6, 3),
    (5, 3),
];

/// `QUAD_PE_INDEX[y][x]`: place of the QuadPE in [`QUAD_PE_ORDER`], or `u8::MAX` where there is none.
const QUAD_PE_INDEX: [[u8; 8]; 8] = {
    let mut table = [[u8::MAX; 8]; 8];
    let mut index = 0;
    while index < QUAD_PES {
        let (x, y) = QUAD_PE_ORDER[index];
        table[y as usize][x as usize] = index as u8;
        index += 1;
    }
    table
};

/// How core ids count the PEs of one QuadPE.
///
/// Two branches of the public host software disagree. The project uses [`PeOrder::DEFAULT`]; a
/// correction is a change of that one constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeOrder {
    /// The lowest id is PE 3: the newer of the two branches, a fix of the "quad map".
    Descending,
    /// The lowest id is PE 0: the older branch.
    Ascending,
}

impl PeOrder {
    /// The order that [`PeId::core`] and [`PeId::from_core`] use.
    pub const DEFAULT: Self = Self::Descending;
}

/// A PE: QuadPE coordinates on the network and the PE's number inside it.
///
/// The fields are public, so a value may name a PE that does not exist; [`PeId::new`] and
/// [`PeId::exists`] check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeId {
    /// QuadPE column, 1 to 7.
    pub x: u8,
    /// QuadPE row, 1 to 6.
    pub y: u8,
    /// PE inside the QuadPE, 0 to 3.
    pub pe: u8,
}

impl PeId {
    /// PE `pe` of the QuadPE in column `x` and row `y`, or `None` if the chip has no such PE.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn new(x: u8, y: u8, pe: u8) -> Option<Self> {
        let id = Self { x, y, pe };
        if id.exists() { Some(id) } else { None }
    }

    /// Whether the chip has this PE.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn exists(self) -> bool {
        self.pe < 4 && is_quad_pe(self.x, self.y)
    }

    /// The PE's core id, 1 to 152, or `None` if the chip has no such PE.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn core(self) -> Option<u8> {
        self.core_in(PeOrder::DEFAULT)
    }

    /// The PE with core id `core`, or `None` if `core` is not in 1 to 152.
    pub const fn from_core(core: u8) -> Option<Self> {
        Self::from_core_in(core, PeOrder::DEFAULT)
    }

    /// [`PeId::core`] with the order of PEs chosen.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn core_in(self, order: PeOrder) -> Option<u8> {
        if !self.exists() {
            return None;
        }
        let place = match order {
            PeOrder::Descending => 3 - self.pe,
            PeOrder::Ascending => self.pe,
        };
        Some(4 * QUAD_PE_INDEX[self.y as usize][self.x as usize] + place + 1)
    }

    /// [`PeId::from_core`] with the order of PEs chosen.
    pub const fn from_core_in(core: u8, order: PeOrder) -> Option<Self> {
        if core == 0 || core as usize > PES {
            return None;
        }
        let (x, y) = QUAD_PE_ORDER[(core as usize - 1) / 4];
        let place = (core - 1) % 4;
        let pe = match order {
            PeOrder::Descending => 3 - place,
            PeOrder::Ascending => place,
        };
        Some(Self { x, y, pe })
    }

    /// The 8-bit id that the PE reads from its communication controller: PE in bits 1:0, row in bits
    /// 4:2, column in bits 7:5 (tag J; production programs use the same shifts, tag N).
    ///
    /// Coordinates above 7 are cut to their low three bits; the chip has none.
    pub const fn noc_id(self) -> u8 {
        (self.x & 7) << 5 | (self.y & 7) << 2 | (self.pe & 3)
    }

    /// The PE with this 8-bit id, or `None` if the chip has no such PE.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn from_noc_id(id: u8) -> Option<Self> {
        Self::new(id >> 5, id >> 2 & 7, id & 3)
    }

    /// Address of byte `offset` of this PE's SRAM as seen over the network, or `None` if there is no
    /// such PE or byte (tag J).
    pub const fn sram_address(self, offset: u32) -> Option<u32> {
        if self.exists() && offset < SRAM_BYTES {
            Some(SRAM_WINDOW + self.noc_id() as u32 * SRAM_BYTES + offset)
        } else {
            None
        }
    }

    /// The PE, and the offset in its SRAM, that `address` names over the network, or `None` if it names
    /// no SRAM (tag J).
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub const fn from_sram_address(address: u32) -> Option<(Self, u32)> {
        if address < SRAM_WINDOW || address - SRAM_WINDOW >= 256 * SRAM_BYTES {
            return None;
        }
        let offset = address - SRAM_WINDOW;
        match Self::from_noc_id((offset / SRAM_BYTES) as u8) {
            Some(pe) => Some((pe, offset % SRAM_BYTES)),
            None => None,
        }
    }

    /// This PE alone as the destination of a packet.
    pub const fn destination(self) -> Destination {
        Destination {
            x: self.x,
            y: self.y,
            pes: 1 << (self.pe & 3),
        }
    }
}

impl core::fmt::Display for PeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PE ({},{},{})", self.x, self.y, self.pe)
    }
}

/// PEs of one QuadPE as a packet's destination: the network copies a packet inside a QuadPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// QuadPE column.
    pub x: u8,
    /// QuadPE row.
    pub y: u8,
    /// Bit `p` set: PE `p` of that QuadPE receives the packet.
    pub pes: u8,
}

impl Destination {
    /// Whether the QuadPE exists and `pes` names at least one of its PEs and nothing else.
    pub const fn exists(self) -> bool {
        is_quad_pe(self.x, self.y) && self.pes != 0 && self.pes < 16
    }
}

/// Whether the node in column `x` and row `y` is a QuadPE.
#[cfg_attr(not(target_arch = "arm"), inline)]
pub const fn is_quad_pe(x: u8, y: u8) -> bool {
    x < 8 && y < 8 && QUAD_PE_INDEX[y as usize][x as usize] != u8::MAX
}

/// All PEs in the order of their core ids.
pub fn pes() -> impl DoubleEndedIterator<Item = PeId> + ExactSizeIterator + Clone {
    (1..PES as u8 + 1).map(|core| match PeId::from_core(core) {
        Some(pe) => pe,
        None => unreachable!("core ids run from 1 to 152"),
    })
}

/// Hops between two network nodes (column, row). The network routes along the row first and then
/// along the column; both ways have the same length.
#[cfg_attr(not(target_arch = "arm"), inline)]
pub const fn hops(from: (u8, u8), to: (u8, u8)) -> u32 {
    from.0.abs_diff(to.0) as u32 + from.1.abs_diff(to.1) as u32
}

/// Hops between a network node and the nearer of the router's two nodes. That a packet takes the
/// nearer one is an assumption (tag I).
pub const fn hops_to_router(node: (u8, u8)) -> u32 {
    let (a, b) = (hops(node, ROUTER[0]), hops(node, ROUTER[1]));
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn the_38_quad_pes_are_the_grid_without_router_and_west_link() {
        let expected: HashSet<_> = (1..=7)
            .flat_map(|x| (1..=6).map(move |y| (x, y)))
            .filter(|node| ![(4, 3), (4, 4), (7, 3), (7, 4)].contains(node))
            .collect();
        assert_eq!(expected.len(), QUAD_PES);
        let listed: HashSet<_> = QUAD_PE_ORDER.into_iter().collect();
        assert_eq!(listed, expected);
        let beyond = [16, 128, 255];
        for x in (0..=9).chain(beyond) {
            for y in (0..=9).chain(beyond) {
                assert_eq!(is_quad_pe(x, y), expected.contains(&(x, y)));
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn core_ids_are_those_of_both_branches() {
        let newer = |core| PeId::from_core(core).map(|p| (p.x, p.y, p.pe));
        assert_eq!(newer(0), None);
        assert_eq!(newer(1), Some((7, 6, 3)));
        assert_eq!(newer(2), Some((7, 6, 2)));
        assert_eq!(newer(4), Some((7, 6, 0)));
        assert_eq!(newer(5), Some((7, 5, 3)));
        assert_eq!(newer(77), Some((1, 1, 3)));
        assert_eq!(newer(152), Some((5, 3, 0)));
        assert_eq!(newer(153), None);
        let older = PeId::from_core_in(1, PeOrder::Ascending).unwrap();
        assert_eq!((older.x, older.y, older.pe), (7, 6, 0));
        for order in [PeOrder::Ascending, PeOrder::Descending] {
            let mut seen = HashSet::new();
            for core in 1..=152 {
                let pe = PeId::from_core_in(core, order).unwrap();
                assert_eq!(pe.core_in(order), Some(core));
                assert!(seen.insert(pe));
            }
        }
        assert_eq!(PeId { x: 4, y: 3, pe: 0 }.core(), None);
        assert_eq!(PeId { x: 1, y: 1, pe: 4 }.core(), None);
        assert_eq!(pes().len(), PES);
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn network_ids_round_trip() {
        assert_eq!(PeId { x: 1, y: 1, pe: 0 }.noc_id(), 0b0010_0100);
        for pe in pes() {
            assert_eq!(PeId::from_noc_id(pe.noc_id()), Some(pe));
        }
        let existing = (0..=255).filter_map(PeId::from_noc_id).count();
        assert_eq!(existing, PES);
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn network_addresses_name_the_bytes_of_existing_srams_alone() {
        let first = PeId { x: 1, y: 1, pe: 0 };
        assert_eq!(first.sram_address(0), Some(0xf048_0000));
        assert_eq!(first.sram_address(0x1_ffff), Some(0xf049_ffff));
        assert_eq!(first.sram_address(0x2_0000), None);
        assert_eq!(PeId { x: 4, y: 3, pe: 0 }.sram_address(0), None);
        for pe in pes() {
            for offset in [0, 4, SRAM_BYTES - 1] {
                let address = pe.sram_address(offset).unwrap();
                assert_eq!(PeId::from_sram_address(address), Some((pe, offset)));
            }
        }
        let named = |address| PeId::from_sram_address(address).is_some();
        let start_of_each = (0..1 << 15).map(|block| block * SRAM_BYTES);
        assert_eq!(start_of_each.filter(|&address| named(address)).count(), PES);
        assert!(![0xefff_ffff, 0xf200_0000, u32::MAX].into_iter().any(named));
    }

    #[test]
    fn distances_are_those_of_the_grid() {
        assert_eq!(hops((1, 1), (7, 6)), 11);
        assert_eq!(hops((7, 6), (1, 1)), 11);
        assert_eq!(hops_to_router((4, 2)), 1);
        assert_eq!(hops_to_router((4, 5)), 1);
        assert_eq!(hops_to_router((1, 6)), 5);
    }
}
