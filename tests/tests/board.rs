//! The backend `board`, against the server of real boards over UDP: the same bits as in this process.

use std::path::Path;

use eventprop_tests::board::{model_board, write_images};
use eventprop_tests::identity::{bits, experiment, on};
use host_tools::backend::board::Board;
use host_tools::backend::{Backend as _, LayerGradient};
use host_tools::experiment::{BackendKind, Experiment, Routing, Scheme};
use host_tools::link::Unobserved;
use host_tools::training::{Plan, State};
use s2_hal::mock::fault::{FaultPlan, PacketFault, PacketRule};

fn on_board(experiment: &Experiment, port: &str, images: &Path) -> Experiment {
    on(experiment, |backend| {
        backend.kind = BackendKind::Board;
        backend.port = Some(port.to_owned());
        backend.replicas = 2;
        backend.routing = Routing::Direct;
        backend.firmware = images.to_owned();
    })
}

fn direct(experiment: &Experiment) -> Experiment {
    on(experiment, |backend| backend.kind = BackendKind::Direct)
}

fn images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_images(folder.path());
    folder
}

#[test]
fn the_same_bits_whatever_the_line_loses() {
    let images = images();
    for (scheme, lose_one_in) in [(Scheme::Exact, 0), (Scheme::Grid, 50)] {
        let board = model_board(FaultPlan::default(), lose_one_in);
        let mut experiment = experiment(scheme, &[20]);
        experiment.backend.layer_pes = vec![2, 1];
        let reference = bits(&direct(&experiment));
        let found = bits(&on_board(&experiment, board.port(), images.path()));
        assert!(
            found == reference,
            "{scheme}: other bits than in this process"
        );
    }
}

/// What one minibatch makes of weights that are on the board already.
#[test]
fn a_loaded_board_can_be_worked_with_later() {
    let images = images();
    let board = model_board(FaultPlan::default(), 0);
    let experiment = experiment(Scheme::Exact, &[12]);
    let plan = Plan::new(on_board(&experiment, board.port(), images.path())).unwrap();
    let setup = plan.setup();
    let attach = || Board::attach(&setup, Box::new(Unobserved));
    let error = attach().err().unwrap().to_string();
    assert!(error.contains("eventprop board load"), "{error}");
    drop(Board::new(&setup, Box::new(Unobserved)).unwrap());
    let weights = State::new(&plan).weights;
    attach().unwrap().set_weights(&weights).unwrap();
    let mut backend = attach().unwrap();
    assert_eq!(backend.weights().unwrap(), weights);
    let minibatch = |backend: &mut dyn host_tools::backend::Backend| {
        let order: Vec<u32> = (0..32).collect();
        let tally = backend.train(&order, 32).unwrap();
        let gradients: Vec<LayerGradient> = backend.gradients().unwrap();
        (tally, gradients, backend.weights().unwrap())
    };
    let found = minibatch(&mut backend);
    let mut reference =
        host_tools::backend::build(Plan::new(direct(&experiment)).unwrap().setup()).unwrap();
    reference.set_weights(&weights).unwrap();
    assert!(found == minibatch(reference.as_mut()));
    // A second minibatch on another connection goes on with commands and counts.
    drop(backend);
    assert!(minibatch(&mut attach().unwrap()) == minibatch(reference.as_mut()));

    // Other data or another network are told apart.
    let mut other = experiment.clone();
    other.dataset.train_seed += 1;
    let plan = Plan::new(on_board(&other, board.port(), images.path())).unwrap();
    let error = Board::attach(&plan.setup(), Box::new(Unobserved)).err();
    assert!(error.unwrap().message().contains("does not hold"));
}

#[test]
fn what_goes_wrong_on_the_board_is_named() {
    let images = images();
    let lose = PacketRule::nth(3, PacketFault::Lose).matching(0, 7 << 28);
    let faults = FaultPlan {
        packets: vec![lose],
        ..FaultPlan::default()
    };
    let board = model_board(faults, 0);
    let experiment = experiment(Scheme::Exact, &[12]);
    let plan = Plan::new(on_board(&experiment, board.port(), images.path())).unwrap();
    let mut backend = host_tools::backend::build(plan.setup()).unwrap();
    backend.set_weights(&State::new(&plan).weights).unwrap();
    let order: Vec<u32> = (0..12).collect();
    let error = backend.train(&order, 12).unwrap_err().to_string();
    assert!(
        error.starts_with("chip: PE (") && error.contains("waited too long for events of position"),
        "{error}"
    );
    let error = backend.train(&order, 12).unwrap_err().to_string();
    assert!(error.contains("must be loaded anew"), "{error}");

    let router = on(&plan.experiment, |backend| {
        backend.routing = Routing::Router
    });
    let setup = Plan::new(router).unwrap().setup();
    let error = host_tools::backend::build(setup).err().unwrap().to_string();
    assert!(error.contains("routing = \"direct\""), "{error}");
}
