//! Faults on the chip: whatever is lost, doubled, altered, refused or hangs, a run ends with the
//! right bits or with an error that says what happened and where. Never with wrong numbers, and never
//! not at all.

use host_tools::backend::mock::Mock;
use host_tools::backend::{Backend, LayerGradient, LayerWeights, Setup};
use host_tools::experiment::{Experiment, Scheme};
use host_tools::training::{Plan, State};
use s2_hal::mock;
use s2_hal::mock::fault::{FaultPlan, Hang, PacketFault, PacketRule, TransferRule};

/// Kinds of packets, by bits 30:28 of their keys (`eventprop_core::event`).
const KINDS: [&str; 8] = [
    "spike",
    "marker",
    "error",
    "error's high word",
    "error's low word",
    "acknowledgement",
    "ready",
    "release",
];

struct Bench {
    setup: Setup,
    state: State,
    right: Bits,
}

type Bits = (Vec<LayerWeights>, Vec<LayerGradient>);

impl Bench {
    fn new(scheme: Scheme, layer_pes: &[u32]) -> Self {
        let mut experiment = Experiment::default_for(scheme);
        experiment.network.hidden = vec![12];
        experiment.dataset.train_size = 12;
        experiment.dataset.validation_size = 1;
        experiment.dataset.test_size = 1;
        experiment.backend.replicas = 1;
        experiment.backend.layer_pes = layer_pes.to_vec();
        let plan = Plan::new(experiment).unwrap();
        let (setup, state) = (plan.setup(), State::new(&plan));
        let mut bench = Self {
            setup,
            state,
            right: (Vec::new(), Vec::new()),
        };
        bench.right = bench.run(FaultPlan::default()).0.unwrap();
        bench
    }

    /// Trains two minibatches, the second smaller, and tells whether a fault struck.
    fn run(&self, faults: FaultPlan) -> (Result<Bits, String>, bool) {
        let settings = mock::Config {
            faults,
            ..mock::Config::default()
        };
        let mut mock = Mock::with_chip(self.setup.clone(), settings).unwrap();
        mock.set_weights(&self.state.weights).unwrap();
        let order: Vec<u32> = (0..12).collect();
        let result = mock.train(&order, 8).map_err(|error| error.to_string());
        let counters = mock.chip().counters();
        let struck = counters.lost + counters.duplicated + counters.corrupted > 0;
        let result = result.map(|_| (mock.weights().unwrap(), mock.gradients().unwrap()));
        if result.is_err() {
            let again = mock.train(&order, 8).unwrap_err().to_string();
            assert!(again.contains("must be loaded anew"), "{again}");
        }
        (result, struck)
    }

    /// Runs with a fault of one packet. `None`: there was no such packet. `Ok`: the right bits all the
    /// same.
    fn with(&self, kind: usize, nth: u64, fault: PacketFault) -> Option<Result<(), String>> {
        let rule = PacketRule::nth(nth, fault).matching((kind as u32) << 28, 7 << 28);
        let (result, struck) = self.run(FaultPlan {
            packets: vec![rule],
            ..FaultPlan::default()
        });
        let what = format!("{} {nth}: {fault:?}", KINDS[kind]);
        match result {
            Ok(bits) => {
                assert!(bits == self.right, "{what}: wrong numbers");
                struck.then_some(Ok(()))
            }
            Err(message) => {
                assert!(struck, "{what}: {message}");
                assert!(
                    message.contains("PE ("),
                    "{what} does not say where: {message}"
                );
                Some(Err(message))
            }
        }
    }
}

fn benches() -> [Bench; 3] {
    [
        Bench::new(Scheme::Exact, &[1, 1]),
        Bench::new(Scheme::Exact, &[2, 2]),
        Bench::new(Scheme::Grid, &[2, 1]),
    ]
}

const NUMBERS: [u64; 4] = [0, 5, 33, 140];

