//! The multicast router's table.

/// One entry of the router: packets with `packet.key & mask == key` take `route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key to match. Must satisfy `key & mask == key`.
    pub key: u32,
    /// Bits of the key that count.
    pub mask: u32,
    /// Targets.
    pub route: Route,
}

/// Targets of a router entry: links and cores. Bits 5:0 are links, bit `6 + core` is a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Route(pub [u32; 5]);
