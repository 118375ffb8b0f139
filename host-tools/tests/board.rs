//! The `eventprop` command with boards, weights and gradients: a board of nothing but memory, over UDP.

mod common;

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bsp::layout;
use bsp::record::{Record, Status};
use bsp::specification::Image;
use common::{refuse, succeed, temporary, text};
use host_tools::link::double::Double;
use s2_hal::dma::Address;
use s2_hal::topology::PeId;
use serde_json::Value;

/// A board on a UDP port of this computer.
struct Board {
    port: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Board {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("the time is not zero");
        let port = format!("udp:{}", socket.local_addr().expect("it is bound"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(&socket, &stopped));
        Self {
            port,
            stop,
            thread: Some(thread),
        }
    }

    /// What a command says with `--json -`.
    fn json(&self, folder: &Path, arguments: &[&str]) -> Value {
        let mut all = vec!["board", "--port", &self.port, "--json", "-"];
        all.extend(arguments);
        serde_json::from_slice(&succeed(folder, &all).stdout).expect("only JSON on the output")
    }

    fn text(&self, folder: &Path, arguments: &[&str]) -> String {
        let mut all = vec!["board", "--port", &self.port];
        all.extend(arguments);
        text(&succeed(folder, &all).stdout)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            ended.is_none_or(|ended| ended.is_ok()),
            "the board panicked"
        );
    }
}

/// A PE with a program that has stopped.
fn panicked() -> Record {
    let pe = PeId::from_core(1).expect("there is one");
    let mut record = Record::starting(Image::Layer, pe.noc_id().into());
    record.status = Status::Panic as u32;
    record.stack_used = 1234;
    record.write_text(b"index out of bounds");
    record
}

fn serve(socket: &UdpSocket, stop: &AtomicBool) {
    let mut board = Double::default();
    let record = panicked();
    let place = Address::pe_sram(
        PeId::from_core(1).expect("there is one"),
        layout::RECORD.start,
    );
    let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&record));
    let place = place.expect("it has memory").0;
    let words = words.iter().enumerate();
    board.chip.words = words
        .map(|(n, &word)| (place + 4 * n as u32, word))
        .collect();
    let mut bytes = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, host)) = socket.recv_from(&mut bytes) {
            let answer = board.exchange(&bytes[..length]);
            socket.send_to(&answer, host).expect("the host is there");
        }
    }
}

#[test]
fn a_board_is_looked_at_and_written_to() {
    let folder = temporary();
    let folder = folder.path();
    let board = Board::new();
    let hello = board.json(folder, &["ping"]);
    assert_eq!(hello["board"], "spinnaker2");
    assert_eq!(hello["chip"], 7);
    assert_eq!(hello["pes"], 152);
    assert_eq!(hello["same_formats"], true);

    let status = board.text(folder, &["status"]);
    let line = "PE (7,6,3) layer: panic: index out of bounds (held)\n";
    assert!(status.starts_with(line), "{status}");
    assert!(status.contains("151 PEs hold no program"), "{status}");
    let log = board.json(folder, &["log", "7,6,3"]);
    assert_eq!(
        (&log["status"], &log["stack_used"]),
        (&"Panic".into(), &1234.into())
    );
    assert_eq!(log["message"], "index out of bounds");

    let data: Vec<u8> = (0..100_000_u32).map(|n| (n ^ n >> 7) as u8).collect();
    std::fs::write(folder.join("in"), &data).expect("the folder is writable");
    let written = board.json(folder, &["write", "dram:0x1000", "in"]);
    assert_eq!(written["bytes"], 100_000);
    board.text(folder, &["read", "0x20001000", "100000", "--out", "out"]);
    assert!(std::fs::read(folder.join("out")).expect("it was written") == data);
    board.text(folder, &["write", "7,6,2:0x8000", "17", "0xcafebabe"]);
    assert_eq!(
        board.text(folder, &["read", "7,6,2:0x8000", "8"]),
        format!(
            "{:08x}  00000011 cafebabe                    ........\n",
            0xf000_0000_u32 + (0xfa << 17) + 0x8000
        )
    );

    let stopped = board.json(folder, &["reset"]);
    assert_eq!(stopped["stopped"].as_array().map(Vec::len), Some(151));
    let status = board.json(folder, &["status"]);
    assert_eq!(status["pes"][0]["processor"], "held");
    board.text(folder, &["reset", "7,6,3"]);
    assert_eq!(
        board.json(folder, &["log", "7,6,3"])["processor"],
        "running"
    );
}

#[test]
fn what_cannot_be_done_is_refused() {
    let folder = temporary();
    let folder = folder.path();
    let board = Board::new();
    let refused = |arguments: &[&str]| {
        let mut all = vec!["board", "--port", &board.port];
        all.extend(arguments);
        refuse(folder, &all)
    };
    let error = refused(&["write", "0xf6000000", "1"]);
    assert!(error.contains("0xf6000000 is no memory"), "{error}");
    board.text(folder, &["write", "0xf6000000", "1", "--unlock"]);
    let error = refused(&["read", "dram:0x1001", "4"]);
    assert!(error.contains("multiples of 4"), "{error}");
    let error = refused(&["write", "dram:0x1000", "nowhere.bin"]);
    assert!(error.contains("nowhere.bin"), "{error}");
    let monitor = board.json(folder, &["ping"])["monitor"].to_string();
    let error = refused(&["reset", &monitor]);
    assert!(error.contains("monitor"), "{error}");

    let error = refuse(folder, &["board", "ping", "--port", "/dev/ttyNone7"]);
    assert!(
        error.starts_with("error: /dev/ttyNone7: no such port\n  hint: "),
        "{error}"
    );
    let port = format!("board:{}", board.port);
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
    let gradients = |backend: &str, more: &[&str]| -> Value {
        let mut arguments = vec![
            "gradients",
            "small.toml",
            "--json",
            "-",
            "--backend",
            backend,
        ];
        arguments.extend(["--replicas", "2"].iter().chain(more));
        serde_json::from_slice(&succeed(folder, &arguments).stdout).expect("JSON")
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
    let get = |more: &[&str]| -> Value {
        let mut arguments = vec!["weights", "get", "run", "--json", "-"];
        arguments.extend(more);
        serde_json::from_slice(&succeed(folder, &arguments).stdout).expect("JSON")
    };
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
    let output = succeed(
        folder,
        &[&train[..], &["--out", "next", "--json", "-"]].concat(),
    );
    let next: Value = serde_json::from_slice(&output.stdout).expect("JSON");
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
