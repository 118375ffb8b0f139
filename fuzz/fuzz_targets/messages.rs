//! Messages as they come out of frames.
#![no_main]

use bsp::protocol::{Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let _ = Request::decode(message).map(|request| request.check());
    if let Some(Response::State(state) | Response::Progress(state)) = Response::decode(message) {
        let _ = state.record().map(|record| record.to_string());
    }
});
