//! The `eventprop` command with a board behind a real pseudo-terminal: the terminal vanishes, the command is killed.
#![cfg(unix)]

mod common;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use common::{command, succeed, temporary, text};
use host_tools::link::double::Double;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const BYTES: usize = 1_000_000;

/// What happens when half of the bytes have come.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    /// The terminal vanishes for a moment.
    Vanish,
    /// The board halts.
    Halt,
}

#[derive(Default)]
struct Shared {
    double: Mutex<Double>,
    /// The board answers nothing.
    halted: AtomicBool,
    stop: AtomicBool,
}

struct Board {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Both ends of a new terminal, with a link of this name to the host's.
fn terminal(path: &Path) -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let board = openpt(flags).expect("the computer has pseudo-terminals");
    grantpt(&board).expect("it is ours");
    unlockpt(&board).expect("it is ours");
    let name = ptsname(&board, Vec::new()).expect("it has a name");
    let name = Path::new(OsStr::from_bytes(name.as_bytes()));
    // A terminal is there as long as somebody has it open.
    let host = OpenOptions::new().read(true).write(true).open(name);
    symlink(name, path).expect("the folder is writable");
    (board.into(), host.expect("it is ours"))
}

/// Whether there is something to read, after a while at most.
fn is_ready(file: &File) -> bool {
    let mut files = [PollFd::new(file, PollFlags::IN)];
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    poll(&mut files, Some(&moment)).expect("it can be waited for") > 0
}

impl Board {
    fn new(folder: &Path, event: Event) -> Self {
        let path = folder.join("board");
        let mut ends = terminal(&path);
        let shared = Arc::<Shared>::default();
        let (link, board) = (path.clone(), Arc::clone(&shared));
        let serve = move || {
            let mut bytes = [0; 1024];
            let mut left = BYTES / 2;
            while !board.stop.load(Ordering::Relaxed) {
                if !is_ready(&ends.0) {
                    continue;
                }
                let length = ends.0.read(&mut bytes).expect("the terminal is there");
                if left > 0 && left <= length {
                    match event {
                        Event::Halt => board.halted.store(true, Ordering::Relaxed),
                        Event::Vanish => {
                            std::fs::remove_file(&link).expect("it is there");
                            drop(ends);
                            sleep(Duration::from_millis(300));
                            ends = terminal(&link);
                        }
                    }
                }
                left = left.saturating_sub(length);
                if !board.halted.load(Ordering::Relaxed) {
                    let mut double = board.double.lock().expect("it is whole");
                    let answer = double.exchange(&bytes[..length]);
                    ends.0.write_all(&answer).expect("somebody reads");
                }
            }
        };
        Self {
            path,
            shared,
            thread: Some(std::thread::spawn(serve)),
        }
    }

    fn command<'a>(&'a self, action: &[&'a str]) -> Vec<&'a str> {
        let path = self.path.to_str().expect("UTF-8");
        [&["board", "--port", path], action].concat()
    }

    /// How many words were written, some perhaps twice.
    fn stores(&self) -> u32 {
        self.shared.double.lock().expect("it is whole").chip.stores
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking());
    }
}

/// A folder with a file to be written.
fn folder() -> tempfile::TempDir {
    let folder = temporary();
    let data: Vec<u8> = (0..BYTES).map(|n| (n ^ n >> 9) as u8).collect();
    std::fs::write(folder.path().join("in"), data).expect("the folder is writable");
    folder
}

fn check(board: &Board, folder: &Path) {
    let length = BYTES.to_string();
    let read = ["read", "dram:0x1000", &length, "--out", "out"];
    succeed(folder, &board.command(&read));
    let content = |name| std::fs::read(folder.join(name)).expect("it was written");
    assert!(content("in") == content("out"), "other bytes came back");
}

#[test]
fn a_terminal_that_vanishes_is_waited_for() {
    let folder = folder();
    let folder = folder.path();
    let board = Board::new(folder, Event::Vanish);
    let output = succeed(folder, &board.command(&["write", "dram:0x1000", "in"]));
    let notes = text(&output.stderr);
    assert!(
        notes.contains("the port has vanished; waiting for it"),
        "{notes}"
    );
    assert!(notes.contains("the port is there again"), "{notes}");
    assert_eq!(
        board.stores() as usize,
        BYTES / 4,
        "words were written twice"
    );
    check(&board, folder);
}

#[test]
fn a_command_that_was_killed_goes_on_when_it_is_started_again() {
    let folder = folder();
    let folder = folder.path();
    let board = Board::new(folder, Event::Halt);
    let write = board.command(&["write", "dram:0x1000", "in"]);
    let mut child = command(folder)
        .args(&write)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    while !board.shared.halted.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(5));
    }
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    let before = board.stores() as usize;
    assert!(before > BYTES / 10 && before < BYTES / 4, "{before}");
    board.shared.halted.store(false, Ordering::Relaxed);
    succeed(folder, &write);
    assert_eq!(
        board.stores() as usize,
        BYTES / 4,
        "words were written twice"
    );
    check(&board, folder);
}
