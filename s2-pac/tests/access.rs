//! Which accesses a program's calls turn into, over a bus that notes them.

use s2_pac::bus::Bus;
use s2_pac::comms::{Ring, RingConfig, Transmit, TransmitControl};
use s2_pac::jibmgmt::{FeedThrough, FeedThroughSource, JibManagement};
use s2_pac::map;
use s2_pac::nmu::{ExpLog, Kiss};
use s2_pac::register::Value;
use s2_pac::timer::{Prescale, Timer, TimerControl};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    Read(u32),
    Write(u32, u32),
}
use Access::{Read, Write};

/// Notes accesses; every read gives the same word.
struct Notes {
    word: u32,
    accesses: Vec<Access>,
}

impl Notes {
    fn answering(word: u32) -> Self {
        let accesses = Vec::new();
        Self { word, accesses }
    }
}

impl Bus for Notes {
    fn read(&mut self, address: u32) -> u32 {
        self.accesses.push(Read(address));
        self.word
    }

    fn write(&mut self, address: u32, value: u32) {
        self.accesses.push(Write(address, value));
    }
}

#[test]
fn a_call_is_one_access_and_a_change_is_two() {
    let mut bus = Notes::answering(0x0000_0062);
    // SAFETY: the bus is a double.
    let mut timer = unsafe { Timer::at(&mut bus, map::TIMER_2) };
    assert_eq!(timer.base(), map::TIMER_2);
    assert_eq!(timer.value().read(), 0x62);
    timer.load().write(1000);
    timer.control().modify(|control| control.with_enable(true));
    assert_eq!(
        bus.accesses,
        [
            Read(0xe100_0024),
            Write(0xe100_0020, 1000),
            Read(0xe100_0028),
            Write(0xe100_0028, TimerControl::PERIODIC.into_bits()),
        ]
    );
}

#[test]
fn arrays_step_by_their_stride() {
    let mut bus = Notes::answering(0);
    // SAFETY: the bus is a double.
    let mut transmit = unsafe { Transmit::at(&mut bus, map::COMMS_TRANSMIT) };
    transmit.payload_0(0).write(7);
    transmit.key(3).write(8);
    // SAFETY: the bus is a double.
    let mut ring = unsafe { Ring::at(&mut bus, map::COMMS_RING_1) };
    // SAFETY: nothing is behind the double.
    unsafe { ring.read().write_pointer(0x1_0000) };
    ring.config()
        .write(RingConfig::MULTICAST_WITH_PAYLOAD_RESET);
    assert_eq!(
        bus.accesses,
        [
            Write(0xe200_0010, 7),
            Write(0xe200_0074, 8),
            Write(0xe200_014c, 0x1_0000),
            Write(0xe200_0140, 0x0020_0641),
        ]
    );
}

#[test]
#[should_panic(expected = "there is no such register")]
fn an_index_beyond_an_array_reaches_no_register() {
    // SAFETY: the bus is a double.
    let mut transmit = unsafe { Transmit::at(Notes::answering(0), map::COMMS_TRANSMIT) };
    transmit.key(4);
}

#[test]
fn numbers_keep_sign_and_float() {
    // SAFETY: the bus is a double.
    let mut exp = unsafe { ExpLog::at(Notes::answering(-0x8000_i32 as u32), map::EXP_LOG) };
    assert_eq!(exp.log().take(), -0x8000);
    // SAFETY: the bus is a double.
    let mut kiss = unsafe { Kiss::at(Notes::answering(0x3f00_0000), map::KISS64) };
    assert_eq!(kiss.value_float().take(), 0.5);
}

#[test]
fn fields_are_set_and_read_apart() {
    let control = TimerControl::default()
        .with_prescale(Prescale::By256)
        .with_one_shot(true);
    assert_eq!(control.into_bits(), 0b1001);
    let other = TimerControl::from_bits(!0).with_prescale(Prescale::By16);
    assert_eq!(other.into_bits(), !0b1000);
    assert_eq!(other.prescale(), Some(Prescale::By16));
    // The value 3 has no name.
    assert_eq!(TimerControl::from_bits(!0).prescale(), None);

    let uart = FeedThroughSource::Uart0Delimiter;
    let sources = FeedThrough::default().with_line_3(uart);
    assert_eq!(sources.into_bits(), 0xc000_0000);
    assert_eq!(sources.line_3(), Some(uart));
    assert_eq!(sources.line_2(), Some(FeedThroughSource::Software0));

    let mut bus = Notes::answering(0);
    // SAFETY: the bus is a double.
    let mut management = unsafe { JibManagement::at(&mut bus, map::JIB_MANAGEMENT) };
    management.feed_through().write(sources);
    assert_eq!(bus.accesses, [Write(0xf600_0074, 0xc000_0000)]);
}

#[test]
#[should_panic(expected = "the value does not fit the field")]
fn a_number_wider_than_its_field_is_refused() {
    let _ = TransmitControl::default().with_destination_pes(32);
}

#[test]
fn debug_output_shows_bits_and_fields() {
    assert_eq!(
        format!("{:?}", TransmitControl::QUAD_PE_1_1.to_pes(1)),
        "TransmitControl { bits: 0x64a1c700, destination_pes: 8, fixed: 3 }"
    );
}
