//! Programs that do what no program should: each ends in a message that names PE, program, place and
//! cause.

mod common;

use common::{machine, pe, set};
use s2_emu::{Cause, Options, RunError, State};

/// Runs drill `number` and returns the message, without the addresses of code.
fn drill(number: u32, options: Options) -> String {
    let (mut machine, _) = machine("faults", options);
    set(&mut machine, pe(), "DRILL", number);
    let error = machine.run().expect_err("the program fails");
    error.to_string()
}

#[track_caller]
fn expect(message: &str, parts: &[&str]) {
    let mut rest = message;
    for part in parts {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => panic!("{part:?} is missing in {message:?}"),
        }
    }
}

#[test]
fn wild_pointers_are_named() {
    expect(
        &drill(1, Options::default()),
        &[
            "PE (1,1,2) faults: read of 0xc0000004 (no register), which has no known effect, at 0x",
            "(faults::wild_read+0x",
            "link register 0x",
            "(faults::__cortex_m_rt_main+0x",
        ],
    );
    expect(
        &drill(3, Options::default()),
        &["PE (1,1,2) faults: jump to 0x00040000, where no code is, at 0x00040000 (no function)"],
    );
}

#[test]
fn unknown_registers_are_named() {
    expect(
        &drill(2, Options::default()),
        &[
            "PE (1,1,2) faults: write to 0xe2000abc (no register), which has no known effect, at 0x",
            "(faults::unknown_register+0x",
        ],
    );
    expect(
        &drill(10, Options::default()),
        &[
            "write to 0xe1000000 (LOAD of TIMER_1), which has no known effect (by 2 bytes; registers \
             are accessed by words), at 0x",
            "(faults::half_register+0x",
        ],
    );
}

#[test]
fn stack_overflows_are_named() {
    // Into a region that the program has protected.
    expect(
        &drill(4, Options::default()),
        &[
            "PE (1,1,2) faults: stack overflow: write to 0x000100",
            ", which memory protection forbids (region 0), at 0x",
            "(faults::overflow+0x",
        ],
    );
    // Into the program's statics.
    expect(
        &drill(5, Options::default()),
        &[
            "PE (1,1,2) faults: stack overflow: the stack pointer is 0x0000",
            " below the end of the stack at 0x0000",
            "(faults::overflow+0x",
        ],
    );
}

#[test]
fn endless_loops_are_named() {
    let options = Options {
        patience: 1_000_000,
        ..Options::default()
    };
    expect(
        &drill(6, options),
        &[
            "PE (1,1,2) faults: no progress: 1000",
            " instructions without sleeping",
            "(faults::endless_loop+0x",
        ],
    );
}

#[test]
fn bad_instructions_are_named() {
    expect(
        &drill(7, Options::default()),
        &[
            "undefined instruction 0xde01, at 0x",
            "(faults::undefined+0x",
        ],
    );
    expect(
        &drill(8, Options::default()),
        &[
            "floating-point instruction while the unit is off (CPACR), at 0x",
            "faults::",
        ],
    );
    expect(
        &drill(9, Options::default()),
        &["breakpoint instruction 3, at 0x"],
    );
    expect(
        &drill(14, Options::default()),
        &[
            "jump to an address without the Thumb bit, at 0x",
            "(faults::wild_read+0x0)",
        ],
    );
    expect(
        &drill(15, Options::default()),
        &[
            "unaligned access by an instruction that forbids it, at 0x",
            "(faults::unaligned+0x",
        ],
    );
    expect(
        &drill(16, Options::default()),
        &["stack frame of an exception at 0x9fffffe0, where no memory is, at 0x"],
    );
}

#[test]
fn a_standstill_says_who_sleeps_where() {
    expect(
        &drill(12, Options::default()),
        &[
            "standstill",
            ": PE (1,1,2) faults sleeps at 0x",
            "(faults::sleep_for_ever+0x",
        ],
    );
}

#[test]
fn programs_may_handle_faults() {
    // One that the program has a handler for, and enabled.
    let (mut machine, output) = machine("faults", Options::default());
    set(&mut machine, pe(), "DRILL", 11);
    let result = machine.run();
    assert_eq!(output.text(), "");
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(machine.processor(pe()).unwrap().state(), State::Exited(1));
}

#[test]
fn faults_are_delivered_if_wanted() {
    for (number, function) in [(1, "wild_read"), (2, "unknown_register"), (7, "undefined")] {
        let options = Options {
            deliver_faults: true,
            ..Options::default()
        };
        let (mut machine, output) = machine("faults", options);
        set(&mut machine, pe(), "DRILL", number);
        machine.run().expect("the handler ends the program");
        let processor = machine.processor(pe()).unwrap();
        assert_eq!(processor.state(), State::Exited(99));
        let text = output.text();
        let at = text.trim().strip_prefix("hard fault at 0x").expect(&text);
        let at = u32::from_str_radix(at, 16).unwrap();
        let place = processor.image().symbols().describe(at);
        assert!(place.contains(function), "{place}");
    }
}

#[test]
fn panics_are_printed() {
    let (mut machine, output) = machine("faults", Options::default());
    set(&mut machine, pe(), "DRILL", 13);
    machine.run().expect("the program exits");
    assert!(output.text().contains("drill 13"));
    assert_eq!(machine.processor(pe()).unwrap().state(), State::Exited(101));
}

#[test]
fn causes_are_data() {
    let (mut machine, _) = machine("faults", Options::default());
    set(&mut machine, pe(), "DRILL", 7);
    match machine.run() {
        Err(RunError::Fault(fault)) => {
            assert_eq!(fault.pe, pe());
            assert_eq!(fault.cause, Cause::UndefinedInstruction { code: 0xde01 });
        }
        other => panic!("{other:?}"),
    }
}
