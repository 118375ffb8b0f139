//! Where things are on the chip: QuadPE coordinates and PE numbers.

/// A PE: QuadPE coordinates on the NoC and the PE's number inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeId {
    /// QuadPE column, 1 to 7.
    pub x: u8,
    /// QuadPE row, 1 to 6.
    pub y: u8,
    /// PE inside the QuadPE, 0 to 3.
    pub pe: u8,
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
