//! The multicast router's table.
//!
//! A packet takes the route of the first entry that matches its key. A packet that no entry matches
//! takes the default route: it leaves the chip through the link opposite to the one that it came in
//! by. A packet of a PE on this chip came in by no link and is dropped. (Key, mask and number of
//! entries: tags H and S. Default routing on SpiNNaker2's hardware is not confirmed.)

use crate::topology::{PES, PeId};

/// Entries that the router holds.
pub const CAPACITY: usize = 16_384;

/// One entry of the router: packets with `packet.key & mask == key` take `route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Key to match. Must satisfy `key & mask == key`.
    pub key: u32,
    /// Bits of the key that count.
    pub mask: u32,
    /// Targets.
    pub route: Route,
}

impl Entry {
    /// Whether a packet with this key matches the entry.
    pub const fn matches(&self, key: u32) -> bool {
        key & self.mask == self.key
    }
}

/// A link to one of the six neighbouring chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Link {
    /// Link 0.
    East = 0,
    /// Link 1.
    NorthEast = 1,
    /// Link 2.
    North = 2,
    /// Link 3.
    West = 3,
    /// Link 4.
    SouthWest = 4,
    /// Link 5.
    South = 5,
}

impl Link {
    /// All links in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::East,
        Self::NorthEast,
        Self::North,
        Self::West,
        Self::SouthWest,
        Self::South,
    ];

    /// The link on the other side of the chip.
    pub const fn opposite(self) -> Self {
        Self::ALL[(self as usize + 3) % 6]
    }
}

/// Targets of a router entry: links and cores. Bits 5:0 are links, bit `6 + p` is core `p`.
///
/// The public encoding numbers cores `p` from 0 to 151, while core ids run from 1 to 152, and does not
/// say how one follows from the other. This type takes core ids and puts id 1 into bit 6; a
/// correction is a change of [`Route::FIRST_CORE_BIT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Route(pub [u32; 5]);

impl Route {
    /// No target: a matching packet is dropped on purpose.
    pub const NONE: Self = Self([0; 5]);

    /// The bit of core id 1.
    pub const FIRST_CORE_BIT: u32 = 6;

    /// This route and a link.
    #[must_use]
    pub const fn with_link(mut self, link: Link) -> Self {
        self.0[0] |= 1 << link as u32;
        self
    }

    /// This route and the core with id `core`.
    ///
    /// # Panics
    /// If `core` is not in 1 to 152.
    #[must_use]
    pub const fn with_core(mut self, core: u8) -> Self {
        assert!(core >= 1 && core as usize <= PES, "core ids are 1 to 152");
        let bit = Self::FIRST_CORE_BIT + core as u32 - 1;
        self.0[bit as usize / 32] |= 1 << (bit % 32);
        self
    }

    /// This route and a PE.
    ///
    /// # Panics
    /// If the chip has no such PE.
    #[must_use]
    pub const fn with_pe(self, pe: PeId) -> Self {
        match pe.core() {
            Some(core) => self.with_core(core),
            None => panic!("the chip has no such PE"),
        }
    }

    /// Targets of both routes.
    #[must_use]
    pub const fn union(mut self, other: Self) -> Self {
        let mut word = 0;
        while word < 5 {
            self.0[word] |= other.0[word];
            word += 1;
        }
        self
    }

    /// Whether the route has no target.
    pub const fn is_empty(self) -> bool {
        let mut word = 0;
        while word < 5 {
            if self.0[word] != 0 {
                return false;
            }
            word += 1;
        }
        true
    }

    /// Whether the route has bits that are neither a link nor a core.
    pub const fn has_unknown_bits(self) -> bool {
        let used = Self::FIRST_CORE_BIT + PES as u32;
        self.0[4] >> (used - 128) != 0
    }

    /// Links of the route.
    pub fn links(self) -> impl Iterator<Item = Link> {
        Link::ALL
            .into_iter()
            .filter(move |&link| self.bit(link as u32))
    }

    /// Core ids of the route, 1 to 152, ascending.
    pub fn cores(self) -> impl Iterator<Item = u8> {
        (1..=PES as u8).filter(move |&core| self.bit(Self::FIRST_CORE_BIT + u32::from(core) - 1))
    }

    /// PEs of the route, in the order of their core ids.
    pub fn pes(self) -> impl Iterator<Item = PeId> {
        self.cores().filter_map(PeId::from_core)
    }

    const fn bit(self, bit: u32) -> bool {
        self.0[bit as usize / 32] >> (bit % 32) & 1 == 1
    }
}

impl core::fmt::Debug for Route {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set()
            .entries(self.links())
            .entries(self.cores())
            .finish()
    }
}

