//! The command `s2-emu`: runs firmware of a PE on the emulator.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Args, Parser, Subcommand, ValueEnum};
use s2_emu::{Board, Image, Machine, Options, Processor, RunError, State, TraceOptions};
use s2_hal::mock::Config;
use s2_hal::topology::PeId;

mod line;

use line::Line;

/// Exit status when a program was stopped or did not finish.
const FAILED: u8 = 101;

#[derive(Parser)]
#[command(version, about = "Emulates SpiNNaker2's processing elements")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs firmware until it exits by semihosting; its exit code is that of this command
    Run(Run),
    /// A board for a host: boots a chip with the monitor alone and connects its serial line to a new
    /// pseudo-terminal, whose path it prints, or to a UDP port; runs until it is stopped
    Board(BoardOptions),
}

#[derive(Args)]
struct BoardOptions {
    /// The monitor's firmware
    #[arg(default_value = "target/thumbv7em-none-eabihf/firmware/monitor")]
    monitor: PathBuf,
    /// PE of the monitor, as X,Y,P; networks are placed from the other end of the chip on
    #[arg(long, value_name = "X,Y,P", default_value = "5,3,0", value_parser = pe)]
    pe: PeId,
    /// Takes a UDP port of this computer (0: a free one) instead of a pseudo-terminal, one frame per datagram
    #[arg(long, value_name = "PORT")]
    udp: Option<u16>,
    /// Lets bytes come no faster than on a serial line of this speed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    baud: Option<u32>,
    /// Seed of the order in which packets arrive and PEs run
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Args)]
struct Run {
    /// The firmware: an ELF file for thumbv7em-none-eabihf
    elf: PathBuf,
    /// PE that executes it, as X,Y,P (column and row of the QuadPE, number in it); may be given again
    #[arg(long = "pe", value_name = "X,Y,P", default_value = "1,1,0", value_parser = pe)]
    pes: Vec<PeId>,
    /// Firmware for one more PE, as X,Y,P=ELF; may be given again
    #[arg(long = "also", value_name = "X,Y,P=ELF", value_parser = also)]
    also: Vec<(PeId, PathBuf)>,
    /// Seed of the order in which packets arrive and PEs run
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Writes what happens to the standard error stream
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    trace: Vec<Traced>,
    /// Waits for the GNU debugger at this port, which then controls the first PE
    #[arg(long, value_name = "PORT")]
    gdb: Option<u16>,
    /// Connects the chip's first UART: "stdio", or "tcp:PORT" to wait for a connection there
    #[arg(long, value_name = "WHERE", value_parser = uart)]
    uart: Option<Uart>,
    /// Raises feed-through line 0, which starts programs, when all PEs sleep for the first time
    #[arg(long)]
    start: bool,
    /// Gives up after so many instructions of a PE, or cycles that it slept
    #[arg(long, value_name = "N", default_value_t = u64::MAX >> 1)]
    instructions: u64,
    /// Instructions without sleeping, packets or writes to registers that make an endless loop
    #[arg(long, value_name = "N", default_value_t = Options::default().patience)]
    patience: u64,
    /// Lets faults come to the program's handlers instead of ending the run
    #[arg(long)]
    deliver_faults: bool,
    /// Prints what was executed, by PE and by function, to the standard error stream
    #[arg(long)]
    count: bool,
    /// Writes instructions by call path to a file, as tools for flame graphs read it
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Traced {
    /// Packets that leave and arrive
    Packets,
    /// Accesses outside the PE's memory
    Registers,
    /// Exceptions that are entered and left
    Exceptions,
}

#[derive(Clone, Copy)]
enum Uart {
    Stdio,
    Tcp(u16),
}

fn pe(text: &str) -> Result<PeId, String> {
    let numbers: Option<Vec<u8>> = text.split(',').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y, pe]) => {
            PeId::new(x, y, pe).ok_or(format!("the chip has no PE ({x},{y},{pe})"))
        }
        _ => Err("three numbers are needed, as in 1,1,0".to_owned()),
    }
}

fn also(text: &str) -> Result<(PeId, PathBuf), String> {
    let (id, elf) = text
        .split_once('=')
        .ok_or("a PE and a file are needed, as in 1,1,1=a.elf")?;
    Ok((pe(id)?, elf.into()))
}

fn uart(text: &str) -> Result<Uart, String> {
    match text.strip_prefix("tcp:").map(str::parse) {
        Some(Ok(port)) => Ok(Uart::Tcp(port)),
        None if text == "stdio" => Ok(Uart::Stdio),
        _ => Err("\"stdio\" or \"tcp:\" and a port are needed, as in tcp:4000".to_owned()),
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Board(board) => board.run(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("s2-emu: {error}");
            ExitCode::from(2)
        }
    }
}

/// What one of several PEs prints: whole lines that say which one it is.
struct Lines {
    name: String,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                self.print()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn print(&mut self) -> std::io::Result<()> {
        let mut output = std::io::stdout().lock();
        write!(output, "{}: ", self.name)?;
        output.write_all(&self.line)?;
        self.line.clear();
        output.flush()
    }
}

