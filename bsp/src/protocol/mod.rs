//! How a host works with a board: messages in frames, over a serial line, a pseudo-terminal, or UDP.
//!
//! The host asks, the board answers: each [`Request`] gets one [`Response`] with its sequence number. One PE
//! of the chip, the monitor, runs the board's side, [`Server`]. `docs/host-link.md` of the repository describes
//! every byte, with an example exchange.
//!
//! # Frames
//! On the line a message is a [`frame`]: sequence number, message ([postcard]), CRC-32, all of it in
//! [COBS](https://docs.rs/cobs) between two zero bytes. Bytes that are no whole frame with the right CRC are
//! dropped without an answer; the next zero byte ends whatever they were. Over UDP a datagram holds one frame.
//!
//! # Connections
//! A connection starts with [`Request::Hello`], whose layout never changes: it tells versions, the hash of the
//! memory formats, the PEs that exist, the largest block and the window. Before it, all but `Hello` is refused
//! ([`Failure::NoHello`]): so a host notices that the board was restarted. Another `Hello`, or
//! [`Request::Close`], ends the connection, and with it the [lock's](Request::Unlock) opening and the
//! [stream](Request::Subscribe) of records.
//!
//! # Loss and repetition
//! A host that waits too long for an answer sends the same frame again; requests that it sends before it has the
//! answers to earlier ones may be done in another order. Up to [`HelloResponse::window`] requests
//! may be unanswered at a time, sent in the order of their sequence numbers, each one more than the last. Nothing
//! is done twice: the board remembers the last [`REMEMBERED`] requests that [change](Request::changes) something,
//! and answers a repeated one as it did before. One that is older than these is refused ([`Failure::Stale`]).
//!
//! # Bulk transfer
//! **To the host**: the host keeps a window of [`Request::Read`] under way, and asks again for blocks that did not
//! come. The receiver is the host, so nothing is left on the board that could be resumed. **To the board**:
//! [`Request::Open`] names a transfer; [`Request::Block`]s may come in any order within [`WINDOW_BLOCKS`] of the first
//! missing one. Every answer ([`Response::Needs`]) says which blocks are still needed, also after a loss, and, since
//! the board keeps the state until another transfer is opened, after the host was restarted and has connected
//! anew.
//!
//! # Protection
//! Memory can be written where [`regions`] allows it. Other addresses, and everything that is no memory, can be
//! read and written after [`Request::Unlock`] only; what such an access does is up to the hardware, and it may stop
//! the monitor.

pub mod frame;
mod message;
pub mod regions;
mod server;

pub use message::{
    Failure, HelloRequest, HelloResponse, MAGIC, MAX_RECORD, Processor, Request, Response, State,
    Text, UNLOCK,
};
pub use server::{Chip, Server};

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// The oldest version that this crate understands.
pub const OLDEST_VERSION: u8 = 1;

/// Bytes of data in the largest message.
pub const MAX_BLOCK: usize = 1024;

/// Bytes that [`Request::Fill`] fills at most.
pub const MAX_FILL: u32 = 4096;

/// Requests that change something and that the board remembers, to recognise repeated ones.
pub const REMEMBERED: usize = 32;

/// Blocks of a transfer, from the first missing one on, that the board takes.
pub const WINDOW_BLOCKS: u32 = 33;

/// Requests that may be unanswered at a time, as far as this crate's board is concerned. A host goes by what
/// [`HelloResponse::window`] says.
pub const WINDOW: u8 = 4;
