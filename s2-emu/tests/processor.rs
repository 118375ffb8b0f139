//! What programs see of the processor.

mod common;

use common::{machine, pe};
use s2_emu::{Options, State};

#[test]
fn programs_compute_and_print() {
    let (mut machine, output) = machine("hello", Options::default());
    machine.run().expect("the program exits");
    // The sum was computed by a PC's floating point, in the same order.
    let sum = (1..=1000_u16).fold(0.0_f32, |sum, term| sum + 1.0 / f32::from(term));
    let expected = format!(
        "sum {:#010x}\nroot {:#010x}\nproduct -121932631112635269\n",
        sum.to_bits(),
        2.0_f32.to_bits()
    );
    assert_eq!(output.text(), expected);
    assert_eq!(machine.processor(pe()).unwrap().state(), State::Exited(7));
}

/// The program checks itself: interrupts that nest by priority while floating-point registers are in
/// use, masks, the order of pending exceptions, sleep.
#[test]
fn interrupts_come_and_go() {
    let (mut machine, output) = machine("interrupts", Options::default());
    machine.run().expect("the program exits");
    assert_eq!(output.text(), "done\n");
    assert_eq!(machine.processor(pe()).unwrap().state(), State::Exited(0));
}

#[test]
fn slices_change_nothing_that_a_program_computes() {
    for slice in [1, 17, 100_000] {
        let options = Options {
            slice,
            ..Options::default()
        };
        let (mut machine, output) = machine("interrupts", options);
        machine.run().expect("the program exits");
        assert_eq!(output.text(), "done\n", "slices of {slice}");
    }
}

#[test]
fn instructions_are_counted_by_phase() {
    // Words of the vector table, which do not change, and of a counter, which does.
    let (machine, _) = machine("interrupts", Options::default());
    let symbols = machine.processor(pe()).unwrap().image().symbols().clone();
    let counter = symbols.value("PHASE").expect("the program has it");
    for (word, phases) in [(0, vec![0x2_0000]), (counter, (0..=3).collect())] {
        let options = Options {
            phase_word: Some(word),
            ..Options::default()
        };
        let (mut machine, _) = common::machine("interrupts", options);
        machine.run().expect("the program exits");
        let processor = machine.processor(pe()).unwrap();
        let counts = processor.phases();
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), phases);
        let sum: u64 = counts.values().map(|count| count.instructions).sum();
        assert_eq!(sum, processor.count().instructions);
    }
}

#[test]
fn instructions_are_counted_by_function_and_by_call_path() {
    let options = Options {
        call_paths: true,
        ..Options::default()
    };
    let (mut machine, _) = machine("interrupts", options);
    machine.run().expect("the program exits");
    let processor = machine.processor(pe()).unwrap();
    let functions = processor.functions();
    let sum: u64 = functions.iter().map(|function| function.instructions).sum();
    assert_eq!(sum, processor.count().instructions);
    let cycles: u64 = functions
        .iter()
        .map(|function| function.estimated_cycles)
        .sum();
    assert_eq!(cycles, processor.count().estimated_cycles);
    assert_eq!(functions[0].name, "interrupts::compute");

    let stacks = processor.folded_stacks();
    let counts = stacks
        .lines()
        .map(|line| line.rsplit_once(' ').expect("path and count"));
    let sum: u64 = counts
        .clone()
        .map(|(_, count)| count.parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, processor.count().instructions);
    let path = |names: &[&str]| {
        let wanted = format!("PE (1,1,2) interrupts;{}", names.join(";"));
        counts.clone().any(|(path, _)| path == wanted)
    };
    let main = [
        "Reset",
        "main",
        "interrupts::__cortex_m_rt_main",
        "interrupts::compute",
    ];
    assert!(path(&main), "{stacks}");
    // A handler that interrupted it.
    let handler = [&main[..], &["TIMER_INT1", "interrupts::compute"]].concat();
    assert!(path(&handler), "{stacks}");
    // One that came right behind another one.
    assert!(path(&[&main[..3], &["TIMER_INT1"]].concat()), "{stacks}");
    assert!(!stacks.contains("PendSV;"), "{stacks}");
    let used = processor.stack_used();
    assert!((300..2000).contains(&used), "{used} bytes of stack");
}