impl Drop for Lines {
    /// Prints what does not end with a line.
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            // Nobody is told that nobody reads.
            let _ = self.print();
        }
    }
}

impl BoardOptions {
    fn run(&self) -> Result<u8, Box<dyn Error>> {
        let mut board = Board::new(Image::open(&self.monitor)?, self.pe, self.seed)?;
        let (line, place) = match self.udp {
            Some(port) => {
                let (line, address) = Line::udp(port)?;
                (line, address.to_string())
            }
            #[cfg(unix)]
            None => {
                let (line, path) = Line::terminal()?;
                (line, path.display().to_string())
            }
            #[cfg(not(unix))]
            None => {
                return Err("this computer has no pseudo-terminals; name a port with --udp".into());
            }
        };
        println!("{place}");
        std::io::stdout().flush()?;
        line.serve(&mut board, self.baud)?;
        Ok(0)
    }
}

impl Run {
    fn run(&self) -> Result<u8, Box<dyn Error>> {
        let options = Options {
            patience: self.patience,
            deliver_faults: self.deliver_faults,
            call_paths: self.profile.is_some(),
            trace: TraceOptions {
                packets: self.trace.contains(&Traced::Packets),
                registers: self.trace.contains(&Traced::Registers),
                exceptions: self.trace.contains(&Traced::Exceptions),
            },
            ..Options::default()
        };
        let mut machine = Machine::new(Config {
            seed: self.seed,
            time_limit: self.instructions,
            ..Config::default()
        });
        let image = Rc::new(Image::open(&self.elf)?);
        for &pe in &self.pes {
            machine.load(pe, Rc::clone(&image), options.clone())?;
        }
        for (pe, elf) in &self.also {
            machine.load(*pe, Rc::new(Image::open(elf)?), options.clone())?;
        }
        let ids: Vec<_> = machine.processors().map(Processor::id).collect();
        if ids.len() > 1 {
            for pe in ids {
                let Some(processor) = machine.processor_mut(pe) else {
                    continue;
                };
                let name = format!("{pe} {}", processor.image().name());
                let line = Vec::new();
                processor.set_output(Box::new(Lines { name, line }));
            }
        }
        let first = self.pes.first().and_then(|&pe| machine.processor_mut(pe));
        let first = first.ok_or("no PE is named")?;
        match self.uart {
            Some(Uart::Stdio) => {
                first.connect_uart(0, std::io::stdin(), Box::new(std::io::stdout()));
            }
            Some(Uart::Tcp(port)) => {
                let stream = accept(port)?;
                first.connect_uart(0, stream.try_clone()?, Box::new(stream));
            }
            None => {}
        }
        if let Some(port) = self.gdb {
            first.debug(port, |port| {
                eprintln!("s2-emu: waiting for the debugger: target remote localhost:{port}");
            })?;
        }
        let mut result = machine.run();
        if self.start && matches!(result, Err(RunError::Standstill { .. })) {
            machine.chip_mut().periphery().pulse(0);
            result = machine.run();
        }
        if self.count {
            eprint!("{}", table(&machine));
        }
        if let Some(path) = &self.profile {
            let stacks: String = machine.processors().map(Processor::folded_stacks).collect();
            std::fs::write(path, stacks)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        if let Err(error) = result {
            eprintln!("s2-emu: {error}");
            // What programs say themselves is nearest to the cause.
            let ids = machine.processors().map(Processor::id);
            for record in ids.filter_map(|pe| machine.record(pe)) {
                eprintln!("s2-emu: the program's record: {record}");
            }
            return Ok(FAILED);
        }
        let code = machine
            .processors()
            .find_map(|processor| match processor.state() {
                State::Exited(code) if code != 0 => Some(code),
                _ => None,
            });
        // A status has eight bits. What is not 0 stays so.
        Ok(code.map_or(0, |code| u8::try_from(code).unwrap_or(1)))
    }
}

fn accept(port: u16) -> std::io::Result<TcpStream> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let port = listener.local_addr()?.port();
    eprintln!("s2-emu: the UART waits for a connection at localhost:{port}");
    Ok(listener.accept()?.0)
}

/// What was executed, by PE and by function.
fn table(machine: &Machine) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for report in machine.reports() {
        let _ = writeln!(
            text,
            "{} {}: {} instructions, about {} cycles (estimate), {} bytes of stack, {} packets sent, {} received",
            report.pe,
            report.program,
            report.count.instructions,
            report.count.estimated_cycles,
            report.stack_used,
            report.counters.sent,
            report.counters.received,
        );
        let Some(processor) = machine.processor(report.pe) else {
            continue;
        };
        for function in processor.functions() {
            let _ = writeln!(
                text,
                "{:>14} {:>14} {}",
                function.instructions, function.estimated_cycles, function.name
            );
        }
    }
    text
}
