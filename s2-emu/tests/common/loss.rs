//! A loss program with a single neighbour, and its data specification.

use bsp::layout;
use bsp::specification::{Body, write};
use eventprop_core::event::MAX_NEIGHBOURS;
use eventprop_core::loss::{Silence, TimeToFirstSpike};
use eventprop_core::program::Program;
use eventprop_core::program::loss::{Config, Loss};
use eventprop_core::program::stream::{Neighbours, Routing};
use s2_hal::topology::{Destination, PeId};

use super::pe;

/// Milliseconds that the loss waits for its only neighbour.
pub const TIME_OUT_MS: u32 = 2;

/// The neighbour: a PE that sends what a test wants.
pub fn sender() -> PeId {
    PeId::new(1, 1, 3).expect("it exists")
}

/// A loss PE with one layer PE above.
pub fn loss(outputs: usize) -> Body<Config> {
    let to = sender().destination();
    let routing = Routing::Direct {
        one: [to; MAX_NEIGHBOURS],
        all: [to; MAX_NEIGHBOURS],
        all_len: 1,
        optimizer: Destination { x: 7, y: 6, pes: 1 },
    };
    let config = Config {
        source: pe().noc_id(),
        upstream: Neighbours::new(&[sender().noc_id()], routing).expect("one is enough"),
        upstream_events: [4; MAX_NEIGHBOURS],
        replica: 0,
        replicas: 1,
        steps: 10,
        tick_bits: 8,
        outputs,
        loss: TimeToFirstSpike::new(0.5, 6.4, 3e-3, 1.0 / 256.0, 10 << 8, Silence::default())
            .expect("in range"),
        window: 2,
    };
    Body {
        ring_words: (Loss::ring_words(&config) + 2).next_multiple_of(4) as u32,
        config,
        time_out_ms: TIME_OUT_MS,
    }
}

/// The data specification of such a loss.
pub fn words(outputs: usize) -> Vec<u32> {
    let mut memory = vec![0; layout::bytes(&layout::SPECIFICATION) / 4];
    let words = write::<Loss>(&loss(outputs), &mut memory).expect("it fits a PE");
    memory.truncate(words);
    memory
}
