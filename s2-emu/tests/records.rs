//! What goes wrong for the project's own images is in their records, in words that name the cause.

mod common;

use bsp::command::Command;
use bsp::layout;
use bsp::record::Status;
use bsp::specification::{LAYOUT_HASH, write};
use common::loss::{TIME_OUT_MS, loss, sender, words};
use common::{image, open, pe, project_program, set};
use crc::{CRC_32_ISO_HDLC, Crc};
use eventprop_core::event::{Direction, Envelope, Message, Target, pack};
use eventprop_core::log::Event;
use eventprop_core::program::loss::Loss;
use eventprop_core::program::{Mode, Program, Run};
use s2_emu::{Machine, Options};
use s2_hal::dma::Address;
use s2_hal::mock;
use s2_hal::packet::Packet;

/// Words of the head of a data specification: their places in it.
const VERSION: usize = 1;
const LAYOUT: usize = 2;
const CHECKSUM: usize = 6;
const BODY: usize = 8;

fn put(machine: &mut Machine, offset: u32, bytes: &[u8]) {
    let address = Address::pe_sram(pe(), offset).expect("an address");
    machine.chip_mut().write(address, bytes).expect("memory");
}

/// Starts an image with a data specification and waits until it is ready or has stopped.
fn start(image: &str, specification: &[u32]) -> Machine {
    let mut machine = Machine::new(mock::Config {
        time_limit: 2 * u64::from(TIME_OUT_MS) * u64::from(mock::FREQUENCY) / 1000,
        ..mock::Config::default()
    });
    let image = open(&project_program(image));
    let processor = machine.load(pe(), image, Options::default());
    let processor = processor.expect("the PE exists");
    processor.set_done(layout::RECORD.start, |word| {
        Status::from_word(word).is_some_and(|status| status.is_stopped() || status == Status::Ready)
    });
    let bytes = bytemuck::cast_slice(specification);
    put(&mut machine, layout::SPECIFICATION.start, bytes);
    run(&mut machine);
    machine
}

/// Runs until all have nothing left to do and sleep, which a program that has stopped does too.
#[track_caller]
fn run(machine: &mut Machine) {
    if let Err(error) = machine.run() {
        panic!("{error}");
    }
}

/// Lets the neighbour send `packet` so many times, when the machine runs next.
fn send(machine: &mut Machine, packet: Packet, count: u32) {
    let loaded = machine.load(sender(), image("send"), Options::default());
    loaded.expect("the PE exists");
    set(machine, sender(), "TO", pe().noc_id().into());
    set(machine, sender(), "KEY", packet.key);
    set(machine, sender(), "PAYLOAD", packet.payload.unwrap_or(0));
    set(machine, sender(), "COUNT", count);
}

/// Gives the loss its first command, to look at one sample.
fn command(machine: &mut Machine) {
    let dram = |offset| Address::dram(offset).expect("an address");
    let run = Run {
        mode: Mode::Evaluate,
        samples: 1,
        batch: 1,
        order: dram(0),
        data: dram(0x1000),
        stride: 0x1000,
        results: dram(0x2000),
    };
    let command = Command::new(1, &run);
    let bytes = bytemuck::bytes_of(&command);
    put(machine, layout::COMMAND.start, bytes);
    machine.chip_mut().periphery().pulse(0);
}

/// Checks what the record says.
#[track_caller]
fn expect(machine: &Machine, status: Status, text: &str) {
    let record = machine.record(pe()).expect("the program keeps one");
    assert_eq!(record.to_string(), format!("PE (1,1,2) {text}"));
    assert_eq!(record.status(), Some(status));
}

#[test]
fn a_good_data_specification_is_accepted() {
    expect(&start("loss", &words(10)), Status::Ready, "loss: ready");
}

