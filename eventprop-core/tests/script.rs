//! The input and the loss program against a strict scripted double of their PE: every DMA transfer,
//! every packet, and the order of both.
//!
//! Packets are put together here by the table in [`eventprop_core::event`], not by the functions that
//! the programs use.

use eventprop_core::event::{Checksum, MAX_NEIGHBOURS};
use eventprop_core::log::Event;
use eventprop_core::loss::{SILENT, Silence, TimeToFirstSpike};
use eventprop_core::program::input::{self, Input, sample};
use eventprop_core::program::loss::{self, Loss, SampleResult};
use eventprop_core::program::memory::Region;
use eventprop_core::program::stream::{Neighbours, Routing};
use eventprop_core::program::{
    Fault, Mode, Portable, Program as _, Progress, Run, Status, Waiting, spike_hash,
};
use s2_hal::dma::{self, Address, Block};
use s2_hal::math::SoftwareExpLog;
use s2_hal::mock::script::{Script, Target};
use s2_hal::packet::{self, Packet};
use s2_hal::topology::Destination;

/// Numbers of the PEs: the program's own, its neighbour's, the optimiser's.
const OWN: u32 = 1;
const NEIGHBOUR: u32 = 2;
const OPTIMIZER: u32 = 9;

/// Steps of a sample for the input: more than one marker can say. And for the loss.
const STEPS: usize = 70;
const LOSS_STEPS: usize = 4;
const TICK_BITS: u32 = 8;
const WINDOW: usize = 2;

/// Numbers of the samples of a run, and what stands behind them in memory.
const ORDER: [u32; 4] = [5, 2, 77, 77];
const STRIDE: u32 = 16;

fn run(mode: Mode) -> Run {
    Run {
        mode,
        samples: 2,
        batch: 2,
        order: dram(0x1000),
        data: dram(0x2000),
        stride: STRIDE,
        results: dram(0x3000),
    }
}

fn dram(offset: u32) -> Address {
    Address::dram(offset).unwrap()
}

/// Expects that the number of a sample and the sample are read.
fn reads_sample(script: Script, number: u32, words: [u32; 4]) -> Script {
    script
        .dma_read(dram(0x1000), &ORDER)
        .dma_read(dram(0x2000 + number * STRIDE), &words)
}

const UPSTREAM: u32 = 1 << 31;
/// Where packets go: to the only neighbour, to the optimiser, or to all neighbours.
const TO_ONE: u32 = 0;
const TO_OPTIMIZER: u32 = 14;
const TO_ALL: u32 = 15;

fn packet(kind: u32, source: u32, target: u32, tag: u32, payload: u32) -> Packet {
    Packet {
        key: kind << 28 | source << 20 | target << 16 | tag,
        payload: Some(payload),
    }
}

fn upstream(packet: Packet) -> Packet {
    Packet {
        key: UPSTREAM | packet.key,
        ..packet
    }
}

fn spike(source: u32, position: u32, index: u32, event: Event) -> Packet {
    let payload = position << 21 | index << 9 | u32::from(event.offset);
    packet(0, source, TO_ALL, event.neuron.into(), payload)
}

/// The marker of a stretch of so many steps with these events.
fn marker(source: u32, target: u32, position: u32, steps: u32, over: &[Packet]) -> Packet {
    let mut sum = Checksum::NEW;
    over.iter().for_each(|&packet| sum.add(packet));
    let payload = position << 25 | (steps - 1) << 19 | sum.finish(position, steps as u8);
    packet(1, source, target, over.len() as u32, payload)
}

/// An acknowledgement (5), a report that gradients are ready (6), or the release of weights (7).
fn control(kind: u32, source: u32, target: u32, number: u16) -> Packet {
    let payload = u32::from(!number) << 16 | u32::from(number);
    packet(kind, source, target, 0, payload)
}

fn event(neuron: u16, offset: u16) -> Event {
    Event { neuron, offset }
}

/// Polls until nothing more can be done, which must be when the script ends.
fn play(
    mut script: Script,
    mut poll: impl FnMut(&mut Script) -> Result<Progress, Fault>,
) -> Progress {
    for _ in 0..100 {
        match poll(&mut script).unwrap() {
            Progress::Worked => {}
            end => {
                script.done();
                return end;
            }
        }
    }
    panic!("100 polls, and no end");
}

/// Memory that something else was in before.
fn memory(bytes: usize) -> Vec<Block> {
    let mut memory = vec![Block::default(); bytes.div_ceil(size_of::<Block>())];
    bytemuck::cast_slice_mut::<_, u8>(&mut memory).fill(0xA5);
    memory
}