/// Why a table cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// An entry's key has bits outside its mask, so that it can never match.
    KeyOutsideMask {
        /// Place of the entry in the table.
        index: usize,
        /// The entry.
        entry: Entry,
    },
    /// An entry's route names a target that the chip does not have.
    NoSuchTarget {
        /// Place of the entry in the table.
        index: usize,
        /// The entry.
        entry: Entry,
    },
    /// The table has more entries than the router.
    TooManyEntries {
        /// Entries of the table.
        entries: usize,
        /// Entries that the router holds.
        capacity: usize,
    },
}

impl core::fmt::Display for TableError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::KeyOutsideMask { index, entry } => write!(
                f,
                "router entry {index} can never match: key {:#010x} has bits outside mask {:#010x}; key & mask must equal key",
                entry.key, entry.mask
            ),
            Self::NoSuchTarget { index, entry } => write!(
                f,
                "router entry {index} (key {:#010x}) has a target above core 152",
                entry.key
            ),
            Self::TooManyEntries { entries, capacity } => write!(
                f,
                "the router table has {entries} entries, the router holds {capacity}"
            ),
        }
    }
}

impl core::error::Error for TableError {}

/// Checks a table by the rules that every router has.
///
/// # Errors
/// The first rule that is broken.
pub fn check(table: &[Entry], capacity: usize) -> Result<(), TableError> {
    if table.len() > capacity {
        return Err(TableError::TooManyEntries {
            entries: table.len(),
            capacity,
        });
    }
    for (index, &entry) in table.iter().enumerate() {
        if entry.key & entry.mask != entry.key {
            return Err(TableError::KeyOutsideMask { index, entry });
        }
        if entry.route.has_unknown_bits() {
            return Err(TableError::NoSuchTarget { index, entry });
        }
    }
    Ok(())
}

/// What went wrong with the router, in general terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An entry can never match or names a target that does not exist.
    InvalidEntry,
    /// The table is larger than the router.
    TooManyEntries,
    /// Any other error.
    Other,
}

/// An error of the router.
pub trait Error: core::fmt::Debug {
    /// The general kind of this error.
    fn kind(&self) -> ErrorKind;
}

impl Error for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl Error for core::convert::Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}

impl Error for TableError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::KeyOutsideMask { .. } | Self::NoSuchTarget { .. } => ErrorKind::InvalidEntry,
            Self::TooManyEntries { .. } => ErrorKind::TooManyEntries,
        }
    }
}

/// The error type of one router.
pub trait ErrorType {
    /// Error of every router operation.
    type Error: Error;
}

impl<T: ErrorType + ?Sized> ErrorType for &mut T {
    type Error = T::Error;
}

/// Loads the router.
pub trait Router: ErrorType {
    /// Replaces the router's table. Where several entries match a key, the first one counts.
    ///
    /// # Errors
    /// If the table breaks a rule (see [`check`]) or the router cannot be reached. A table that is
    /// refused by the rules leaves the old one in place.
    fn load(&mut self, table: &[Entry]) -> Result<(), Self::Error>;
}

impl<T: Router + ?Sized> Router for &mut T {
    fn load(&mut self, table: &[Entry]) -> Result<(), Self::Error> {
        T::load(self, table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_the_public_encoding() {
        let route = Route::NONE
            .with_link(Link::East)
            .with_link(Link::South)
            .with_core(1)
            .with_core(27)
            .with_core(152);
        assert_eq!(route.0, [0b100001 | 1 << 6, 1, 0, 0, 1 << 29]);
        assert_eq!(route.cores().collect::<Vec<_>>(), [1, 27, 152]);
        assert_eq!(route.links().collect::<Vec<_>>(), [Link::East, Link::South]);
        assert!(!route.has_unknown_bits());
        assert!(Route([0, 0, 0, 0, 1 << 30]).has_unknown_bits());
        assert_eq!(format!("{route:?}"), "{East, South, 1, 27, 152}");
        assert_eq!(Link::South.opposite(), Link::North);
    }

    #[test]
    fn tables_are_checked() {
        let good = Entry {
            key: 0x10,
            mask: 0xf0,
            route: Route::NONE,
        };
        assert_eq!(check(&[good; 3], 3), Ok(()));
        assert!(matches!(
            check(&[good; 4], 3),
            Err(TableError::TooManyEntries {
                entries: 4,
                capacity: 3
            })
        ));
        let bad = Entry { key: 0x11, ..good };
        let error = check(&[good, bad], 3).unwrap_err();
        assert!(matches!(error, TableError::KeyOutsideMask { index: 1, .. }));
        assert_eq!(error.kind(), ErrorKind::InvalidEntry);
    }
}
