//! The `eventprop` command as a person meets it: files, exit status, messages.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{SMALL, command, files, refuse, run, succeed, temporary, text};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn summary(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("summary.json")).expect("a summary is there");
    serde_json::from_slice(&text).expect("the summary is JSON")
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors")
        .join(name)
}

#[test]
fn a_run_leaves_all_its_files_and_can_be_repeated_from_them() {
    let folder = temporary();
    let folder = folder.path();
    let output = succeed(
        folder,
        &["train", "small.toml", "--seed", "5", "--json", "-"],
    );
    let printed: Value = serde_json::from_slice(&output.stdout).expect("only JSON on the output");
    let run = folder.join("runs/exact-seed5");
    assert_eq!(printed, summary(&run));
    for key in [
        "scheme",
        "backend",
        "dims",
        "seed",
        "epochs",
        "replicas",
        "threads",
        "train_accuracy",
        "validation_accuracy",
        "test_accuracy",
        "test_accuracy_ties_correct",
        "silent_label_fraction",
        "spikes_per_sample",
        "train_samples_per_second",
        "wall_seconds",
        "weights_sha256",
        "gradients_sha256",
        "saturations",
        "packets",
        "min_threshold_slack",
    ] {
        assert!(!printed[key].is_null(), "{key} is missing");
    }
    assert_eq!(printed["dims"], serde_json::json!([5, 20, 3]));
    assert_eq!(printed["epochs"], 3);
    let names: Vec<_> = files(&run)
        .iter()
        .map(|path| path.file_name().expect("a name").to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "checkpoint.bin",
            "decision_map.svg",
            "experiment.toml",
            "gradients.npz",
            "history.csv",
            "learning_curve.svg",
            "spike_raster.svg",
            "summary.json",
            "weights.npz",
        ]
    );

    // The file that a run leaves makes the same run, also into a folder with another's results.
    std::fs::create_dir(folder.join("again")).expect("the folder is writable");
    std::fs::write(folder.join("again/weights.npz"), "old").expect("the folder is writable");
    let arguments = [
        "train",
        "runs/exact-seed5/experiment.toml",
        "--out",
        "again",
        "--quiet",
    ];
    let output = succeed(folder, &arguments);
    assert_eq!(text(&output.stderr) + &text(&output.stdout), "");
    for name in [
        "experiment.toml",
        "history.csv",
        "weights.npz",
        "gradients.npz",
    ] {
        let bytes = |run: &Path| std::fs::read(run.join(name)).expect("the file is there");
        assert!(
            bytes(&run) == bytes(&folder.join("again")),
            "{name} differs"
        );
    }
}

#[test]
fn threads_and_backends_do_not_change_a_bit_and_a_seed_does() {
    let folder = temporary();
    let folder = folder.path();
    let digests = |arguments: &[&str]| {
        let all = [
            &["train", "small.toml", "--quiet", "--json", "-"],
            arguments,
        ]
        .concat();
        let output = succeed(folder, &all);
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        ["weights_sha256", "gradients_sha256", "spike_digest"].map(|key| json[key].to_string())
    };
    let one = digests(&["--threads", "1", "--out", "a"]);
    assert_eq!(one, digests(&["--threads", "3", "--out", "b"]));
    let mock = [
        "--backend",
        "mock",
        "--replicas",
        "3",
        "--epochs",
        "3",
        "--out",
        "c",
    ];
    assert_eq!(one, digests(&mock));
    assert_ne!(one, digests(&["--seed", "2", "--out", "d"]));
}

