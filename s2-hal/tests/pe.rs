//! The drivers of a PE against the two doubles of its bus. Runs under Miri.
//!
//! The scripts hold the sequences of accesses that are public; the behaving registers check what comes
//! of them.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use embedded_hal::digital::{InputPin, OutputPin, StatefulOutputPin};
use proptest::prelude::*;
use s2_hal::dma::{self, Address, Aligned, Block, JobError};
use s2_hal::math::{ExpLog, I1F31, I17F15, SoftwareExpLog};
use s2_hal::mock::FREQUENCY;
use s2_hal::mock::bus::Script;
use s2_hal::mock::registers::Bench;
use s2_hal::packet::{Error, ErrorKind, Fanout, Packet, PacketReceiver, PacketSender};
use s2_hal::pe::gpio::{NoSuchPin, Pins};
use s2_hal::pe::{
    Clock, Delay, ExpLogUnit, Generator, IterationsError, Operand, Outcome, PacketError, Pe,
    Peripherals, PipelineFull, REFERENCE_CLOCK, Receiver, RingSizeError, Sender, Ticker,
    WindowCopy,
};
use s2_hal::rng::{Kiss64, Rng};
use s2_hal::timer::{DelayNs, Ticks};
use s2_hal::topology::{Destination, PeId};
use s2_pac::bus::Bus;
use s2_pac::comms::ring_end;
use s2_pac::map::{COMMS, EXP_LOG, JIB_MANAGEMENT, TIMER_1};

const TRANSMIT_CONTROL: u32 = COMMS;
const PAYLOAD: u32 = COMMS + 0x10;
const KEY: u32 = COMMS + 0x14;
const TRANSMIT_STATUS: u32 = COMMS + 0x7c;
const RECEIVE_SETTINGS: u32 = COMMS + 0x9c;
const GLOBAL_CONTROL: u32 = COMMS + 0xfc;
const RING: u32 = COMMS + 0x100;
const RING_READ: u32 = RING + 0x0c;
const RING_WORDS: u32 = RING + 0x18;
const RING_DROPPED: u32 = RING + 0x20;
const RING_RESET: u32 = 0x0020_0641;
const READY: u32 = 1 << 31;

fn here() -> PeId {
    PeId::new(1, 1, 2).unwrap()
}

/// PEs of the QuadPE whose encoding is public.
fn quad_pe(pes: u8) -> Destination {
    Destination { x: 1, y: 1, pes }
}

const fn packet(key: u32) -> Packet {
    Packet {
        key,
        payload: Some(key ^ 0xffff),
    }
}

/// The script with what a sender does before it sends to PEs of QuadPE (1,1).
fn choose(script: Script, pes_from_the_left: u32) -> Script {
    script
        .writes(TRANSMIT_CONTROL, 0x6481_c700 | pes_from_the_left << 18)
        .writes(TRANSMIT_STATUS, 0xe)
}

#[test]
fn sending_follows_the_public_procedure() {
    let script = choose(Script::new(), 0b1000).reads(TRANSMIT_STATUS, 0);
    let script = choose(script, 0b1000)
        .reads(TRANSMIT_STATUS, READY)
        .writes(PAYLOAD, 7 ^ 0xffff)
        .writes(KEY, 7);
    // The second of the list is waited for.
    let script = choose(script, 0b0011)
        .reads(TRANSMIT_STATUS, 0)
        .reads(TRANSMIT_STATUS, READY)
        .writes(PAYLOAD, 7 ^ 0xffff)
        .writes(KEY, 7);
    let script = choose(script, 0b1000)
        .reads(TRANSMIT_STATUS, READY)
        .writes(KEY, 8);
    let mut sender = Sender::new(Peripherals::with_bus(script.clone()).transmit);
    let list = [quad_pe(0b0001), quad_pe(0b1100)];
    let to = Fanout::Direct(&list);
    assert_eq!(sender.try_send(to, packet(7)), Err(nb::Error::WouldBlock));
    assert_eq!(sender.try_send(to, packet(7)), Ok(()));
    let bare = Packet {
        key: 8,
        payload: None,
    };
    assert_eq!(sender.try_send(Fanout::Direct(&list[..1]), bare), Ok(()));
    // What cannot be sent leaves the registers alone, also behind what can.
    let router = sender.try_send(Fanout::Router, bare);
    assert_eq!(router, Err(nb::Error::Other(PacketError::RouterNotPublic)));
    let nowhere = quad_pe(0);
    assert_eq!(
        sender.try_send(Fanout::Direct(&[list[0], nowhere]), bare),
        Err(nb::Error::Other(PacketError::NoSuchDestination(nowhere)))
    );
    script.done();
}

