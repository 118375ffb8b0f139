//! Data specifications: what is written is read again, and everything that is wrong has a name.

use bsp::layout;
use bsp::specification::{BODY_WORDS, Body, Error, LAYOUT_HASH, Specified, read, write};
use eventprop_core::event::MAX_NEIGHBOURS;
use eventprop_core::optimizer::{Method, Rounding, Settings, SilentNeurons};
use eventprop_core::program::Program as _;
use eventprop_core::program::input::Input;
use eventprop_core::program::layer::{self, Layer};
use eventprop_core::program::loss::Loss;
use eventprop_core::program::optimizer::{
    self, MAX_DESTINATIONS, MAX_PARTS, Optimizer, Part, Release,
};
use eventprop_core::program::stream::{Neighbours, Routing};
use eventprop_core::tables::Scheme;
use proptest::prelude::*;
use s2_hal::topology::{Destination, PeId};

const HERE: Destination = Destination {
    x: 7,
    y: 6,
    pes: 0b1111,
};

fn neighbours() -> Neighbours {
    let routing = Routing::Direct {
        one: [HERE; MAX_NEIGHBOURS],
        all: [HERE; MAX_NEIGHBOURS],
        all_len: MAX_NEIGHBOURS as u8,
        optimizer: HERE,
    };
    Neighbours::new(&[255; MAX_NEIGHBOURS], routing).unwrap()
}

fn layer() -> Body<layer::Config> {
    let config = layer::Config {
        source: PeId::new(1, 1, 0).unwrap().noc_id(),
        upstream: neighbours(),
        upstream_events: [10; MAX_NEIGHBOURS],
        downstream: neighbours(),
        replica: 3,
        replicas: 36,
        scheme: Scheme::Exact,
        steps: 40,
        tick_bits: 8,
        spikes_per_step: 4,
        slope_floor: 20972,
        layer: 1,
        inputs: 5,
        first_neuron: 0,
        neurons: 20,
        upstream_has_neurons: false,
        split: true,
        downstream_split: true,
        spike_capacity: 512,
        arrival_capacity: 600,
        window: 2,
    };
    let ring_words = (Layer::ring_words(&config) + 2).next_multiple_of(4) as u32;
    Body {
        config,
        ring_words,
        time_out_ms: 1000,
    }
}

fn small_layer() -> Body<layer::Config> {
    let mut body = layer();
    body.config.downstream = Neighbours::new(&[7], Routing::Router).unwrap();
    body.ring_words = (Layer::ring_words(&body.config) + 2).next_multiple_of(4) as u32;
    body
}

fn written<P: Specified>(body: &Body<P::Config>) -> Vec<u32> {
    let mut memory = vec![0xaaaa_aaaa; layout::bytes(&layout::SPECIFICATION) / 4];
    let words = write::<P>(body, &mut memory).unwrap();
    memory.truncate(words);
    memory
}

#[test]
fn what_is_written_is_read() {
    let body = small_layer();
    let read = read::<Layer>(&written::<Layer>(&body)).unwrap();
    assert_eq!(format!("{read:?}"), format!("{body:?}"));
    // The largest of all: an optimiser with everything at its limit.
    let part = Part {
        layer: 1,
        inputs: 5,
        first_neuron: u16::MAX,
        neurons: 10,
        output: true,
    };
    let body = Body {
        config: optimizer::Config {
            source: 255,
            replicas: 16,
            parts: [part; MAX_PARTS],
            parts_len: MAX_PARTS,
            outputs: 10,
            reporting: [0x1111_1111; 8],
            release: Release::Direct([HERE; MAX_DESTINATIONS], MAX_DESTINATIONS as u8),
            settings: Settings {
                method: Method::Adam {
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                },
                weight_decay: 0.0,
                tau_synapse_ms: 5.0,
                silent_neurons: SilentNeurons::default(),
                rounding: Rounding {
                    dropped_bits: 2,
                    stochastic_seed: Some(u32::MAX),
                },
            },
        },
        ring_words: 132,
        time_out_ms: u32::MAX,
    };
    let memory = written::<Optimizer>(&body);
    assert!(memory.len() < BODY_WORDS, "{}", memory.len());
    let read = bsp::specification::read::<Optimizer>(&memory).unwrap();
    assert_eq!(format!("{read:?}"), format!("{body:?}"));
}

