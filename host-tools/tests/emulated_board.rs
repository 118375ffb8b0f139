//! From the command to machine code and back: the `eventprop` command, a real pseudo-terminal or UDP port, an emulated
//! board with its UART and monitor, and the programs that the command loads onto its PEs.
#![cfg(unix)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{command, refuse, succeed, text};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is around it")
}

/// Builds the images and the emulator, once. Returns the folder of what was built.
fn built() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let target = root().join("target");
        let build = |arguments: &[&str]| {
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--target-dir"])
                .arg(&target)
                .args(arguments)
                .current_dir(root())
                .status()
                .expect("cargo can be started");
            assert!(status.success(), "{arguments:?} does not build");
        };
        build(&["--release", "--package", "s2-emu"]);
        let images = ["--package", "bsp", "--features", "firmware,provisional"];
        let thumb = ["--target", "thumbv7em-none-eabihf"];
        build(&[&["--profile", "firmware", "--bins"], &images[..], &thumb].concat());
        target
    })
}

/// An emulated board that runs until it is dropped.
struct Board {
    process: Child,
    port: String,
}

impl Board {
    fn new(options: &[&str]) -> Self {
        let mut process = Command::new(built().join("release/s2-emu"))
            .arg("board")
            .args(options)
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the emulator starts");
        let output = process.stdout.take().expect("it is piped");
        let mut place = String::new();
        BufReader::new(output)
            .read_line(&mut place)
            .expect("it says where it is");
        let place = place.trim();
        let port = match options.contains(&"--udp") {
            true => format!("udp:{place}"),
            false => place.to_owned(),
        };
        Self { process, port }
    }

    fn command<'a>(&'a self, action: &[&'a str]) -> Vec<&'a str> {
        [&["board", "--port", &self.port], action].concat()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with an experiment: 5-20-3 on the Yin-Yang set.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let images = built().join("thumbv7em-none-eabihf/firmware");
    let experiment = format!(
        "[network]\nhidden = [20]\n\
         [training]\nminibatches = 2\n\
         [backend]\nreplicas = 2\nfirmware = {images:?}\n"
    );
    let few = "[dataset]\ntrain_size = 64\nvalidation_size = 16\ntest_size = 16\n";
    for (name, text) in [
        ("small.toml", experiment.clone()),
        (
            "full.toml",
            format!("{few}[backend]\nrouting = \"direct\"\nfirmware = {images:?}\n"),
        ),
        ("tiny.toml", format!("{few}{experiment}")),
    ] {
        std::fs::write(folder.path().join(name), text).expect("the folder is writable");
    }
    folder
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = succeed(folder, &[arguments, &["--json", "-"]].concat());
    serde_json::from_slice(&output.stdout).expect("only JSON on the output")
}

fn gradients(folder: &Path, backend: &str, more: &[&str]) -> [Value; 2] {
    gradients_of("small.toml", folder, backend, more)
}

fn gradients_of(experiment: &str, folder: &Path, backend: &str, more: &[&str]) -> [Value; 2] {
    let out = ["--out", "gradients.npz"];
    let arguments = ["gradients", experiment, "--backend", backend];
    let result = json(folder, &[&arguments, &out[..], more].concat());
    let archive = std::fs::metadata(folder.join("gradients.npz")).expect("it was written");
    assert!(archive.len() > 1000);
    ["gradients_sha256", "weights_sha256"].map(|key| result[key].clone())
}

/// The default network, whose 36 replicas fill the chip.
#[test]
fn gradients_of_a_full_chip_are_those_of_this_process() {
    let folder = folder();
    let folder = folder.path();
    let board = Board::new(&[]);
    let port = format!("board:{}", board.port);
    let of = |backend: &str| gradients_of("full.toml", folder, backend, &[]);
    assert_eq!(of(&port), of("direct"));
    let loaded = json(folder, &board.command(&["status"]));
    let programs = loaded["pes"].as_array().expect("a list of PEs");
    let done = programs.iter().filter(|pe| pe["status"] == "Done").count();
    assert_eq!(done, 36 * 4 + 1, "four PEs a replica, and the optimiser");
}

#[test]
fn gradients_over_a_pseudo_terminal_are_those_of_this_process() {
    let folder = folder();
    let folder = folder.path();
    let board = Board::new(&[]);
    let expected = gradients(folder, "direct", &[]);

    assert_eq!(
        json(folder, &board.command(&["ping"]))["same_formats"],
        true
    );
    let load = board.command(&["load", "small.toml"]);
    // A host that is killed while it loads leaves a board that can be loaded.
    let mut killed = command(folder)
        .args(&load)
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(Duration::from_millis(150));
    killed.kill().expect("it can be killed");
    killed.wait().expect("it has ended");
    let port = format!("board:{}", board.port);
    let error = refuse(
        folder,
        &["gradients", "small.toml", "--backend", &port, "--loaded"],
    );
    assert!(error.contains("does not hold this network"), "{error}");

    let loaded = json(folder, &load);
    assert_eq!(loaded["samples"], serde_json::json!([5000, 1000, 1000]));
    assert_eq!(gradients(folder, &port, &["--loaded"]), expected);

    // The weights after the minibatch, and those from before it.
    let get = ["weights", "get", &port, "--experiment", "small.toml"];
    let after = json(folder, &[&get[..], &["--out", "after.npz"]].concat());
    assert_eq!(after["weights_sha256"], expected[1]);
    succeed(folder, &load);
    succeed(folder, &[&get[..], &["--out", "before.npz"]].concat());
    let set = ["weights", "set", "after.npz", &port];
    let experiment = ["--experiment", "small.toml"];
    succeed(folder, &[&set[..], &experiment].concat());
    let set = ["weights", "set", "before.npz", &port];
    succeed(folder, &[&set[..], &experiment].concat());
    assert_eq!(gradients(folder, &port, &["--loaded"]), expected);

    let status = text(&succeed(folder, &board.command(&["status"])).stdout);
    assert!(status.contains("PE (7,6,3) input: run 1 done"), "{status}");
    let log = json(folder, &board.command(&["log", "7,6,2"]));
    assert_eq!(log["status"], "Done");
    assert!(log["stack_used"].as_u64() > Some(100), "{log}");
}

#[test]
fn training_over_udp_is_that_of_this_process() {
    let folder = folder();
    let folder = folder.path();
    let board = Board::new(&["--udp", "0"]);
    let port = format!("board:{}", board.port);
    assert_eq!(
        gradients(folder, &port, &[]),
        gradients(folder, "direct", &[])
    );
    let train = |backend: &str, out: &str| {
        let arguments = ["train", "tiny.toml", "--backend", backend, "--out", out];
        let summary = json(folder, &[&arguments[..], &["--quiet"]].concat());
        [
            "weights_sha256",
            "gradients_sha256",
            "spike_digest",
            "test_accuracy",
        ]
        .map(|key| summary[key].clone())
    };
    assert_eq!(train(&port, "board"), train("direct", "direct"));
}

#[test]
fn a_megabyte_goes_to_a_board_and_back() {
    let folder = folder();
    let folder = folder.path();
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n ^ n >> 9) as u8).collect();
    std::fs::write(folder.join("in"), &data).expect("the folder is writable");
    for options in [&[][..], &["--udp", "0"]] {
        let board = Board::new(options);
        succeed(folder, &board.command(&["write", "dram:0x1000", "in"]));
        let read = ["read", "dram:0x1000", "1000000", "--out", "out"];
        succeed(folder, &board.command(&read));
        let back = std::fs::read(folder.join("out")).expect("it was written");
        assert!(back == data, "{options:?}: other bytes came back");
    }
}