#[test]
fn packets_reach_their_destinations_though_the_transmitter_is_busy() {
    let bench = Bench::new(here());
    let mut sender = Sender::new(Peripherals::with_bus(bench.clone()).transmit);
    bench.set_transmit_cycles(100);
    let list = [quad_pe(0b1010), quad_pe(0b0001)];
    sender.try_send(Fanout::Direct(&list), packet(1)).unwrap();
    let mut refused = 0;
    while sender.try_send(Fanout::Direct(&list[..1]), packet(2)) == Err(nb::Error::WouldBlock) {
        refused += 1;
    }
    assert!(refused > 5);
    assert_eq!(
        bench.take_sent(),
        [
            (list[0], packet(1)),
            (list[1], packet(1)),
            (list[0], packet(2))
        ]
    );
}

#[test]
#[cfg_attr(miri, ignore = "slow, and safe code")]
fn a_transmitter_that_is_stuck_is_no_endless_loop() {
    let bench = Bench::new(here());
    let mut sender = Sender::new(Peripherals::with_bus(bench.clone()).transmit);
    bench.set_transmit_cycles(u64::MAX / 2);
    let list = [quad_pe(1), quad_pe(2)];
    let stuck = sender.try_send(Fanout::Direct(&list), packet(3));
    let error = PacketError::Stuck { sent: 1 };
    assert_eq!(stuck, Err(nb::Error::Other(error)));
    assert_eq!(error.kind(), ErrorKind::Other);
}

#[test]
fn only_one_quad_pe_is_public() {
    let elsewhere = PeId::new(3, 2, 1).unwrap().destination();
    let bench = Bench::new(here());
    let mut sender = Sender::new(Peripherals::with_bus(bench.clone()).transmit);
    let result = sender.try_send(Fanout::Direct(&[elsewhere]), packet(1));
    if cfg!(feature = "provisional") {
        assert_eq!(result, Ok(()));
        assert_eq!(bench.take_sent(), [(elsewhere, packet(1))]);
    } else {
        let error = PacketError::NotPublic(elsewhere);
        assert_eq!(result, Err(nb::Error::Other(error)));
        assert_eq!(bench.take_sent(), []);
    }
}

/// A receiver on a bench, with a ring of so many blocks.
fn receiver(bench: &Bench, blocks: usize) -> Receiver<Bench> {
    let mut peripherals = Peripherals::with_bus(bench.clone());
    // SAFETY: the receiver exposes its pointer, by which it reads what has arrived.
    let memory = unsafe { bench.memory(blocks) };
    Receiver::new(
        peripherals.ring_0,
        &mut peripherals.receive,
        &mut peripherals.global,
        memory,
    )
    .unwrap()
}

/// What starting a ring of 8 words at `base` does.
fn start_of_ring(base: u32) -> Script {
    Script::new()
        .writes(RING, 0)
        .writes(RECEIVE_SETTINGS, 0x01f0_0000)
        .writes(RING + 0x04, base)
        .writes(RING + 0x08, ring_end(base, 8))
        .writes(RING_READ, base)
        .reads(GLOBAL_CONTROL, 0x800)
        .writes(GLOBAL_CONTROL, 0x804)
        .writes(RING + 0x10, base)
        .reads(GLOBAL_CONTROL, 0x804)
        .writes(GLOBAL_CONTROL, 0x800)
        .reads(RING_DROPPED, 3)
        .writes(RING + 0x3c, 0xf)
        .writes(RING, RING_RESET)
}

/// Memory for a ring that a test frees again, as a pointer and a reference.
fn two_blocks(words: [u32; 8]) -> (*mut [Block; 2], &'static mut [Block]) {
    let blocks: [Block; 2] = bytemuck::cast(words);
    let raw = Box::into_raw(Box::new(blocks));
    // SAFETY: the box was given up; it is freed after the last use of the reference.
    (raw, unsafe { &mut *raw })
}