#[test]
fn every_field_of_the_head_is_checked() {
    let good = written::<Layer>(&small_layer());
    let with = |word: usize, value: u32| {
        let mut memory = good.clone();
        memory[word] = value;
        read::<Layer>(&memory).unwrap_err()
    };
    assert_eq!(with(0, 7), Error::Magic { found: 7 });
    assert_eq!(with(1, 0x2_0000), Error::Version { found: 0x2_0000 });
    let found = LAYOUT_HASH & 0xffff_ffff;
    assert_eq!(with(3, 0), Error::Layout { found });
    assert_eq!(with(4, 3), Error::Image { found: 3 });
    for found in [0, 5000, u32::MAX] {
        assert_eq!(with(5, found), Error::Length { found });
    }
    assert!(matches!(with(6, 1), Error::Checksum { expected: 1, .. }));
    assert!(matches!(with(8, u32::MAX), Error::Checksum { .. }));
    assert_eq!(read::<Layer>(&[]).unwrap_err(), Error::Magic { found: 0 });
    // Meant for another program.
    assert_eq!(read::<Loss>(&good).unwrap_err(), Error::Image { found: 2 });
    // The texts tell what would be right.
    assert_eq!(with(1, 0x2_0000).to_string(), "version 2.0 instead of 1.0");
    assert!(with(4, 1).to_string().contains("the image input"));
}

#[test]
fn what_does_not_fit_a_pe_is_refused_on_both_sides() {
    let mut memory = [0; 512];
    let mut refused = |body: &Body<layer::Config>| write::<Layer>(body, &mut memory).unwrap_err();
    let mut body = small_layer();
    body.config.neurons = 2000;
    body.config.spikes_per_step = 1;
    assert!(
        matches!(refused(&body), Error::Arrays { needed, available: 65536 } if needed > 2000 * 5 * 12)
    );
    body = small_layer();
    body.ring_words = 8;
    assert!(matches!(refused(&body), Error::RingTooSmall { found: 8, needed } if needed > 8));
    for found in [0, 5, 6, 16388, u32::MAX - 3] {
        body.ring_words = found;
        assert_eq!(refused(&body), Error::Ring { found });
    }
    // A ring of more than the heap takes the end of the arrays' memory.
    body.ring_words = (layout::HEAP_RING_BYTES / 4) as u32;
    assert!(write::<Layer>(&body, &mut [0; 512]).is_ok());
    body.ring_words = 16380;
    assert!(matches!(
        refused(&body),
        Error::Arrays { available: 16, .. }
    ));
    body = small_layer();
    body.time_out_ms = 0;
    assert_eq!(refused(&body), Error::TimeOut);
    let wrong: [fn(&mut layer::Config); 8] = [
        |c| c.neurons = 0,
        |c| c.neurons = usize::MAX,
        |c| c.inputs = 1 << 20,
        |c| c.window = 5,
        |c| c.steps = 2048,
        |c| c.tick_bits = 32,
        |c| c.replica = 36,
        |c| c.spike_capacity = usize::MAX / 2,
    ];
    for change in wrong {
        let mut body = small_layer();
        change(&mut body.config);
        let error = refused(&body);
        assert!(matches!(error, Error::Configuration(_)), "{error}");
    }
    let body = small_layer();
    assert!(matches!(
        write::<Layer>(&body, &mut [0; 40][..]).unwrap_err(),
        Error::Length { .. }
    ));
}

proptest! {
    /// Any body is read without a panic, and what is accepted fits a PE.
    #[test]
    fn any_body_is_safe(
        words in prop::collection::vec(any::<u32>(), 1..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..4),
    ) {
        let good = written::<Layer>(&small_layer());
        let mut changed = good[8..].to_vec();
        for (at, word) in changes {
            *at.get_mut(&mut changed) = word;
        }
        for body in [words, changed] {
            let bytes: Vec<u8> = body.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut memory = good[..8].to_vec();
            memory[5] = body.len() as u32;
            memory[6] = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
            memory.extend(body);
            if let Ok(body) = read::<Layer>(&memory) {
                prop_assert!(Layer::memory_bytes(&body.config) <= layout::bytes(&layout::ARRAYS));
                prop_assert!(Layer::new(body.config).is_ok());
            }
            memory[4] = 1;
            if let Ok(body) = read::<Input>(&memory) {
                prop_assert!(Input::new(body.config).is_ok());
            }
        }
    }
}