#[test]
fn a_lost_packet_is_missed() {
    for bench in benches() {
        for (kind, name) in KINDS.into_iter().enumerate() {
            for nth in NUMBERS {
                match bench.with(kind, nth, PacketFault::Lose) {
                    // The next acknowledgement says it all again.
                    None => {}
                    Some(Ok(())) => assert_eq!(name, "acknowledgement"),
                    Some(Err(message)) => {
                        let named = match kind {
                            0 | 2..5 => "arrived",
                            1 => "the marker of position",
                            5 => "to acknowledge",
                            6 => "to finish minibatch",
                            _ => "new weights after minibatch",
                        };
                        assert!(message.contains(named), "{}: {message}", name);
                        assert!(message.contains("no packet moves any more"), "{message}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_doubled_packet_changes_nothing() {
    let mut struck = [false; KINDS.len()];
    for bench in benches() {
        for (kind, name) in KINDS.into_iter().enumerate() {
            for nth in NUMBERS {
                for later in [0, 300, 20_000] {
                    if let Some(result) = bench.with(kind, nth, PacketFault::Duplicate { later }) {
                        struck[kind] = true;
                        // An error's key says its position modulo 16 only: one that comes a second time
                        // many stretches later may be taken for another, and is found by the marker.
                        if later <= 300 || !(2..5).contains(&kind) {
                            let what = format!("{} {nth}, {later} cycles later", name);
                            assert_eq!(result, Ok(()), "{what}");
                        }
                    }
                }
            }
        }
    }
    assert_eq!(struck, [true; KINDS.len()]);
}

#[test]
fn an_altered_payload_is_found() {
    let mut struck = [false; KINDS.len()];
    for bench in &benches()[..2] {
        for (kind, name) in KINDS.into_iter().enumerate() {
            for bit in 0..32 {
                let fault = PacketFault::Corrupt {
                    bits: Some(1 << bit),
                };
                if let Some(result) = bench.with(kind, 9, fault) {
                    struck[kind] = true;
                    assert!(result.is_err(), "{}, bit {bit}: not found", name);
                }
            }
        }
    }
    // There are fewer than ten packets of the last two kinds; their words are doubled, see below.
    assert_eq!(struck[..6], [true; 6]);
    for bit in 0..32 {
        for (kind, name) in KINDS.into_iter().enumerate().skip(6) {
            let fault = PacketFault::Corrupt {
                bits: Some(1 << bit),
            };
            let result = benches()[0].with(kind, 1, fault);
            assert!(matches!(result, Some(Err(_))), "{}, bit {bit}", name);
        }
    }
}

#[test]
fn many_faults_at_once_end_well_or_with_an_error() {
    let bench = Bench::new(Scheme::Exact, &[2, 1]);
    for fault in [
        PacketFault::Lose,
        PacketFault::Duplicate { later: 400 },
        PacketFault::Corrupt { bits: None },
    ] {
        for probability in [1e-4, 1e-2] {
            let rule = PacketRule::chance(probability, fault);
            let plan = FaultPlan {
                packets: vec![rule],
                ..FaultPlan::default()
            };
            match bench.run(plan).0 {
                Ok(bits) => assert!(bits == bench.right, "{fault:?} at {probability}"),
                Err(message) => assert!(message.contains("PE ("), "{message}"),
            }
        }
    }
}

#[test]
fn a_failed_transfer_is_named() {
    let bench = Bench::new(Scheme::Exact, &[1, 1]);
    for n in 0..60 {
        let plan = FaultPlan {
            transfers: vec![TransferRule::nth(n)],
            ..FaultPlan::default()
        };
        let message = bench.run(plan).0.expect_err("a failed transfer is noticed");
        assert!(
            message.contains("DMA failed: Bus") && message.contains("PE ("),
            "{message}"
        );
    }
}

#[test]
fn a_pe_that_hangs_is_named() {
    let bench = Bench::new(Scheme::Exact, &[1, 1]);
    let placements = Mock::new(bench.setup.clone())
        .unwrap()
        .mapping()
        .placements
        .clone();
    for placement in placements {
        for after_polls in [0, 4, 200] {
            let hang = Hang {
                pe: placement.pe,
                after_polls,
            };
            let (result, _) = bench.run(FaultPlan {
                hangs: vec![hang],
                ..FaultPlan::default()
            });
            match result {
                Ok(bits) => assert!(bits == bench.right),
                Err(message) => {
                    let named = message.contains(&placement.role.to_string());
                    assert!(named, "{} hangs: {message}", placement.role);
                }
            }
        }
    }
}