#[test]
fn receiving_commits_once_per_batch_and_before_sending() {
    let words: Vec<u32> = (1..=4).flat_map(|key| [key ^ 0xffff, key]).collect();
    let (raw, memory) = two_blocks(words.try_into().unwrap());
    let base = memory.as_ptr().addr() as u32;
    let mut script = start_of_ring(base)
        .writes(TIMER_1 + 0x08, 0)
        .writes(TIMER_1, u32::MAX)
        .writes(TIMER_1 + 0x0c, u32::MAX)
        .writes(TIMER_1 + 0x08, 0x82);
    // Nothing waits; then half a packet, which is not there yet.
    for words in [0, 1] {
        script = script.reads(RING_WORDS, words).reads(RING_DROPPED, 3);
    }
    // Two packets and a half. The next look finds the rest of the third, and that one was dropped.
    script = script
        .reads(RING_WORDS, 5)
        .reads(RING_DROPPED, 3)
        .reads(RING_WORDS, 6)
        .writes(RING_READ, base + 16)
        .writes(RING, RING_RESET)
        .reads(RING_DROPPED, 4);
    // The third and the fourth, and a packet that is sent after the first of them.
    script = script
        .reads(RING_WORDS, 4)
        .reads(RING_DROPPED, 4)
        .writes(RING_READ, base + 24)
        .writes(RING, RING_RESET);
    script = choose(script, 0b1000)
        .reads(TRANSMIT_STATUS, READY)
        .writes(PAYLOAD, 9 ^ 0xffff)
        .writes(KEY, 9)
        .reads(RING_WORDS, 2)
        .writes(RING_READ, base)
        .writes(RING, RING_RESET)
        .reads(RING_DROPPED, 4);
    // All words of the ring: not taken in one batch, since the pointer would not move.
    script = script
        .reads(RING_WORDS, 8)
        .reads(RING_DROPPED, 4)
        .reads(RING_WORDS, 6)
        .writes(RING_READ, base + 24)
        .writes(RING, RING_RESET)
        .reads(RING_DROPPED, 4)
        .writes(RING, 0)
        .writes(RING + 0x3c, 0);
    let mut peripherals = Peripherals::with_bus(script.clone());
    let receiver = Receiver::new(
        peripherals.ring_0,
        &mut peripherals.receive,
        &mut peripherals.global,
        memory,
    )
    .unwrap();
    let clock = Clock::new(peripherals.timer_1, 1);
    let mut pe = Pe {
        sender: Sender::new(peripherals.transmit),
        receiver,
        channel: WindowCopy::new(peripherals.window, here()),
        clock,
    };
    assert_eq!(pe.try_receive(), Err(nb::Error::WouldBlock));
    assert_eq!(pe.try_receive(), Err(nb::Error::WouldBlock));
    assert_eq!(pe.try_receive(), Ok(packet(1)));
    assert_eq!(pe.try_receive(), Ok(packet(2)));
    let overrun = pe.try_receive();
    assert_eq!(overrun, Err(nb::Error::Other(PacketError::Overrun)));
    assert_eq!(pe.try_receive(), Ok(packet(3)));
    pe.try_send(Fanout::Direct(&[quad_pe(1)]), packet(9))
        .unwrap();
    assert_eq!(pe.try_receive(), Ok(packet(4)));
    assert_eq!(pe.try_receive(), Err(nb::Error::WouldBlock));
    for key in 1..=3 {
        assert_eq!(pe.try_receive(), Ok(packet(key)));
    }
    assert_eq!(pe.try_receive(), Err(nb::Error::WouldBlock));
    drop(pe);
    script.done();
    // SAFETY: made by `Box::into_raw`; the receiver is gone, and no hardware exists.
    drop(unsafe { Box::from_raw(raw) });
}

