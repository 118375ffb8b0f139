//! The examples of `bsp`, as they are: what they print is that of the files in `golden`.
//! `UPDATE_GOLDEN=1 cargo test -p s2-emu --test examples` writes these anew.

mod common;

use std::path::Path;

use common::{Output, open, pe, project_program};
use s2_emu::{Machine, Options, RunError, State};
use s2_hal::mock::{Config, FREQUENCY};

/// Compares a program's output with its golden file.
#[track_caller]
fn compare(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, text).expect("the folder can be written");
    }
    let golden = std::fs::read_to_string(&file).expect("every program has its file");
    assert_eq!(text, golden, "{name} printed something else");
}

/// A chip that has one example.
fn load(name: &str, config: Config) -> (Machine, Output) {
    let mut machine = Machine::new(config);
    let output = Output::default();
    let image = open(&project_program(&format!("examples/{name}")));
    let processor = machine.load(pe(), image, Options::default());
    let processor = processor.expect("the PE exists");
    processor.set_output(Box::new(output.clone()));
    (machine, output)
}

#[track_caller]
fn finish(machine: &mut Machine) {
    machine.run().unwrap_or_else(|error| panic!("{error}"));
    let processor = machine.processor(pe()).expect("it was loaded");
    assert_eq!(processor.state(), State::Exited(0));
}

#[test]
fn examples_print_what_they_should() {
    for name in ["packet", "timing", "random", "exp_log"] {
        let (mut machine, output) = load(name, Config::default());
        finish(&mut machine);
        compare(name, &output.text());
    }
}

#[test]
fn uart_echo_answers_and_ends_by_an_empty_line() {
    let (mut machine, output) = load("uart_echo", Config::default());
    // The last line is not read any more.
    let periphery = machine.chip_mut().periphery();
    periphery.send_to_uart(0, b"hello\n\nignored\n");
    finish(&mut machine);
    assert_eq!(output.text(), "");
    let sent = machine.chip_mut().periphery().take_from_uart(0);
    compare("uart_echo", std::str::from_utf8(&sent).expect("text"));
}

#[test]
fn blink_drives_its_pin() {
    let config = Config {
        // A look at the pin every 30 ms.
        time_limit: 30 * u64::from(FREQUENCY) / 1000,
        ..Config::default()
    };
    let (mut machine, output) = load("blink", config);
    let mut levels = Vec::new();
    while let Err(error) = machine.run() {
        assert!(matches!(error, RunError::TimeLimit { .. }), "{error}");
        let pins = machine.chip_mut().periphery().pins();
        assert_eq!(pins & !1, 0, "no other pin changes");
        levels.push(pins);
    }
    // Four times 100 ms.
    assert!((12..=14).contains(&levels.len()), "{levels:?}");
    levels.dedup();
    assert_eq!(levels, [1, 0, 1, 0]);
    compare("blink", &output.text());
}
