//! The `eventprop` command with boards, weights and gradients: a board of nothing but memory, over UDP.

mod common;

use std::path::Path;

use bsp::layout;
use bsp::record::{Record, Status};
use bsp::specification::Image;
use common::{refuse, succeed, temporary, text};
use host_tools::link::double::{Memory, Served};
use s2_hal::dma::Address;
use s2_hal::topology::PeId;
use serde_json::Value;

/// A board with a PE whose program has stopped.
fn board() -> Served {
    let chip = || {
        let pe = PeId::from_core(1).expect("there is one");
        let mut record = Record::starting(Image::Layer, pe.noc_id().into());
        record.status = Status::Panic as u32;
        record.stack_used = 1234;
        record.write_text(b"index out of bounds");
        let place = Address::pe_sram(pe, layout::RECORD.start).expect("it has memory");
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&record));
        let words = (place.0..).step_by(4).zip(words.iter().copied());
        Memory {
            words: words.collect(),
            ..Memory::default()
        }
    };
    Served::start(chip, 0).expect("a port is free")
}

fn on_board<'a>(board: &'a Served, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["board", "--port", board.port()], arguments].concat()
}

/// What a command says with `--json -`.
fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = succeed(folder, &[arguments, &["--json", "-"]].concat());
    serde_json::from_slice(&output.stdout).expect("only JSON on the output")
}

#[test]
fn a_board_is_looked_at_and_written_to() {
    let folder = temporary();
    let folder = folder.path();
    let board = board();
    let as_json = |arguments: &[&str]| json(folder, &on_board(&board, arguments));
    let as_text = |arguments: &[&str]| text(&succeed(folder, &on_board(&board, arguments)).stdout);
    let hello = as_json(&["ping"]);
    assert_eq!(hello["board"], "spinnaker2");
    assert_eq!(hello["chip"], 7);
    assert_eq!(hello["pes"], 152);
    assert_eq!(hello["same_formats"], true);

    let status = as_text(&["status"]);
    let line = "PE (7,6,3) layer: panic: index out of bounds (held)\n";
    assert!(status.starts_with(line), "{status}");
    assert!(status.contains("151 PEs hold no program"), "{status}");
    let log = as_json(&["log", "7,6,3"]);
    assert_eq!(
        (&log["status"], &log["stack_used"]),
        (&"Panic".into(), &1234.into())
    );
    assert_eq!(log["message"], "index out of bounds");

    let data: Vec<u8> = (0..100_000_u32).map(|n| (n ^ n >> 7) as u8).collect();
    std::fs::write(folder.join("in"), &data).expect("the folder is writable");
    let written = as_json(&["write", "dram:0x1000", "in"]);
    assert_eq!(written["bytes"], 100_000);
    as_text(&["read", "0x20001000", "100000", "--out", "out"]);
    assert!(std::fs::read(folder.join("out")).expect("it was written") == data);
    as_text(&["write", "7,6,2:0x8000", "17", "0xcafebabe"]);
    assert_eq!(
        as_text(&["read", "7,6,2:0x8000", "8"]),
        "f1f48000  00000011 cafebabe                    ........\n"
    );

    let stopped = as_json(&["reset"]);
    assert_eq!(stopped["stopped"].as_array().map(Vec::len), Some(151));
    let status = as_json(&["status"]);
    assert_eq!(status["pes"][0]["processor"], "held");
    as_text(&["reset", "7,6,3"]);
    assert_eq!(as_json(&["log", "7,6,3"])["processor"], "running");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let folder = temporary();
    let folder = folder.path();
    let board = board();
    let as_json = |arguments: &[&str]| json(folder, &on_board(&board, arguments));
    let as_text = |arguments: &[&str]| text(&succeed(folder, &on_board(&board, arguments)).stdout);
    let refused = |arguments: &[&str]| refuse(folder, &on_board(&board, arguments));
    let error = refused(&["write", "0xf6000000", "1"]);
    assert!(
        error.contains("0xf6000000 lies neither") && error.contains("--unlock"),
        "{error}"
    );
    as_text(&["write", "0xf6000000", "1", "--unlock"]);
    let error = refused(&["read", "dram:0x1001", "4"]);
    assert!(error.contains("multiples of 4"), "{error}");
    let error = refused(&["write", "dram:0x1000", "nowhere.bin"]);
    assert!(error.contains("nowhere.bin"), "{error}");
    let monitor = as_json(&["ping"])["monitor"].to_string();
    let error = refused(&["reset", &monitor]);
    assert!(error.contains("monitor"), "{error}");

    let error = refuse(folder, &["board", "ping", "--port", "/dev/ttyNone7"]);
    assert!(
        error.starts_with("error: /dev/ttyNone7: no such port\n  hint: "),
        "{error}"
    );
    let port = format!("board:{}", board.port());
    let error = refuse(
        folder,
        &["weights", "get", &port, "--experiment", "small.toml"],
    );
    assert!(error.contains("build the images"), "{error}");
}

#[test]
fn gradients_and_weights_are_the_same_whoever_computes_them() {
    let folder = temporary();
    let folder = folder.path();
    let gradients = |backend, more: &[&str]| {
        let all = [
            "gradients",
            "small.toml",
            "--replicas",
            "2",
            "--backend",
            backend,
        ];
        json(folder, &[&all, more].concat())
    };
    let digests = |value: &Value| {
        ["gradients_sha256", "weights_sha256"].map(|key| value[key].as_str().map(str::to_owned))
    };
    let direct = gradients("direct", &["--out", "direct.npz"]);
    let mock = gradients("mock", &["--out", "mock.npz"]);
    assert_eq!(digests(&direct), digests(&mock));
    assert_eq!(direct["samples"], 20);
    let read = |name: &str| std::fs::read(folder.join(name)).expect("it was written");
    assert!(read("direct.npz") == read("mock.npz"));

    // Weights of a run start another one.
    succeed(folder, &["train", "small.toml", "--out", "run", "--quiet"]);
    let get = |more: &[&str]| json(folder, &[&["weights", "get", "run"], more].concat());
    let best = get(&["--out", "best.npz"]);
    assert_eq!(best["shapes"], serde_json::json!([[20, 5], [3, 20]]));
    assert_eq!(read("best.npz"), read("run/weights.npz"));
    get(&["--last", "--out", "last.npz"]);
    let other = gradients("direct", &["--weights", "last.npz", "--out", "other.npz"]);
    assert_ne!(digests(&other)[0], digests(&direct)[0]);
    let train = [
        "train",
        "small.toml",
        "--weights",
        "last.npz",
        "--minibatches",
        "1",
        "--quiet",
    ];
    let next = json(folder, &[&train[..], &["--out", "next"]].concat());
    assert_eq!(next["gradients_sha256"], other["gradients_sha256"]);
    assert_eq!(read("next/start.npz"), read("last.npz"));

    let error = refuse(
        folder,
        &[
            "gradients",
            "small.toml",
            "--hidden",
            "21",
            "--weights",
            "last.npz",
        ],
    );
    assert_eq!(
        error,
        "error: last.npz: `layer1` has the shape [20, 5]; the network is 5-21-3, which takes [21, 5] \
         ([post][pre])\n"
    );
    let error = refuse(folder, &["weights", "set", "last.npz", "run"]);
    assert!(error.contains("train --weights"), "{error}");
}
