//! Random legal experiments, the ends of all ranges among them, give the same bits in this process and on the
//! model of the chip, without a panic. `RANDOM_EXPERIMENTS=1000` runs more of them.

use eventprop_tests::legal::{compare, count};
use host_tools::experiment::BackendKind;

#[test]
fn the_same_bits_on_the_model_of_the_chip() {
    let count = count(400);
    let compared = compare(0..count, |case| {
        case.on(|backend| backend.kind = BackendKind::Mock)
    });
    eprintln!("{compared} of {count} experiments compared");
    // The others have more spikes than the PEs that they are given have memory for.
    assert!(compared >= count - count / 10, "{compared} of {count}");
}