fn region<T: bytemuck::Pod>(memory: &[Block], region: Region<T>) -> &[T] {
    let bytes = &bytemuck::cast_slice::<_, u8>(memory)[region.offset..][..region.bytes()];
    bytemuck::cast_slice(bytes)
}

fn input_config() -> input::Config {
    input::Config {
        source: OWN as u8,
        downstream: Neighbours::new(&[NEIGHBOUR as u8], Routing::Router).unwrap(),
        replica: 0,
        replicas: 1,
        steps: STEPS,
        tick_bits: TICK_BITS,
        channels: 1,
        events_per_step: 2,
        sample_bytes: STRIDE as usize,
        window: WINDOW,
    }
}

#[test]
fn input_sends_stretches_within_its_window() {
    let config = input_config();
    let layout = config.layout();
    let mut memory = memory(layout.bytes);
    let mut input = Input::new(config).unwrap();
    input
        .start(run(Mode::Train), bytemuck::cast_slice_mut(&mut memory))
        .unwrap();
    let mut go = |input: &mut Input, script: Script| {
        play(script, |pe| {
            input.poll(&Portable, bytemuck::cast_slice_mut(&mut memory), pe)
        })
    };
    let to = || Target::Router;

    // The first two stretches of the first sample, with a transmitter that is busy in the middle of the
    // first: what was sent before is not repeated. The last stretch ends with the sample, and has to
    // wait.
    let first = [
        sample::head(3, 0),
        sample::event(0, event(0, 10)),
        sample::event(0, event(0, 256)),
        sample::event(9, event(0, 7)),
    ];
    let second = [sample::head(1, 1), sample::event(69, event(0, 0)), 0, 0];
    let step_0 = [
        spike(OWN, 0, 0, event(0, 10)),
        spike(OWN, 0, 1, event(0, 256)),
    ];
    let step_9 = [spike(OWN, 1, 0, event(0, 7))];
    // The formats themselves, once.
    assert_eq!(
        step_0[1],
        Packet {
            key: 0x001F_0000,
            payload: Some(0x300)
        }
    );
    let end_0 = marker(OWN, TO_ALL, 0, 1, &step_0);
    let end_9 = marker(OWN, TO_ALL, 1, 9, &step_9);
    assert_eq!(end_9.key, 0x101F_0001);
    assert_eq!(end_9.payload.map(|payload| payload >> 19), Some(1 << 6 | 8));
    let script = reads_sample(Script::new(), ORDER[0], first)
        .send(to(), step_0[0])
        .send_busy()
        .send_busy()
        .send(to(), step_0[1])
        .send_busy()
        .send(to(), end_0)
        .send(to(), step_9[0])
        .send(to(), end_9);
    assert_eq!(go(&mut input, script), Progress::Idle);
    let waiting = |acknowledged, position| Waiting::Acknowledgement {
        source: NEIGHBOUR as u8,
        acknowledged,
        position,
    };
    assert_eq!(input.waiting(), waiting(0, 2));

    // One stretch is acknowledged, so one more is sent: the quiet end of the sample. Saying it twice
    // changes nothing.
    let acknowledge = |position| upstream(control(5, NEIGHBOUR, TO_ONE, position));
    let script = Script::new()
        .receive(acknowledge(1))
        .send(to(), marker(OWN, TO_ALL, 2, 60, &[]));
    let script = reads_sample(script, ORDER[1], second);
    assert_eq!(go(&mut input, script), Progress::Idle);
    let script = Script::new().receive(acknowledge(1));
    assert_eq!(go(&mut input, script), Progress::Idle);
    assert_eq!(input.waiting(), waiting(1, 3));

    // The only event of the second sample comes later than one marker can say.
    let step_69 = [spike(OWN, 4, 0, event(0, 0))];
    let script = Script::new()
        .receive(acknowledge(3))
        .send(to(), marker(OWN, TO_ALL, 3, 64, &[]))
        .send(to(), step_69[0])
        .send(to(), marker(OWN, TO_ALL, 4, 6, &step_69));
    assert_eq!(go(&mut input, script), Progress::Done);
    assert_eq!(input.waiting(), Waiting::Nothing);

    let hashes = [(0, 10), (0, 256), (0, 9 * 256 + 7), (1, 69 * 256)]
        .map(|(sample, ticks)| spike_hash(sample, 0, 0, ticks));
    let expected = Status {
        spikes: 4,
        spike_digest: hashes.iter().fold(0, |sum, hash| sum.wrapping_add(*hash)),
        packets: [4, 0, 5],
        ..Status::NEW
    };
    assert_eq!(region(&memory, layout.status), [expected]);
}