#[test]
#[cfg(unix)]
fn a_run_that_was_stopped_goes_on_with_the_same_bits() {
    let folder = temporary();
    let folder = folder.path();
    let arguments = ["train", "small.toml", "--epochs", "60", "--hidden", "60"];
    succeed(
        folder,
        &[&arguments[..], &["--out", "whole", "--quiet"]].concat(),
    );

    let mut child = command(folder)
        .args(arguments)
        .args(["--out", "parts"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = lines.next().expect("a line per epoch").expect("UTF-8");
    assert!(first.starts_with("epoch  1/60"), "{first}");
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is on every Unix");
    assert!(kill.success());
    lines.for_each(drop);
    assert!(child.wait().expect("the child ends").success());
    let stopped = summary(&folder.join("parts"));
    assert_eq!(stopped["interrupted"], true);
    assert!(stopped["epochs"].as_u64() < Some(60));
    assert_eq!(files(&folder.join("parts")).len(), 9);

    succeed(folder, &["train", "--resume", "parts", "--quiet"]);
    for name in [
        "experiment.toml",
        "history.csv",
        "weights.npz",
        "gradients.npz",
    ] {
        let bytes = |run: &str| std::fs::read(folder.join(run).join(name)).expect("a file");
        assert!(bytes("whole") == bytes("parts"), "{name} differs");
    }
    let (whole, parts) = (
        summary(&folder.join("whole")),
        summary(&folder.join("parts")),
    );
    for key in [
        "weights_sha256",
        "gradients_sha256",
        "spike_digest",
        "test_accuracy",
    ] {
        assert_eq!(whole[key], parts[key], "{key}");
    }
    assert_eq!(parts["interrupted"], false);
}

#[test]
fn counters_are_told_by_every_command_that_computes() {
    let folder = temporary();
    let folder = folder.path();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/silent_label_send");
    let path = |name: &str| cases.join(name).display().to_string();
    let json = |output: &[u8]| serde_json::from_slice::<Value>(output).expect("JSON");
    let about = |json: &Value| {
        ["silent_labels", "saturations", "suppressed_spikes"].map(|key| json[key].as_u64())
    };

    let (experiment, weights) = (path("send.toml"), path("w.npz"));
    let arguments = [
        "gradients",
        &experiment,
        "--weights",
        &weights,
        "--out",
        "g.npz",
    ];
    let output = succeed(folder, &[&arguments[..], &["--json", "-"]].concat());
    assert_eq!(about(&json(&output.stdout)), [Some(1), Some(0), Some(0)]);
    let output = succeed(folder, &arguments);
    let told = "\nsilent labels: 1, saturations: 0, suppressed spikes: 0\n";
    assert!(
        text(&output.stdout).contains(told),
        "{}",
        text(&output.stdout)
    );

    let vector = vector("exact_silent_label.json").display().to_string();
    let output = succeed(folder, &["verify", &vector, "--json", "-"]);
    let counts = &json(&output.stdout)["vectors"][0]["counts"];
    assert_eq!(about(counts), [Some(1), Some(0), Some(0)]);
    let told = "  silent labels: 1, saturations: 0, suppressed spikes: 0\n";
    assert!(
        text(&output.stderr).contains(told),
        "{}",
        text(&output.stderr)
    );

    let output = succeed(
        folder,
        &["compare", "small.toml", "--seeds", "1", "--epochs", "1"],
    );
    let table = text(&output.stdout);
    assert!(
        table.contains("| silent label % | saturations | suppressed spikes |"),
        "{table}"
    );
}

/// A network that weight decay silences.
#[test]
fn a_dying_network_is_told() {
    let folder = temporary();
    let folder = folder.path();
    let dying = format!(
        "{SMALL}[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.03\nmomentum = 0\nweight_decay = 1\n\
         [silent_neurons]\nlabel_bump = 0\nhidden_bump = 0\n"
    );
    std::fs::write(folder.join("dying.toml"), dying).expect("the folder is writable");
    let output = succeed(folder, &["train", "dying.toml", "--out", "dying"]);
    let lines = text(&output.stderr);
    assert_eq!(
        lines
            .matches("warning: the label's output is silent")
            .count(),
        1,
        "{lines}"
    );
    assert!(lines.contains("  silent labels "), "{lines}");
    let summary = summary(&folder.join("dying"));
    assert!(summary["silent_label_fraction"].as_f64() > Some(0.1));
    // Silence does not look like success.
    assert!(summary["test_loss"].as_f64() > Some(1.0), "{summary}");
    let quiet = succeed(
        folder,
        &["train", "dying.toml", "--out", "quiet", "--quiet"],
    );
    assert_eq!(text(&quiet.stderr), "");
}

#[test]
fn impossible_values_are_refused_by_name() {
    let folder = temporary();
    let folder = folder.path();
    let cases: &[(&[&str], &str)] = &[
        (&["train", "--hiden", "5"], "unexpected argument '--hiden'"),
        (&["train", "--hiden", "5"], "'--hidden'"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (
            &["train", "--scheme", "gird"],
            "possible values: exact, grid",
        ),
        (
            &["train", "--backend", "chip"],
            "possible values: direct, mock",
        ),
        (&["train", "--hidden", ""], "invalid value ''"),
        (
            &["train", "--hidden", "20,0"],
            "--hidden: a layer of network.hidden is 0",
        ),
        (&["train", "--hidden", "5000"], "it must be from 1 to 4095"),
        (
            &["train", "--epochs", "0"],
            "--epochs: training.epochs is 0",
        ),
        (&["train", "--epochs=-1"], "invalid value '-1'"),
        (&["train", "--batch", "0"], "--batch: training.batch is 0"),
        (
            &["train", "--replicas", "0"],
            "--replicas: backend.replicas is 0",
        ),
        (
            &["train", "--threads", "0"],
            "--threads: backend.threads is 0",
        ),
        (
            &["train", "--minibatches", "0"],
            "--minibatches: training.minibatches is 0",
        ),
        (&["train", "nowhere.toml"], "nowhere.toml: cannot read"),
        (
            &["train", "--out", "small.toml"],
            "small.toml: cannot create the folder",
        ),
        (
            &["train", "--out", "small.toml/x"],
            "small.toml/x: cannot create the folder",
        ),
        (
            &["train", "--json", "none/x.json"],
            "none/x.json: cannot write",
        ),
        (
            &["train", "--resume", "none"],
            "none/experiment.toml: cannot read",
        ),
        (
            &["train", "--resume", "none", "--seed", "3"],
            "cannot be used with",
        ),
        (
            &["dataset", "yin-yang", "--out", "a.txt"],
            "a.txt: the name must end in .csv, .npz or .npy",
        ),
        (
            &["dataset", "yin-yang", "--out", "none/a.csv"],
            "none/a.csv: cannot write",
        ),
        (&["dataset", "yin-yang", "--size", "0"], "invalid value '0'"),
        (
            &["dataset", "yan-ying"],
            "unrecognized subcommand 'yan-ying'",
        ),
        (&["verify"], "required arguments"),
        (&["verify", "small.toml"], "small.toml: "),
        (
            &["verify", "--min-cosine", "nan", "small.toml"],
            "not negative",
        ),
    ];
    for (arguments, part) in cases {
        let error = refuse(folder, arguments);
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn a_wrong_experiment_file_is_refused_with_its_place() {
    let folder = temporary();
    let folder = folder.path();
    let cases = [
        (
            "[network]\nhiden = [5]\n",
            "error: e.toml:2:1: unknown key `hiden` in [network]\n  hint: did you mean `hidden`?\n",
        ),
        (
            "[optimizer]\nbeta2 = 0.99999999\n",
            "error: e.toml:2:9: optimizer.beta2 is 0.99999999; it must be from 0 to 0.9999999: ",
        ),
        // Found when the network is placed on the chip.
        (
            "[backend]\nreplicas = 90\n",
            "error: e.toml:2:12: backend.replicas: 90 replicas of 4 PEs and an optimiser take 361 PEs; a chip has 148\n  hint: at most 36 replicas fit\n",
        ),
        (
            "[network]\ntau_synapse_ms = -5.0\n",
            "error: e.toml:2:18: network.tau_synapse_ms is -5; it must be from 0.01 to 10000\n",
        ),
        ("[network\n", "error: e.toml:1:"),
        ("\u{0}\n", "error: e.toml:1:2: "),
    ];
    for (experiment, expected) in cases {
        std::fs::write(folder.join("e.toml"), experiment).expect("the folder is writable");
        let error = refuse(folder, &["train", "e.toml"]);
        assert!(error.starts_with(expected), "{error}");
    }
    std::fs::write(folder.join("e.toml"), [0xFF, 0xFE, 0]).expect("the folder is writable");
    let error = refuse(folder, &["train", "e.toml"]);
    assert!(
        error.starts_with("error: e.toml: not a text file"),
        "{error}"
    );
}

#[test]
fn own_data_are_trained_on_and_wrong_data_refused_with_line_and_column() {
    let folder = temporary();
    let folder = folder.path();
    for (split, size) in [("train", "200"), ("validation", "50"), ("test", "50")] {
        for ending in ["csv", "npz"] {
            let file = format!("{split}.{ending}");
            let arguments = [
                "dataset", "yin-yang", "--split", split, "--size", size, "--out", &file,
            ];
            succeed(folder, &arguments);
        }
    }
    let experiment = |kind: &str| {
        let files =
            ["train", "validation", "test"].map(|split| format!("{split} = \"{split}.{kind}\"\n"));
        let head = format!("[dataset]\nkind = \"{kind}\"\n{}", files.concat());
        let rest = SMALL.split_once("[network]").expect("a network").1;
        std::fs::write(folder.join("own.toml"), format!("{head}\n[network]{rest}"))
            .expect("the folder is writable");
    };
    let mut digests = Vec::new();
    for kind in ["csv", "npz"] {
        experiment(kind);
        succeed(folder, &["train", "own.toml", "--out", kind, "--quiet"]);
        digests.push(summary(&folder.join(kind))["weights_sha256"].clone());
        assert!(!folder.join(kind).join("decision_map.svg").exists());
    }
    assert_eq!(digests[0], digests[1]);

    experiment("csv");
    let good = std::fs::read_to_string(folder.join("validation.csv")).expect("the file is there");
    let lines: Vec<&str> = good.lines().collect();
    let with_line = |number: usize, line: &str| {
        let mut lines = lines.clone();
        lines[number - 1] = line;
        std::fs::write(folder.join("validation.csv"), lines.join("\n")).expect("writable");
        refuse(folder, &["train", "own.toml", "--out", "x"])
    };
    let file = folder.join("validation.csv");
    let file = file.display();
    assert_eq!(
        with_line(7, "0.1,NaN,0.9,0.8,1"),
        format!(
            "error: {file}: line 7, column 2 (`y`): `NaN` is out of range; features are from 0 to 1\n"
        )
    );
    assert_eq!(
        with_line(9, "0.1,0.2,0.9,oops,1"),
        format!("error: {file}: line 9, column 4 (`y_flipped`): `oops` is not a number\n")
    );
    assert_eq!(
        with_line(3, "0.1,0.2,0.9,0.8,3"),
        format!(
            "error: {file}: the label 3 of sample 2 is out of range; the training file has the \
             labels 0 to 2\n"
        )
    );
    std::fs::write(folder.join("validation.csv"), &good[..good.len() / 2]).expect("writable");
    let error = refuse(folder, &["train", "own.toml", "--out", "x"]);
    assert!(
        error.starts_with(&format!("error: {file}: line ")),
        "{error}"
    );
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let folder = temporary();
    let folder = folder.path();
    succeed(folder, &["train", "small.toml", "--out", "run", "--quiet"]);
    let path = folder.join("run/checkpoint.bin");
    let whole = std::fs::read(&path).expect("the file is there");
    let mut altered = whole.clone();
    altered[500] ^= 1;
    for (bytes, part) in [
        (&whole[..whole.len() / 2], "the checkpoint is cut off"),
        (&whole[..0], "the checkpoint is cut off"),
        (&altered[..], "the checkpoint is altered"),
    ] {
        std::fs::write(&path, bytes).expect("the folder is writable");
        let error = refuse(folder, &["train", "--resume", "run"]);
        assert!(error.starts_with("error: run/checkpoint.bin: "), "{error}");
        assert!(error.contains(part), "{error}");
    }

    std::fs::write(&path, &whole).expect("the folder is writable");
    // More epochs are fine; other settings are not.
    succeed(
        folder,
        &["train", "--resume", "run", "--epochs", "4", "--quiet"],
    );
    assert_eq!(summary(&folder.join("run"))["epochs"], 4);
    let experiment = folder.join("run/experiment.toml");
    let changed = std::fs::read_to_string(&experiment)
        .expect("the file is there")
        .replace("learning_rate = 0.005", "learning_rate = 0.004");
    std::fs::write(&experiment, changed).expect("the folder is writable");
    let error = refuse(folder, &["train", "--resume", "run"]);
    assert!(error.contains("made with other settings"), "{error}");
}

#[test]
fn the_canonical_set_is_printed_and_a_closed_pipe_is_no_error() {
    let folder = temporary();
    let output = succeed(folder.path(), &["dataset", "yin-yang", "--split", "test"]);
    let digest = Sha256::digest(&output.stdout);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        digest,
        "d240f103ea557133323b2ebf4af3f130bfb7995746a996a13ba3cdf824a882ea"
    );

    let mut child = command(folder.path())
        .args(["dataset", "yin-yang", "--size", "20000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the child ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn verification_tells_right_from_wrong_and_from_unreadable() {
    let folder = temporary();
    let folder = folder.path();
    let good = vector("grid_single.json");
    let path = good.to_str().expect("UTF-8");
    let output = succeed(folder, &["verify", path, "--json", "-"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("only JSON on the output");
    assert_eq!(json["passed"], true);
    assert_eq!(json["vectors"][0]["comparison"]["layers"][0]["missing"], 0);

    // A weight that is off shows as spikes or gradients that are.
    let content = std::fs::read_to_string(&good).expect("the vector is there");
    std::fs::write(
        folder.join("off.json"),
        content.replace("[[[2.0456,", "[[[2.5,"),
    )
    .expect("writable");
    let output = run(folder, &["verify", "off.json", path]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("OUTSIDE"), "{table}");
    assert!(
        table.contains("1 of 2 vectors within the tolerance"),
        "{table}"
    );
    // A spike that should not be is shown with how far the membrane stayed below the threshold.
    let content_of = |name| std::fs::read_to_string(vector(name)).expect("the vector is there");
    let extra = content_of("exact_missed_crossing.json").replace("[[0, 9.060915811075242]]", "[]");
    std::fs::write(folder.join("extra.json"), extra).expect("writable");
    let output = run(folder, &["verify", "extra.json", "--backend", "reference"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let shown = "- extra: sample 0, layer 0, neuron 0, 9.0625 ms; 1.0e0 below the threshold";
    assert!(table.contains(shown), "{table}");

    // A wide tolerance lets gradients pass.
    succeed(
        folder,
        &[
            "verify",
            path,
            "--max-relative-error",
            "1",
            "--min-cosine",
            "0",
        ],
    );

    for (from, to, part) in [
        (
            "eventprop-vector/1",
            "eventprop-vector/2",
            "eventprop-vector/2",
        ),
        (
            "\"threshold\": 1.0",
            "\"threshold\": 2.0",
            "the threshold is 2",
        ),
        ("\"dims\": [5, 8, 3]", "\"dims\": [5, 9, 3]", "9"),
        ("{\"schema\"", "{{\"schema\"", "line 1"),
    ] {
        std::fs::write(folder.join("wrong.json"), content.replace(from, to)).expect("writable");
        let error = run(folder, &["verify", "wrong.json"]);
        let message = text(&error.stderr);
        assert_eq!(error.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: wrong.json: "), "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_comparison_keeps_its_runs_and_does_not_train_them_again() {
    let folder = temporary();
    let folder = folder.path();
    let other = format!("{SMALL}\n[silent_neurons]\nhidden_bump = 0.5\n");
    std::fs::write(folder.join("other.toml"), other).expect("the folder is writable");
    let compare = |seeds| {
        let arguments = ["compare", "small.toml", "other.toml", "--epochs", "1"];
        let keep = ["--seeds", seeds, "--keep", "kept"];
        text(&succeed(folder, &[&arguments[..], &keep].concat()).stdout)
    };
    let table = compare("1,2");
    let rows: Vec<_> = table.lines().collect();
    let sizes = "5-20-3 | 1 | train_size = 300, validation_size = 60, test_size = 60";
    assert!(
        rows[2].starts_with(&format!("| small | {sizes}, batch = 20 | ")),
        "{table}"
    );
    assert!(
        rows[3].starts_with(&format!(
            "| other | {sizes}, hidden_bump = 0.5, batch = 20 | "
        )),
        "{table}"
    );
    let kept = files(&folder.join("kept"));
    assert_eq!((rows.len(), kept.len()), (4, 4));

    // Runs of a program of other bits would have other names, so what is here counts as it is; only
    // the third seed is trained.
    for path in &kept {
        let mut run: Value = serde_json::from_slice(&std::fs::read(path).expect("a run is there"))
            .expect("a run is JSON");
        run["test"] = 77.0.into();
        std::fs::write(path, run.to_string()).expect("the folder is writable");
    }
    let table = compare("1-3");
    assert_eq!(table.matches("77.0 77.0 ").count(), 2, "{table}");
    assert_eq!(files(&folder.join("kept")).len(), 6);
}

/// A file of the folder `tests/cases`.
fn case(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/cases")
        .join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Trains a case on a backend; returns the summary, and what was said beside it.
fn train(folder: &Path, name: &str, backend: &str) -> (Value, String) {
    let out = format!("{name}-{backend}");
    let arguments = ["train", &case(name), "--backend", backend, "--out", &out];
    let output = succeed(folder, &[&arguments[..], &["--quiet"]].concat());
    (summary(&folder.join(out)), text(&output.stderr))
}

/// Experiments of which each did something else on some backend: a coefficient whose negative wrapped, points of
/// the decision map with more events in a step than any sample, a last spike at a multiple of the step.
#[test]
fn experiments_at_the_ends_of_ranges_train_alike_on_every_backend() {
    let folder = temporary();
    let folder = folder.path();
    for name in [
        "negate_overflow.toml",
        "grid_small_mock.toml",
        "decision_map.toml",
        "step_multiple.toml",
    ] {
        let (direct, mock) = (train(folder, name, "direct"), train(folder, name, "mock"));
        for key in [
            "weights_sha256",
            "gradients_sha256",
            "spike_digest",
            "saturations",
        ] {
            assert_eq!(direct.0[key], mock.0[key], "{name}: {key}");
        }
        // Nothing to warn of, and every plot.
        assert_eq!((direct.1.as_str(), mock.1.as_str()), ("", ""), "{name}");
        for plot in ["learning_curve.svg", "decision_map.svg", "spike_raster.svg"] {
            assert!(
                folder.join(format!("{name}-mock")).join(plot).exists(),
                "{name}: {plot}"
            );
        }
    }
}

#[test]
fn constants_of_the_loss_are_checked_once_and_with_their_place() {
    let folder = temporary();
    let folder = folder.path();
    let path = case("tau0_small.toml");
    let expected =
        format!("error: {path}:2:11: loss.tau0_ms is 0.005; it must be from 0.0078125 to 10000, ");
    let error = refuse(folder, &["train", &path]);
    assert!(error.starts_with(&expected), "{error}");

    // 1 is the largest alpha that there is.
    let arguments = ["train", &case("alpha_1.toml"), "--minibatches", "1"];
    succeed(folder, &[&arguments[..], &["--out", "alpha"]].concat());
    assert!(summary(&folder.join("alpha"))["weights_sha256"].is_string());
}

#[test]
fn a_plot_that_cannot_be_made_costs_nothing_else() {
    let folder = temporary();
    let folder = folder.path();
    succeed(folder, &["train", "small.toml", "--out", "run"]);
    let run = folder.join("run");
    let before = std::fs::read(run.join("summary.json")).expect("a summary");
    for plot in ["decision_map.svg", "spike_raster.svg"] {
        std::fs::remove_file(run.join(plot)).expect("the plot is there");
        std::fs::create_dir(run.join(plot)).expect("the folder is writable");
    }
    for file in ["summary.json", "weights.npz", "gradients.npz"] {
        std::fs::remove_file(run.join(file)).expect("the file is there");
    }
    let output = succeed(folder, &["train", "--resume", "run", "--quiet"]);
    let warning = text(&output.stderr);
    assert!(
        warning.starts_with(
            "warning: decision_map.svg and spike_raster.svg could not be made, all other results are complete: "
        ),
        "{warning}"
    );
    assert_eq!(warning.lines().count(), 1, "{warning}");
    let digest = |bytes: &[u8]| {
        let summary: Value = serde_json::from_slice(bytes).expect("JSON");
        summary["weights_sha256"].clone()
    };
    let after = std::fs::read(run.join("summary.json")).expect("a summary");
    assert_eq!(digest(&before), digest(&after));
    assert!(run.join("weights.npz").exists() && run.join("gradients.npz").exists());
}

#[test]
fn vectors_that_end_at_a_multiple_of_the_step_are_verified() {
    let folder = temporary();
    for backend in ["direct", "mock", "reference"] {
        let arguments = ["verify", &case("grid_end_288.json"), "--backend", backend];
        succeed(folder.path(), &arguments);
    }
}

/// On every backend, in every command, with all plots.
#[test]
fn networks_without_a_hidden_layer_run() {
    let folder = temporary();
    let folder = folder.path();
    let file = SMALL.replace("hidden = [20]", "hidden = []");
    std::fs::write(folder.join("flat.toml"), file).expect("the folder is writable");
    let train = |backend: &str| {
        let arguments = ["train", "flat.toml", "--backend", backend, "--out", backend];
        let rest = ["--minibatches", "3", "--quiet"];
        let output = succeed(folder, &[&arguments[..], &rest].concat());
        assert_eq!(text(&output.stderr), "");
        assert!(folder.join(backend).join("spike_raster.svg").exists());
        summary(&folder.join(backend))
    };
    let (direct, mock) = (train("direct"), train("mock"));
    assert_eq!(direct["dims"], serde_json::json!([5, 3]));
    for key in ["weights_sha256", "gradients_sha256", "spike_digest"] {
        assert_eq!(direct[key], mock[key], "{key}");
    }
    let map = text(&succeed(folder, &["map", "flat.toml"]).stdout);
    assert!(map.contains("network          5-3\n"), "{map}");
    for backend in ["direct", "mock", "reference"] {
        let vector = "../vectors/exact_no_hidden_layer.json";
        succeed(folder, &["verify", &case(vector), "--backend", backend]);
    }
}
