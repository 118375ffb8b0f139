//! Several PEs on one chip: packets, sleep, memories, the host's line, seeds, faults.

mod common;

use common::{Output, image, pe};
use s2_emu::{Machine, Options, RunError, State};
use s2_hal::dma::Address;
use s2_hal::mock::Config;
use s2_hal::mock::fault::{FaultPlan, PacketFault, PacketRule};
use s2_hal::topology::PeId;

fn other() -> PeId {
    PeId::new(7, 6, 1).expect("it exists")
}

/// Two PEs that have started and wait for the host.
fn pair(config: Config) -> (Machine, Output) {
    let mut machine = Machine::new(config);
    let image = image("packets");
    let output = Output::default();
    for id in [pe(), other()] {
        let options = Options::default();
        let processor = machine
            .load(id, image.clone(), options)
            .expect("the PE exists");
        processor.set_output(Box::new(output.clone()));
    }
    match machine.run() {
        Err(RunError::Standstill { waiting }) => {
            assert_eq!(waiting.len(), 2);
            assert!(waiting.iter().all(|one| one.state == State::Sleeping));
        }
        end => panic!("{end:?} {}", output.text()),
    }
    machine.chip_mut().periphery().send_to_uart(0, b"hello?");
    machine.chip_mut().periphery().pulse(0);
    (machine, output)
}

/// Runs both to their end. Returns what they printed, and instructions and time.
fn run(config: Config) -> (String, Vec<u64>) {
    let (mut machine, output) = pair(config);
    machine
        .run()
        .unwrap_or_else(|error| panic!("{error} {}", output.text()));
    let uart = machine.chip_mut().periphery().take_from_uart(0);
    assert_eq!(uart, b"HELLO?");
    let mut block = [0; 16];
    let dram = Address::dram(0x1_0000).unwrap();
    machine.chip().read(dram, &mut block).unwrap();
    let mut copy = [0; 16];
    let sram = Address::pe_sram(other(), 0x1_8000).unwrap();
    machine.chip().read(sram, &mut copy).unwrap();
    assert_eq!(block, copy);
    assert_eq!(block[..4], 200_u32.to_le_bytes());
    let reports = machine.reports();
    for report in &reports {
        assert_eq!((report.counters.sent, report.counters.received), (200, 200));
    }
    let mut numbers: Vec<_> = reports
        .iter()
        .map(|report| report.count.instructions)
        .collect();
    numbers.push(machine.chip().now());
    (output.text(), numbers)
}

#[test]
fn two_pes_talk_and_the_same_seed_gives_the_same_run() {
    let with = |seed| {
        run(Config {
            seed,
            ..Config::default()
        })
    };
    let (first, second) = (with(1), with(1));
    assert!(first.0.starts_with("1000 in "), "{}", first.0);
    assert_eq!(first, second);
    // Another order of things, and the same result.
    let third = with(2);
    assert!(third.0.starts_with("1000 in "), "{}", third.0);
    assert_ne!(first.1, third.1);
}

#[test]
fn a_lost_packet_shows_as_a_standstill_that_names_both_ends() {
    let mut faults = FaultPlan::default();
    faults.packets.push(PacketRule::nth(57, PacketFault::Lose));
    let (mut machine, _) = pair(Config {
        faults,
        ..Config::default()
    });
    let error = machine.run().expect_err("somebody waits").to_string();
    for id in [pe(), other()] {
        assert!(
            error.contains(&format!("{id} packets sleeps at 0x")),
            "{error}"
        );
    }
    assert!(error.contains("(packets::"), "{error}");
    assert_eq!(machine.chip().counters().lost, 1);
}

#[test]
fn a_done_program_ends_the_run_and_is_run_again() {
    let (mut machine, _) = pair(Config::default());
    // Asleep, with the word of its vector table that holds the stack pointer: always so.
    for id in [pe(), other()] {
        let processor = machine.processor_mut(id).unwrap();
        processor.set_done(0, |word| word == 0x2_0000);
    }
    machine.run().expect("both sleep at some time");
    let sent = machine.chip().counters().pes.sent;
    assert!(sent < 400);
    while machine
        .processors()
        .any(|processor| processor.state() == State::Sleeping)
    {
        machine.run().expect("they go on");
    }
    assert_eq!(machine.chip().counters().pes.sent, 400);
}