#[test]
fn input_stops_with_the_right_fault() {
    let acknowledge = |position| upstream(control(5, NEIGHBOUR, TO_ONE, position));
    let stranger = upstream(control(5, NEIGHBOUR + 1, TO_ONE, 0));
    let altered = Packet {
        payload: Some(7),
        ..acknowledge(1)
    };
    let damaged = [
        sample::head(1, 0),
        sample::event(0, event(1, 0)), // There is no channel 1.
        0,
        0,
    ];
    for (script, expected) in [
        (
            // Nothing was sent yet that could be acknowledged.
            Script::new().receive(acknowledge(1)),
            Fault::BeyondWindow {
                source: NEIGHBOUR as u8,
                expected: 0,
                ahead: 1,
            },
        ),
        (
            Script::new().receive(stranger),
            Fault::UnexpectedPacket { key: stranger.key },
        ),
        (
            Script::new().receive(altered),
            Fault::UnknownPacket { key: altered.key },
        ),
        (
            Script::new().receive_error(packet::ErrorKind::Overrun),
            Fault::RingOverrun,
        ),
        (
            Script::new().dma_fails(dma::Direction::Read, dram(0x1000), 16, dma::ErrorKind::Bus),
            Fault::Dma(dma::ErrorKind::Bus),
        ),
        (
            reads_sample(Script::new(), ORDER[0], damaged),
            Fault::BadSample { sample: ORDER[0] },
        ),
    ] {
        let config = input_config();
        let mut memory = memory(config.layout().bytes);
        let mut input = Input::new(config).unwrap();
        let mut script = script;
        input
            .start(run(Mode::Evaluate), bytemuck::cast_slice_mut(&mut memory))
            .unwrap();
        let fault = input.poll(
            &Portable,
            bytemuck::cast_slice_mut(&mut memory),
            &mut script,
        );
        assert_eq!(fault, Err(expected));
        script.done();
    }
}

/// Constants of the loss: two times in ms, and a factor.
const TAU0: f64 = 0.5;
const TAU1: f64 = 6.4;
const ALPHA: f64 = 0.003;

fn time_to_first_spike() -> TimeToFirstSpike {
    let tick_ms = 1.0 / f64::from(1 << TICK_BITS);
    let end = (LOSS_STEPS as u32) << TICK_BITS;
    TimeToFirstSpike::new(TAU0, TAU1, ALPHA, tick_ms, end, Silence::default()).unwrap()
}

/// A loss PE that reaches the PE before it and the optimiser directly; their places.
fn loss_config() -> (loss::Config, [Target; 2]) {
    let place = |x, y, pe: u8| Destination { x, y, pes: 1 << pe };
    let nowhere = place(1, 1, 0);
    let (neighbour, optimizer) = (place(2, 3, 1), place(4, 2, 3));
    let mut one = [nowhere; MAX_NEIGHBOURS];
    one[0] = neighbour;
    let routing = Routing::Direct {
        one,
        all: one,
        all_len: 1,
        optimizer,
    };
    let mut upstream_events = [0; MAX_NEIGHBOURS];
    upstream_events[0] = 3;
    let config = loss::Config {
        source: OWN as u8,
        upstream: Neighbours::new(&[NEIGHBOUR as u8], routing).unwrap(),
        upstream_events,
        replica: 0,
        replicas: 1,
        steps: LOSS_STEPS,
        tick_bits: TICK_BITS,
        outputs: 2,
        loss: time_to_first_spike(),
        window: WINDOW,
    };
    (
        config,
        [neighbour, optimizer].map(|place| Target::Direct(vec![place])),
    )
}

/// An error for the neighbour's event `index` of the step at `position`.
fn error(position: u32, index: u32, value: i32) -> Packet {
    let tag = position << 12 | index;
    upstream(packet(2, OWN, TO_ONE, tag, value.cast_unsigned()))
}

