//! The command `s2-emu`, and the debugger's view.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use common::program;

fn s2_emu() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2-emu"));
    command.arg("run");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn run(arguments: &[&str]) -> Output {
    s2_emu().args(arguments).stdin(Stdio::null()).output().expect("the command starts")
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
        (&["x", "--pe", "4,3"], "three numbers are needed, as in 1,1,0"),
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

#[test]
fn the_uart_reaches_a_connection() {
    let packets = program("packets");
    let mut child = s2_emu()
        .args([packets.to_str().unwrap(), "--pe", "1,1,2", "--pe", "7,6,1", "--start"])
        .args(["--uart", "tcp:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap();
    let mut stream = TcpStream::connect(address).expect(&line);
    stream.write_all(b"quiet please").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(text(&answer), "QUIET PLEASE");
    assert!(child.wait().unwrap().success());
}

/// Needs `gdb-multiarch`.
#[test]
fn the_debugger_breaks_steps_and_looks_around() {
    let interrupts = program("interrupts");
    let mut child = s2_emu()
        .args([interrupts.to_str().unwrap(), "--gdb", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let target = line.trim().rsplit_once(": ").expect(&line).1;
    let output = Command::new("gdb-multiarch")
        .args(["-nx", "-batch", "-ex", target])
        .args(["-ex", "print/x $pc", "-ex", "break TIMER_INT1", "-ex", "continue"])
        .args(["-ex", "backtrace", "-ex", "print $xpsr & 0x1ff"])
        .args(["-ex", "stepi", "-ex", "stepi", "-ex", "info registers pc sp s0"])
        .args(["-ex", "x/2xw 0", "-ex", "set var *(int*)0x1f000 = 77"])
        .args(["-ex", "print *(int*)0x1f000", "-ex", "delete", "-ex", "continue"])
        .arg(&interrupts)
        .output()
        .expect("gdb-multiarch is installed");
    let (session, errors) = (text(&output.stdout), text(&output.stderr));
    for part in [
        "$1 = 0x400",
        "Breakpoint 1",
        "#0 ",
        "<signal handler called>",
        "interrupts::compute",
        "$2 = 16",
        "0x0:\t0x00020000",
        "$3 = 77",
        "exited normally",
    ] {
        assert!(session.contains(part), "{part} is missing in {session}{errors}");
    }
    assert!(child.wait().unwrap().success());
}
