//! The command `s2-emu`, and the debugger's view.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use common::{program, project_program};

fn s2_emu() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2-emu"));
    command.arg("run");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn run(arguments: &[&str]) -> Output {
    s2_emu()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the command starts")
}

#[test]
fn output_and_exit_code_are_the_programs() {
    let hello = program("hello");
    let output = run(&[hello.to_str().unwrap(), "--count"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stdout).ends_with("product -121932631112635269\n"));
    let table = text(&output.stderr);
    assert!(table.starts_with("PE (1,1,0) hello: "), "{table}");
    assert!(table.contains(" cycles (estimate), "), "{table}");
    assert!(table.contains(" hello::__cortex_m_rt_main\n"), "{table}");
}

#[test]
fn bad_arguments_and_files_are_refused_with_what_would_be_right() {
    for (arguments, part) in [
        (&["nowhere.elf"][..], "cannot read nowhere.elf"),
        (&["Cargo.toml"], "Cargo is no firmware"),
        (&["x", "--pe", "4,3,0"], "the chip has no PE (4,3,0)"),
        (
            &["x", "--pe", "4,3"],
            "three numbers are needed, as in 1,1,0",
        ),
        (&["x", "--uart", "tty"], "as in tcp:4000"),
        (&["x", "--also", "1,1,1"], "as in 1,1,1=a.elf"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        let message = text(&output.stderr);
        assert!(message.contains(part), "{message}");
    }
    // A program for this computer.
    let output = run(&[env!("CARGO_BIN_EXE_s2-emu")]);
    assert!(text(&output.stderr).contains("an ELF file for thumbv7em-none-eabihf is needed"));
}

#[test]
fn the_record_of_a_program_that_stopped_is_printed() {
    let layer = project_program("layer");
    let output = run(&[layer.to_str().unwrap(), "--pe", "7,6,1"]);
    assert_eq!(output.status.code(), Some(101));
    let message = text(&output.stderr);
    assert!(message.starts_with("s2-emu: standstill"), "{message}");
    assert!(
        message.ends_with(
            "s2-emu: the program's record: PE (7,6,1) layer: data specification: none found: the \
             first word is 0x00000000 instead of 0xad130ad6\n"
        ),
        "{message}"
    );
    // Programs without a record are not made to have one.
    let packets = program("packets");
    let output = run(&[packets.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(101));
    let message = text(&output.stderr);
    assert!(!message.contains("record"), "{message}");
}

#[test]
fn traces_are_readable() {
    let packets = program("packets");
    let output = run(&[
        packets.to_str().unwrap(),
        "--pe",
        "1,1,2",
        "--pe",
        "7,6,1",
        "--start",
        "--trace",
        "packets,registers",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(
        printed.starts_with("PE (1,1,2) packets: 1000 in "),
        "{printed}"
    );
    let trace = text(&output.stderr);
    for part in [
        " PE (1,1,2) packets: read  0xe20000f8 (ID of COMMS_GLOBAL) = 0x00000026, at 0x",
        " PE (1,1,2) packets: send to QuadPE (7,6) PEs 0b0010: key 0x00000005 payload 0x00000000, at 0x",
        " PE (7,6,1) packets: receive key 0x00000005 payload 0x00000000\n",
        " PE (7,6,1) packets: send to QuadPE (1,1) PEs 0b0100: key 0x00000005 payload 0x00000001, at 0x",
    ] {
        assert!(trace.contains(part), "{part} is missing");
    }
}

/// Starts the command and waits for the line in which it says what it waits for. Returns its end.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = s2_emu()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let stderr = child.stderr.as_mut().expect("it was asked for");
    let mut line = String::new();
    BufReader::new(stderr)
        .read_line(&mut line)
        .expect("it says something");
    let end = line.trim_end().rsplit(' ').next().expect("it has an end");
    (child, end.to_owned())
}

#[test]
fn the_uart_reaches_a_connection() {
    let echo = program("echo");
    let (mut child, address) = start(&[echo.to_str().unwrap(), "--uart", "tcp:0"]);
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"quiet, please.").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(text(&answer), "QUIET, PLEASE.");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_uart_reaches_the_terminal() {
    let echo = program("echo");
    let mut child = s2_emu()
        .args([echo.to_str().unwrap(), "--uart", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child.stdin.take().unwrap().write_all(b"hello.").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "HELLO.");
    assert!(output.status.success());
}

/// Needs `gdb-multiarch`.
#[test]
fn the_debugger_breaks_steps_and_looks_around() {
    let interrupts = program("interrupts");
    let (mut child, address) = start(&[interrupts.to_str().unwrap(), "--gdb", "0"]);
    let output = Command::new("gdb-multiarch")
        .args(["-nx", "-batch", "-ex", &format!("target remote {address}")])
        .args(["-ex", "break TIMER_INT1", "-ex", "continue"])
        .args([
            "-ex",
            "backtrace",
            "-ex",
            "print $xpsr & 0x1ff",
            "-ex",
            "set language c",
        ])
        .args([
            "-ex",
            "set var *(int*)0x1f000 = 77",
            "-ex",
            "print *(int*)0x1f000 + 1",
        ])
        .args([
            "-ex",
            "set var $before = $pc",
            "-ex",
            "stepi",
            "-ex",
            "print $pc != $before",
        ])
        .args(["-ex", "print/x *(int*)0xe000ed00", "-ex", "continue"])
        .args(["-ex", "delete", "-ex", "continue"])
        .arg(&interrupts)
        .output()
        .expect("gdb-multiarch is installed");
    let (session, errors) = (text(&output.stdout), text(&output.stderr));
    for part in [
        "Breakpoint 1 at",
        "Breakpoint 1, ",
        "TIMER_INT1",
        "<signal handler called>",
        "interrupts::compute",
        "interrupts::__cortex_m_rt_main ()",
        "$1 = 16",
        "$2 = 78",
        "$3 = 1",
        "$4 = 0x410fc240",
        "exited normally",
    ] {
        assert!(
            session.contains(part),
            "{part} is missing in {session}{errors}"
        );
    }
    assert!(child.wait().unwrap().success());
}

/// An emulated board, killed at the end.
#[cfg(unix)]
struct Board(Child, String);

#[cfg(unix)]
impl Board {
    /// Starts it; the second field is where it says that it is.
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_s2-emu"))
            .arg("board")
            .arg(project_program("monitor"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut place = String::new();
        let output = child.stdout.take().expect("it is a pipe");
        BufReader::new(output)
            .read_line(&mut place)
            .expect("a line");
        Self(child, place.trim_end().to_owned())
    }
}

#[cfg(unix)]
impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
fn hello() -> Vec<u8> {
    use bsp::protocol::frame::{self, MAX_FRAME};
    use bsp::protocol::{HelloRequest, Request};

    let mut buffer = [0; MAX_FRAME];
    let hello = frame::encode(7, &Request::Hello(HelloRequest::THIS), &mut buffer);
    hello.expect("it fits").to_vec()
}

#[cfg(unix)]
fn is_hello(frame: &[u8]) -> bool {
    use bsp::protocol::Response;
    use bsp::protocol::frame::Decoder;

    let mut decoder = Decoder::new();
    frame.iter().any(|&byte| {
        decoder.push(byte).is_some_and(|frame| {
            frame.sequence == 7
                && matches!(Response::decode(frame.message), Some(Response::Hello(_)))
        })
    })
}

#[cfg(unix)]
#[test]
fn a_board_answers_at_a_terminal_and_survives_a_host_that_goes() {
    let board = Board::start(&["--baud", "921600"]);
    for _ in 0..2 {
        let mut line = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&board.1)
            .expect("the terminal is there");
        line.write_all(&hello()).expect("it takes bytes");
        let (mut answer, mut buffer) = (Vec::new(), [0; 256]);
        while !is_hello(&answer) {
            let count = line.read(&mut buffer).expect("it gives bytes");
            answer.extend(&buffer[..count]);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_board_answers_at_a_udp_port_with_one_frame_per_datagram() {
    let board = Board::start(&["--udp", "0"]);
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("there is a free port");
    let patience = std::time::Duration::from_secs(30);
    socket
        .set_read_timeout(Some(patience))
        .expect("it can wait");
    for _ in 0..2 {
        socket.send_to(&hello(), &board.1).expect("it can be sent");
        let mut buffer = [0; 2048];
        let count = socket.recv(&mut buffer).expect("an answer");
        assert!(is_hello(&buffer[..count]));
        assert_eq!(buffer[..count].iter().filter(|&&byte| byte == 0).count(), 2);
    }
}