#[test]
fn loss_collects_first_spikes_and_sends_errors() {
    let (config, [neighbour, optimizer]) = loss_config();
    let to = || neighbour.clone();
    let layout = config.layout();
    let mut memory = memory(layout.bytes);
    let mut loss = Loss::new(config).unwrap();
    loss.start(run(Mode::Train), bytemuck::cast_slice_mut(&mut memory))
        .unwrap();
    let mut go = |loss: &mut Loss, script: Script| {
        play(script, |pe| {
            loss.poll(&Portable, bytemuck::cast_slice_mut(&mut memory), pe)
        })
    };
    let acknowledge = |position| upstream(control(5, OWN, TO_ONE, position));
    let end = |position, over: &[Packet]| upstream(marker(OWN, TO_ONE, position, 1, over));

    // The label's output spikes twice in the first step and again in the last, behind whose first event
    // the other output spikes for the first time. Packets of both stretches come in any order, one of
    // them twice, and one is late.
    let step_0 = [
        spike(NEIGHBOUR, 0, 0, event(1, 200)),
        spike(NEIGHBOUR, 0, 1, event(1, 250)),
    ];
    let step_1 = [
        spike(NEIGHBOUR, 1, 0, event(1, 3)),
        spike(NEIGHBOUR, 1, 1, event(0, 40)),
    ];
    let script = Script::new()
        .receive(marker(NEIGHBOUR, TO_ALL, 1, 3, &step_1))
        .receive(step_1[1])
        .receive(step_0[1])
        .receive(step_0[1])
        .receive(marker(NEIGHBOUR, TO_ALL, 0, 1, &step_0))
        .receive(step_1[0]);
    assert_eq!(go(&mut loss, script), Progress::Idle);
    let late = Waiting::Events {
        source: NEIGHBOUR as u8,
        position: 0,
        announced: 2,
        arrived: 1,
    };
    assert_eq!(loss.waiting(), late);

    let first = [3 * 256 + 40, 200];
    let (mut errors, mut saturations) = ([0; 2], 0);
    let outcome = time_to_first_spike().evaluate(
        &mut SoftwareExpLog,
        &first,
        1,
        &mut errors,
        &mut saturations,
    );
    let [t0, t1] = first.map(|ticks| f64::from(ticks) / 256.0);
    let p0 = 1.0 / (1.0 + ((t0 - t1) / TAU0).exp());
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 2e-4, "{found}, {expected}");
    };
    near(f64::from(errors[0]) / f64::from(1 << 18), -p0 / TAU0);
    near(
        f64::from(errors[1]) / f64::from(1 << 18),
        p0 / TAU0 + ALPHA / TAU1 * (t1 / TAU1).exp(),
    );
    let expected_loss = -(1.0 - p0).ln() + ALPHA * ((t1 / TAU1).exp() - 1.0);
    near(outcome.loss as f64 / 32768.0, expected_loss);

    // Stretches are acknowledged once a window of them is consumed, busy transmitter or not. The backward
    // pass starts at the last step with events, and its errors name the events that they are for: the
    // second of that step, then the first of the one before.
    let result = SampleResult {
        loss: outcome.loss,
        prediction: 1,
        label: 1,
        flags: SampleResult::CORRECT | SampleResult::CORRECT_WITH_TIES,
    };
    let (error_0, error_1) = (error(0, 1, errors[0]), error(1, 0, errors[1]));
    let script = Script::new().receive(step_0[0]).send_busy();
    let script = reads_sample(script, ORDER[0], [sample::head(0, 1), 0, 0, 0])
        .dma_write(dram(0x3000), &[result])
        .send(to(), acknowledge(2))
        .send(to(), error_0)
        .send_busy()
        .send(to(), end(0, &[error_0]))
        .send_busy()
        .send(to(), error_1)
        .send(to(), end(1, &[error_1]));
    assert_eq!(go(&mut loss, script), Progress::Idle);
    let missing = |position| Waiting::Marker {
        source: NEIGHBOUR as u8,
        position,
        arrived: 0,
    };
    assert_eq!(loss.waiting(), missing(2));

    // The label's output of the second sample is silent: nothing to send but a marker for each step with
    // events, and those not before the first sample's are acknowledged.
    let step_1 = [spike(NEIGHBOUR, 2, 0, event(1, 5))];
    let step_2 = [spike(NEIGHBOUR, 3, 0, event(1, 6))];
    let script = Script::new()
        .receive(step_1[0])
        .receive(marker(NEIGHBOUR, TO_ALL, 2, 2, &step_1))
        .receive(step_2[0])
        .receive(marker(NEIGHBOUR, TO_ALL, 3, 1, &step_2))
        .send(to(), acknowledge(4));
    assert_eq!(go(&mut loss, script), Progress::Idle);
    assert_eq!((loss.step(), loss.waiting()), (3, missing(4)));
    let constant = 2_f64.ln() + ALPHA * ((LOSS_STEPS as f64 / TAU1).exp() - 1.0);
    let result = SampleResult {
        loss: (constant * 32768.0).round() as i64,
        prediction: 1,
        label: 0,
        flags: SampleResult::LABEL_SILENT,
    };
    let script = Script::new().receive(marker(NEIGHBOUR, TO_ALL, 4, 1, &[]));
    let script = reads_sample(script, ORDER[1], [sample::head(0, 0), 0, 0, 0])
        .dma_write(dram(0x3010), &[result])
        .send(to(), acknowledge(5));
    assert_eq!(go(&mut loss, script), Progress::Idle);
    let blocked = |acknowledged, position| Waiting::Acknowledgement {
        source: NEIGHBOUR as u8,
        acknowledged,
        position,
    };
    assert_eq!(loss.waiting(), blocked(0, 2));

    let script = Script::new()
        .receive(control(5, NEIGHBOUR, TO_ONE, 1))
        .send(to(), end(2, &[]));
    assert_eq!(go(&mut loss, script), Progress::Idle);
    assert_eq!(loss.waiting(), blocked(1, 3));

    // The minibatch is over: that is told to the optimiser, whose answer ends the run.
    let script = Script::new()
        .receive(control(5, NEIGHBOUR, TO_ONE, 2))
        .send(to(), end(3, &[]))
        .send_busy()
        .send(optimizer, upstream(control(6, OWN, TO_OPTIMIZER, 1)));
    assert_eq!(go(&mut loss, script), Progress::Idle);
    assert_eq!(loss.waiting(), Waiting::Weights { minibatch: 0 });
    let script = Script::new().receive(control(7, OPTIMIZER, TO_ALL, 1));
    assert_eq!(go(&mut loss, script), Progress::Done);

    let expected = Status {
        packets: [0, 2, 8],
        ignored_packets: 1,
        ..Status::NEW
    };
    assert_eq!(region(&memory, layout.status), [expected]);
    assert_eq!(region(&memory, layout.silent_labels)[..2], [1, 0]);
    let last = region(&memory, layout.first);
    assert_eq!((last[0].ticks, last[1].ticks), (SILENT, 256 + 5));
}