#[test]
fn bad_data_specifications_are_refused_with_what_is_wrong() {
    let drill = |image: &str, specification: &[u32], text: &str| {
        let machine = start(image, specification);
        let text = format!("{image}: data specification: {text}");
        expect(&machine, Status::BadSpecification, &text);
    };
    let with = |word: usize, value: u32| {
        let mut specification = words(10);
        specification[word] = value;
        specification
    };
    let none = "none found: the first word is 0x00000000 instead of 0xad130ad6";
    for image in ["input", "layer", "loss", "optimizer"] {
        drill(image, &[], none);
    }
    drill(
        "loss",
        &with(VERSION, 0x2_0001),
        "version 2.1 instead of 1.0",
    );
    let other = LAYOUT_HASH ^ 1;
    let text = format!(
        "made by a host with other formats ({other:016x}, this program has {LAYOUT_HASH:016x}); \
         build firmware and host tools from the same sources"
    );
    drill("loss", &with(LAYOUT, other as u32), &text);
    drill("layer", &words(10), "meant for the image loss");
    let sum = words(10)[CHECKSUM];
    let text = format!("damaged: checksum {sum:#010x} instead of 0x00000007");
    drill("loss", &with(CHECKSUM, 7), &text);
}

/// A host does not write such a specification: it is made from two that it does write.
#[test]
fn arrays_that_do_not_fit_are_refused() {
    const OUTPUTS: usize = 4095;
    let body = loss(OUTPUTS);
    let refused = write::<Loss>(&body, &mut [0; 400]).expect_err("it is too large");
    let needed = Loss::memory_bytes(&body.config);
    let available = layout::array_bytes(4 * body.ring_words as usize).expect("the ring fits");
    let text = format!("the program's arrays need {needed} bytes, the PE has {available} for them");
    assert_eq!(refused.to_string(), text);

    let (mut specification, other) = (words(10), words(11));
    let mut differing = (BODY..other.len()).filter(|&word| specification[word] != other[word]);
    let place = differing.next().expect("the number of outputs is in it");
    assert_eq!(differing.next(), None);
    specification[place] = OUTPUTS as u32;
    let body: Vec<u8> = specification[BODY..]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    specification[CHECKSUM] = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&body);
    let machine = start("loss", &specification);
    let text = format!("loss: data specification: {text}");
    expect(&machine, Status::BadSpecification, &text);
}

#[test]
fn a_packet_with_an_unknown_key_is_named() {
    let mut machine = start("loss", &words(10));
    command(&mut machine);
    // A marker for more events than a step can have.
    let packet = Packet {
        key: 0x1000_1fff,
        payload: Some(0),
    };
    send(&mut machine, packet, 1);
    run(&mut machine);
    expect(
        &machine,
        Status::Fault,
        "loss: packet with key 0x10001fff is of no known kind, or its payload was altered \
         (run 1, step 0)",
    );
}

#[test]
fn a_receive_ring_that_overflows_is_reported() {
    let body = loss(10);
    let mut machine = start("loss", &words(10));
    // Harmless in any number, if the ring had room for it. Each takes two words, and some may still be
    // under way when the run ends.
    let packet = pack(Envelope {
        direction: Direction::Downstream,
        source: sender().noc_id(),
        target: Target::All,
        message: Message::Acknowledge { position: 0 },
    });
    send(&mut machine, packet, 4 * body.ring_words);
    run(&mut machine);
    expect(&machine, Status::Ready, "loss: ready");
    command(&mut machine);
    run(&mut machine);
    expect(
        &machine,
        Status::Fault,
        "loss: the receive ring overflowed and packets were lost (run 1, step 0)",
    );
}

#[test]
fn who_waits_too_long_says_for_what() {
    let mut machine = start("loss", &words(10));
    command(&mut machine);
    // A spike, but never the marker that ends its step.
    let packet = pack(Envelope {
        direction: Direction::Downstream,
        source: sender().noc_id(),
        target: Target::All,
        message: Message::Spike {
            position: 0,
            index: 0,
            event: Event {
                neuron: 3,
                offset: 17,
            },
        },
    });
    send(&mut machine, packet, 1);
    run(&mut machine);
    let source = sender().noc_id();
    let text = format!(
        "loss: waited too long for the marker of position 0 from source {source} (events of it that \
         have arrived: 1) (run 1, step 0)"
    );
    expect(&machine, Status::TimeOut, &text);
}
