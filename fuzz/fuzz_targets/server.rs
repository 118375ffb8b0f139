//! Bytes from a line: to the board, and to a host.
#![no_main]

#[path = "../../bsp/tests/protocol/chip.rs"]
mod chip;

use bsp::protocol::frame::Decoder;
use bsp::protocol::{Response, Server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut server, mut chip) = (Server::new(), chip::Table::default());
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = server.receive(rest, &mut chip);
        rest = &rest[taken..];
        server.sent(usize::MAX);
        server.watch(&mut chip);
        server.sent(usize::MAX);
    }
    let mut decoder = Decoder::new();
    for &byte in bytes {
        if let Some(frame) = decoder.push(byte) {
            let _ = Response::decode(frame.message);
        }
    }
});