#[test]
fn loss_stops_with_the_right_fault() {
    let source = NEIGHBOUR as u8;
    let of_step = |position| spike(NEIGHBOUR, position, 0, event(0, 9));
    let wrong_sum = {
        let right = marker(NEIGHBOUR, TO_ALL, 0, 1, &[of_step(0)]);
        Packet {
            payload: right.payload.map(|payload| payload ^ 1),
            ..right
        }
    };
    for (packets, expected) in [
        (
            vec![of_step(0), wrong_sum],
            Fault::Checksum {
                source,
                position: 0,
            },
        ),
        (
            vec![of_step(0), spike(NEIGHBOUR, 0, 0, event(0, 10))],
            Fault::Conflict {
                source,
                position: 0,
            },
        ),
        (
            vec![of_step(WINDOW as u32)],
            Fault::BeyondWindow {
                source,
                expected: 0,
                ahead: WINDOW as i32,
            },
        ),
        (
            vec![spike(NEIGHBOUR, 0, 3, event(0, 9))],
            Fault::IndexOutOfRange {
                source,
                index: 3,
                limit: 3,
            },
        ),
        (
            vec![of_step(0), marker(NEIGHBOUR, TO_ALL, 0, 1, &[])],
            Fault::TooManyEvents {
                source,
                position: 0,
                announced: 0,
                arrived: 1,
            },
        ),
        (
            vec![
                marker(NEIGHBOUR, TO_ALL, 0, 1, &[]),
                marker(NEIGHBOUR, TO_ALL, 1, 4, &[]),
            ],
            Fault::BeyondSample {
                source,
                position: 1,
                end: LOSS_STEPS + 1,
            },
        ),
        {
            let strange = spike(NEIGHBOUR, 0, 0, event(2, 9));
            (
                vec![strange, marker(NEIGHBOUR, TO_ALL, 0, 1, &[strange])],
                Fault::EventOutOfRange {
                    source,
                    neuron: 2,
                    offset: 9,
                },
            )
        },
    ] {
        let (config, _) = loss_config();
        let mut memory = memory(config.layout().bytes);
        let mut loss = Loss::new(config).unwrap();
        loss.start(run(Mode::Train), bytemuck::cast_slice_mut(&mut memory))
            .unwrap();
        let mut script = packets.into_iter().fold(Script::new(), Script::receive);
        let fault = loss.poll(
            &Portable,
            bytemuck::cast_slice_mut(&mut memory),
            &mut script,
        );
        assert_eq!(fault, Err(expected));
        script.done();
    }
}
