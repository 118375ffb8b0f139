//! The emulated processor against two judges: this computer, and QEMU, whose model of a Cortex-M4F board
//! executes the same file. Training a network gives the same bits on all of them.

mod common;
#[path = "firmware/src/training.rs"]
#[allow(dead_code, reason = "shared with the test program")]
mod training;

use std::process::Command;

use common::{machine, pe, program};
use s2_emu::{Options, State};

fn expected() -> String {
    training::train_all()
        .map(|digest| format!("{digest:x?}\n"))
        .concat()
}

#[test]
fn training_gives_the_bits_of_this_computer() {
    let digests = training::train_all();
    assert!(
        digests.iter().all(|digest| digest.count > 200),
        "{digests:?}"
    );
    let (mut machine, output) = machine("training", Options::default());
    machine.run().expect("the program exits");
    assert_eq!(output.text(), expected());
    assert_eq!(machine.processor(pe()).unwrap().state(), State::Exited(0));
}

/// Needs `qemu-system-arm`.
#[test]
fn training_gives_the_bits_of_qemu() {
    let output = Command::new("qemu-system-arm")
        .args([
            "-machine",
            "mps2-an386",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "none",
        ])
        .args(["-chardev", "stdio,id=console"])
        .args([
            "-semihosting-config",
            "enable=on,target=native,chardev=console",
            "-kernel",
        ])
        .arg(program("training"))
        .output()
        .expect("qemu-system-arm is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected());
    assert!(output.status.success());
}