#[test]
fn a_ring_without_memory_is_refused_and_given_back() {
    let script = Script::new();
    let mut peripherals = Peripherals::with_bus(script.clone());
    let (error, _ring, memory) = Receiver::new(
        peripherals.ring_0,
        &mut peripherals.receive,
        &mut peripherals.global,
        &mut [],
    )
    .unwrap_err();
    assert_eq!((error, memory.len()), (RingSizeError { blocks: 0 }, 0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive,
    Receive,
    Commit,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 6 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever the order in which packets arrive and are taken: what was not dropped comes out once, in
    /// order; drops are told; a ring that was emptied takes packets again.
    #[test]
    fn a_ring_is_a_queue(
        blocks in 1_usize..5,
        steps in prop::collection::vec(
            prop_oneof![5 => Just(Step::Arrive), 4 => Just(Step::Receive), 1 => Just(Step::Commit)],
            0..if cfg!(miri) { 60 } else { 300 },
        ),
    ) {
        let bench = Bench::new(here());
        let mut receiver = receiver(&bench, blocks);
        let mut queue = VecDeque::new();
        let mut key = 0;
        let mut dropped = false;
        for step in steps.into_iter().chain([Step::Receive; 40]) {
            match step {
                Step::Arrive => {
                    key += 1;
                    if bench.receive(packet(key)) {
                        queue.push_back(packet(key));
                        prop_assert!(2 * queue.len() < 4 * blocks);
                    } else {
                        dropped = true;
                    }
                }
                Step::Receive => match receiver.try_receive() {
                    Ok(packet) => prop_assert_eq!(Some(packet), queue.pop_front()),
                    Err(nb::Error::WouldBlock) => {
                        prop_assert!(queue.is_empty() && !dropped);
                        // Nothing is left in the ring, so there is room.
                        prop_assert!(bench.receive(packet(0)));
                        prop_assert_eq!(receiver.try_receive(), Ok(packet(0)));
                    }
                    Err(nb::Error::Other(error)) => {
                        prop_assert_eq!(error.kind(), ErrorKind::Overrun);
                        prop_assert!(std::mem::take(&mut dropped));
                    }
                },
                Step::Commit => receiver.commit(),
            }
        }
        prop_assert!(queue.is_empty());
    }
}

#[test]
fn words_are_copied_through_the_window() {
    let elsewhere = PeId::new(7, 6, 0).unwrap();
    let remote = Address::pe_sram(elsewhere, 0x100).unwrap();
    let mut script = Script::new();
    for word in 0..4 {
        script = script.reads(remote.0 + 4 * word, 10 + word);
    }
    for word in 0..4 {
        script = script.writes(remote.0 + 16 + 4 * word, 10 + word);
    }
    let mut channel = WindowCopy::new(Peripherals::with_bus(script.clone()).window, here());
    let mut words = Aligned([0_u32; 4]);
    dma::copy::read(&mut channel, remote, &mut words[..]).unwrap();
    assert_eq!(words.0, [10, 11, 12, 13]);
    dma::copy::write(&mut channel, &words[..], remote.checked_add(16).unwrap()).unwrap();
    script.done();
    // Refused without an access.
    let own = Address::pe_sram(here(), 0x100).unwrap();
    assert_eq!(
        dma::copy::read(&mut channel, own, &mut words[..]),
        Err(JobError::OwnMemory)
    );
    let reserved = dma::copy::read(&mut channel, Address::dram(0).unwrap(), &mut words[..]);
    assert!(matches!(reserved, Err(JobError::Refused(_))));
}

/// A copy there and back, and one that is given up on the way.
fn copy_there_and_back(bench: &Bench, channel: &mut impl dma::Channel<Error = JobError>) {
    const WORDS: usize = 1024;
    // SAFETY: a channel gets the memory by a pointer derived from the borrow that it is lent, which it
    // exposes; nothing else accesses it until the channel is done.
    let memory = unsafe { bench.memory(WORDS / 2) };
    let (from, to) = bytemuck::cast_slice_mut::<Block, u32>(memory).split_at_mut(WORDS);
    for (value, word) in (1..).zip(from.iter_mut()) {
        *word = value * 0x9e37;
    }
    let remote = Address::dram(0x1_0000).unwrap();
    dma::copy::write(channel, from, remote).unwrap();
    dma::copy::read(channel, remote, to).unwrap();
    assert_eq!(from, to);
    let last = remote.0 + 4 * (WORDS as u32 - 1);
    assert_eq!(bench.clone().read(last), from[WORDS - 1]);

    let local = to.as_mut_ptr().cast::<u8>();
    // SAFETY: nothing else uses the memory until the job is over.
    unsafe { channel.start(dma::Direction::Read, local, remote, 4 * WORDS) }.unwrap();
    assert_eq!(channel.poll(), Err(nb::Error::WouldBlock));
    // SAFETY: refused, so nothing happens to the memory.
    let second = unsafe { channel.start(dma::Direction::Read, local, remote, 16) };
    assert_eq!(second, Err(JobError::Busy));
    channel.abort();
    assert_eq!(channel.poll(), Ok(()));
}

#[test]
fn the_window_copies_memory() {
    let bench = Bench::new(here());
    let window = Peripherals::with_bus(bench.clone()).window;
    copy_there_and_back(&bench, &mut WindowCopy::new(window, here()));
}

#[test]
fn a_delay_waits_long_enough() {
    let script = Script::new()
        .writes(TIMER_1 + 0x08, 0)
        .writes(TIMER_1, 6)
        .writes(TIMER_1 + 0x0c, u32::MAX)
        .writes(TIMER_1 + 0x08, 0x82)
        .reads(TIMER_1 + 0x10, 0)
        .reads(TIMER_1 + 0x10, 1)
        .writes(TIMER_1 + 0x08, 0);
    let mut delay = Delay::new(
        Peripherals::with_bus(script.clone()).timer_1,
        REFERENCE_CLOCK,
    );
    delay.delay_ns(4_001);
    script.done();

    let bench = Bench::new(here());
    let mut delay = Delay::new(
        Peripherals::with_bus(bench.clone()).timer_2,
        REFERENCE_CLOCK,
    );
    for us in [0, 1, 7] {
        let before = bench.now();
        delay.delay_us(us);
        let cycles = bench.now() - before;
        let microsecond = u64::from(FREQUENCY / 1_000_000);
        let least = u64::from(us) * microsecond;
        assert!((least..least + 3 * microsecond).contains(&cycles), "{us}");
    }
}

#[test]
fn the_clock_counts_over_several_rounds() {
    let bench = Bench::new(here());
    let mut clock = Clock::new(
        Peripherals::with_bus(bench.clone()).timer_1,
        REFERENCE_CLOCK,
    );
    let start = clock.now();
    let tick = u64::from(FREQUENCY / REFERENCE_CLOCK);
    for quarter in 1..=20 {
        bench.pass(tick << 30);
        assert_eq!(clock.now() - start, quarter << 30);
    }
    assert_eq!(clock.frequency(), REFERENCE_CLOCK);
}

#[test]
fn the_clock_does_not_go_back_at_the_end_of_a_round() {
    let raw = TIMER_1 + 0x10;
    let value = TIMER_1 + 0x04;
    let clear = TIMER_1 + 0x0c;
    let script = Script::new()
        .writes(TIMER_1 + 0x08, 0)
        .writes(TIMER_1, u32::MAX)
        .writes(clear, u32::MAX)
        .writes(TIMER_1 + 0x08, 0x82)
        // Just before.
        .reads(raw, 0)
        .reads(value, 1)
        .reads(raw, 0)
        // The round ends between the looks at the value and at the interrupt.
        .reads(raw, 0)
        .reads(value, 1)
        .reads(raw, 1)
        .writes(clear, u32::MAX)
        .reads(value, 0)
        .reads(raw, 0)
        .reads(value, u32::MAX)
        .reads(raw, 0)
        // The end of the next one shows in the value first.
        .reads(raw, 0)
        .reads(value, 0)
        .reads(raw, 0)
        .reads(raw, 1)
        .writes(clear, u32::MAX)
        .reads(value, u32::MAX)
        .reads(raw, 0);
    let mut clock = Clock::new(Peripherals::with_bus(script.clone()).timer_1, 1);
    const ROUND: u64 = 1 << 32;
    assert_eq!(clock.now(), ROUND - 1);
    assert_eq!(clock.now(), ROUND);
    assert_eq!(clock.now(), ROUND + 1);
    assert_eq!(clock.now(), ROUND + 1);
    assert_eq!(clock.now(), 2 * ROUND + 1);
    script.done();
}

#[test]
fn a_ticker_ticks_and_tells_missed_deadlines() {
    let script = Script::new()
        .writes(TIMER_1 + 0x08, 0)
        .writes(TIMER_1, 10)
        .writes(TIMER_1 + 0x0c, u32::MAX)
        .writes(TIMER_1 + 0x08, 0xe2)
        .reads(TIMER_1 + 0x10, 0)
        .reads(TIMER_1 + 0x10, 1)
        .writes(TIMER_1 + 0x0c, u32::MAX)
        .writes(TIMER_1 + 0x08, 0)
        .writes(TIMER_1 + 0x0c, u32::MAX);
    let period = NonZeroU32::new(10).unwrap();
    let mut ticker = Ticker::new(Peripherals::with_bus(script.clone()).timer_1, period);
    assert_eq!(ticker.wait(), Err(nb::Error::WouldBlock));
    assert_eq!(ticker.wait(), Ok(()));
    drop(ticker);
    script.done();

    let bench = Bench::new(here());
    let mut ticker = Ticker::new(Peripherals::with_bus(bench.clone()).timer_1, period);
    let cycles = 10 * u64::from(FREQUENCY / REFERENCE_CLOCK);
    let start = bench.now();
    for tick in 1..=3 {
        nb::block!(ticker.wait()).unwrap();
        assert!((0..100).contains(&(bench.now() - start - tick * cycles + 50)));
        assert!(!ticker.missed());
    }
    assert_eq!(bench.interrupts() & 0b111, 0);
    bench.pass(2 * cycles);
    assert!(ticker.missed());
    assert_eq!(bench.interrupts() & 0b111, 0b101);
    ticker.wait().unwrap();
    drop(ticker);
    bench.pass(cycles);
    assert_eq!(bench.interrupts() & 0b111, 0);
}

#[test]
fn exponentials_come_in_the_order_of_their_operands() {
    let bench = Bench::new(here());
    let (error, registers) =
        ExpLogUnit::new(Peripherals::with_bus(bench.clone()).exp_log, 17).unwrap_err();
    assert_eq!(error, IterationsError(17));
    let mut unit = ExpLogUnit::new(registers, 16).unwrap();
    assert_eq!(bench.clone().read(EXP_LOG + 0x18), 16);
    let x = |value: f64| I17F15::from_num(value);
    let half = I1F31::from_num(-0.5);
    let first = [
        Operand::Exp(x(1.5)),
        Operand::Ln(x(7.0)),
        Operand::ExpFraction(half),
        Operand::Exp(x(-3.0)),
    ];
    for operand in first {
        unit.push(operand).unwrap();
    }
    assert_eq!(unit.push(Operand::Ln(x(2.0))), Err(PipelineFull));
    assert_eq!(unit.pop(), Some(Outcome::Exp(SoftwareExpLog.exp(x(1.5)))));
    unit.push(Operand::Ln(x(2.0))).unwrap();
    assert_eq!(unit.pop(), Some(Outcome::Ln(SoftwareExpLog.ln(x(7.0)))));
    let fraction = SoftwareExpLog.exp_fraction(x(-0.5));
    assert_eq!(unit.pop(), Some(Outcome::ExpFraction(fraction)));
    assert_eq!(unit.pop(), Some(Outcome::Exp(SoftwareExpLog.exp(x(-3.0)))));
    assert_eq!(unit.pop(), Some(Outcome::Ln(SoftwareExpLog.ln(x(2.0)))));
    assert_eq!(unit.pop(), None);

    // The trait, with a result left in the pipeline, at and around the ends of the formats.
    unit.push(Operand::Exp(x(5.0))).unwrap();
    let step = I17F15::DELTA;
    for x in [
        I17F15::MIN,
        x(-1.0) - step,
        x(-1.0),
        -step,
        I17F15::ZERO,
        step,
        x(3.25),
        I17F15::from_bits(363_408),
        I17F15::from_bits(363_409),
        I17F15::MAX,
    ] {
        assert_eq!(unit.exp(x), SoftwareExpLog.exp(x), "{x}");
        assert_eq!(unit.exp_fraction(x), SoftwareExpLog.exp_fraction(x), "{x}");
        assert_eq!(unit.ln(x), SoftwareExpLog.ln(x), "{x}");
    }
    // From where the driver saturates, the exact result does.
    let below = libm::exp(f64::from(363_408) / 32768.0);
    let above = libm::exp(f64::from(363_409) / 32768.0);
    assert!(below < 65536.0 && above > 65536.0);
}

#[test]
fn random_numbers_are_those_of_the_software_form() {
    let bench = Bench::new(here());
    let mut peripherals = Peripherals::with_bus(bench.clone());
    assert_eq!((peripherals.pe(), peripherals.chip()), (Some(here()), 0));
    let mut hardware = Generator::for_pe(peripherals.kiss64, 0, here());
    let mut software = Kiss64::for_pe(0, here().noc_id());
    for _ in 0..100 {
        assert_eq!(hardware.next_u32(), software.next_u32());
    }
    assert_eq!(hardware.next_u64(), software.next_u64());
    let (mut a, mut b) = ([0; 7], [0; 7]);
    hardware.fill_bytes(&mut a);
    software.fill_bytes(&mut b);
    assert_eq!(a, b);
    // The three generators are apart.
    let mut other = Generator::with_seeds(peripherals.kiss32_1, [1, 2, 3, 4]);
    assert_ne!(other.next_u32(), other.next_u32());
    assert_eq!(hardware.next_u32(), software.next_u32());
}

#[test]
fn pins_are_read_and_driven_one_by_one() {
    let bench = Bench::new(here());
    let pins = Pins::new(Peripherals::with_bus(bench.clone()).management);
    assert_eq!(pins.input(16).unwrap_err(), NoSuchPin(16));
    let mut led = pins.output(3).unwrap();
    let mut other = pins.output(0).unwrap();
    let mut button = pins.input(15).unwrap();
    led.set_high().unwrap();
    other.set_high().unwrap();
    other.toggle().unwrap();
    assert_eq!(bench.clone().read(JIB_MANAGEMENT + 0x60), 0b1001);
    bench.periphery(|periphery| {
        assert_eq!(periphery.pins(), 0b1000);
        periphery.set_pins(1 << 15 | 1);
    });
    assert_eq!(bench.periphery(|p| p.pins()), 1 << 15 | 0b1000);
    assert_eq!(button.is_high(), Ok(true));
    assert_eq!(led.is_set_high(), Ok(true));
    assert_eq!(other.is_set_low(), Ok(true));
    led.set_low().unwrap();
    // A pin that is an input again is not driven.
    let mut other = pins.input(0).unwrap();
    assert_eq!(other.is_high(), Ok(true));
    assert_eq!(button.is_low(), Ok(false));
}

/// All that a program of the training asks of a PE.
fn echo(
    pe: &mut (
             impl PacketSender<Error = PacketError>
             + PacketReceiver
             + dma::Channel<Error = JobError>
             + ExpLog
             + Ticks
         ),
) -> Result<Packet, nb::Error<PacketError>> {
    let before = pe.now();
    let mut words = Aligned([pe.exp(I17F15::ZERO).to_bits(); 4]);
    let remote = Address::dram(0x400).unwrap();
    dma::copy::write(pe, &words[..], remote).unwrap();
    words.0 = [0; 4];
    dma::copy::read(pe, remote, &mut words[..]).unwrap();
    assert_eq!(words[3], I17F15::ONE.to_bits());
    assert!(pe.now() >= before);
    pe.try_send(Fanout::Direct(&[here().destination()]), packet(77))?;
    nb::block!(pe.try_receive()).map_err(nb::Error::Other)
}

#[test]
fn a_bundle_is_all_that_programs_need() {
    let bench = Bench::new(here());
    let peripherals = Peripherals::with_bus(bench.clone());
    let mut pe = Pe {
        sender: Sender::new(peripherals.transmit),
        receiver: receiver(&bench, 2),
        channel: WindowCopy::new(peripherals.window, here()),
        clock: Clock::new(peripherals.timer_1, REFERENCE_CLOCK),
    };
    assert_eq!(echo(&mut pe), Ok(packet(77)));
}

/// Drivers that rest on inferred encodings.
#[cfg(feature = "provisional")]
mod provisional {
    use std::convert::Infallible;

    use embedded_io::{ReadReady, Write, WriteReady};
    use s2_hal::pe::NocCopy;
    use s2_hal::pe::interrupt::{Line, NoSuchPe};
    use s2_hal::pe::uart::{Config, ConfigError, FlowControl, Uart};
    use s2_hal::serial::{Read, uart};
    use s2_pac::map::{COMMS_NOC_DMA, UART_1};

    use super::*;

    #[test]
    fn the_engine_copies_memory() {
        let bench = Bench::new(here());
        let registers = Peripherals::with_bus(bench.clone()).noc_dma;
        copy_there_and_back(&bench, &mut NocCopy::new(registers, here()));
    }

    #[test]
    fn a_job_of_the_engine_that_fails_is_told() {
        let remote = Address::dram(0x400).unwrap();
        let mut words = Aligned([0_u32; 4]);
        let local = words.as_ptr().addr() as u32;
        let script = Script::new()
            .writes(COMMS_NOC_DMA, local)
            .writes(COMMS_NOC_DMA + 0x04, remote.0)
            .writes(COMMS_NOC_DMA + 0x08, 16)
            .writes(COMMS_NOC_DMA + 0x3c, 1)
            .reads(COMMS_NOC_DMA + 0x14, 0b01)
            .reads(COMMS_NOC_DMA + 0x14, 0b10)
            .reads(COMMS_NOC_DMA + 0x10, 0b01);
        let registers = Peripherals::with_bus(script.clone()).noc_dma;
        let mut channel = NocCopy::new(registers, here());
        assert_eq!(
            dma::copy::read(&mut channel, remote, &mut words[..]),
            Err(JobError::Bus { remote })
        );
        script.done();
    }

    const LINE: Config = Config {
        two_stop_bits: false,
        parity: true,
        flow_control: Some(FlowControl::ActiveLow),
        clock_divider: 26,
    };

    #[test]
    fn a_uart_waits_until_its_byte_is_taken() {
        let script = Script::new()
            .writes(UART_1 + 0x04, 26)
            .writes(UART_1, 0b11100)
            .reads(UART_1 + 0x0c, 0x100)
            .reads(UART_1 + 0x0c, 0)
            .writes(UART_1 + 0x0c, 0x17a)
            .reads(UART_1 + 0x08, 0x7b)
            .reads(UART_1 + 0x08, 0x17c);
        let registers = Peripherals::with_bus(script.clone()).uart_1;
        let wrong = Config {
            clock_divider: 0,
            ..LINE
        };
        let (error, registers) = Uart::new(registers, &wrong).unwrap_err();
        assert_eq!(error, ConfigError);
        let mut uart = Uart::new(registers, &LINE).unwrap();
        let would_block: nb::Result<(), Infallible> = Err(nb::Error::WouldBlock);
        assert_eq!(uart::Write::write(&mut uart, b'z'), would_block);
        assert_eq!(uart::Write::write(&mut uart, b'z'), Ok(()));
        assert_eq!(uart::Read::read(&mut uart), Err(nb::Error::WouldBlock));
        assert_eq!(uart::Read::read(&mut uart), Ok(b'|'));
        script.done();
    }

    #[test]
    fn a_uart_is_a_port() {
        let bench = Bench::new(here());
        let mut port = Uart::new(Peripherals::with_bus(bench.clone()).uart_1, &LINE).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(port.read_ready(), Ok(false));
        bench.periphery(|periphery| periphery.send_to_uart(1, b"hello"));
        assert_eq!(port.read_ready(), Ok(true));
        assert_eq!(port.read(&mut buffer), Ok(4));
        assert_eq!(&buffer, b"hell");
        assert_eq!(port.read(&mut buffer), Ok(1));
        assert_eq!(buffer[0], b'o');
        assert_eq!(port.read(&mut []), Ok(0));
        let before = bench.now();
        assert_eq!(port.write_ready(), Ok(true));
        port.write_all(b"world").unwrap();
        assert_eq!(port.write_ready(), Ok(false));
        port.flush().unwrap();
        assert!(bench.now() - before >= 5 * 10 * 26);
        assert_eq!(bench.periphery(|p| p.take_from_uart(1)), b"world");
    }

    #[test]
    fn feed_through_lines_are_enabled_for_one_pe() {
        let bench = Bench::new(here());
        let mut masks = Peripherals::with_bus(bench.clone()).feed_through;
        masks.enable(here(), &[Line::Start, Line::Third]).unwrap();
        let neighbour = PeId::new(1, 1, 3).unwrap();
        masks.enable(neighbour, &[Line::Reset]).unwrap();
        let router = PeId { x: 4, y: 3, pe: 0 };
        assert_eq!(masks.enable(router, &[]), Err(NoSuchPe(router)));
        bench.periphery(|periphery| (0..4).for_each(|line| periphery.pulse(line)));
        assert_eq!(bench.interrupts() >> 23, 0b1001);
        masks.enable(here(), &[]).unwrap();
        bench.periphery(|periphery| periphery.pulse(0));
        assert_eq!(bench.interrupts() >> 23, 0);
    }

    #[test]
    fn processors_are_held_and_let_go() {
        let bench = Bench::new(here());
        let mut cores = Peripherals::with_bus(bench.clone()).cores;
        let neighbour = PeId::new(1, 1, 3).unwrap();
        let held =
            |pe| bench.periphery(|periphery| (periphery.is_held(pe), periphery.take_release(pe)));
        // SAFETY: the processors are a table's.
        let mut set = |pe, hold| unsafe { cores.set_held(pe, hold) };
        set(neighbour, true).unwrap();
        assert_eq!(held(neighbour), (true, false));
        assert_eq!(held(here()), (false, false));
        set(neighbour, false).unwrap();
        assert_eq!(held(neighbour), (false, true));
        assert_eq!(held(neighbour), (false, false));
        set(neighbour, true).unwrap();
        let router = PeId { x: 4, y: 3, pe: 0 };
        assert_eq!(set(router, true), Err(NoSuchPe(router)));
        assert_eq!(cores.is_held(neighbour), Ok(true));
        assert_eq!(cores.is_held(here()), Ok(false));
        assert_eq!(cores.is_held(router), Err(NoSuchPe(router)));
    }
}
