//! A server for the GNU debugger: breakpoints, steps, registers and memory of one PE.
//!
//! While the debugger holds the PE, the whole chip stands still, so that the run stays the same.

use std::io;
use std::net::{TcpListener, TcpStream};

use gdbstub::arch::{Arch, Registers};
use gdbstub::common::Signal;
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep,
    SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, SwBreakpoint, SwBreakpointOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use unicorn_engine::RegisterARM as R;

use crate::cpu::{Cpu, Stop};

/// A Cortex-M with floating point, as the debugger knows it.
pub(crate) enum CortexM {}

impl Arch for CortexM {
    type Usize = u32;
    type Registers = CoreRegisters;
    type RegId = ();
    type BreakpointKind = usize;

    fn target_description_xml() -> Option<&'static str> {
        Some(include_str!("target.xml"))
    }
}

/// Registers in the order of `target.xml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CoreRegisters {
    core: [u32; 17],
    doubles: [u64; 16],
    float_status: u32,
}

const CORE: [R; 17] = [
    R::R0,
    R::R1,
    R::R2,
    R::R3,
    R::R4,
    R::R5,
    R::R6,
    R::R7,
    R::R8,
    R::R9,
    R::R10,
    R::R11,
    R::R12,
    R::SP,
    R::LR,
    R::PC,
    R::XPSR,
];
const PC: usize = 15;
const STATUS: usize = 16;

const DOUBLES: [R; 16] = [
    R::D0,
    R::D1,
    R::D2,
    R::D3,
    R::D4,
    R::D5,
    R::D6,
    R::D7,
    R::D8,
    R::D9,
    R::D10,
    R::D11,
    R::D12,
    R::D13,
    R::D14,
    R::D15,
];

impl Registers for CoreRegisters {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.core[PC]
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut write = |bytes: &[u8]| bytes.iter().for_each(|byte| write_byte(Some(*byte)));
        self.core.iter().for_each(|word| write(&word.to_le_bytes()));
        self.doubles
            .iter()
            .for_each(|double| write(&double.to_le_bytes()));
        write(&self.float_status.to_le_bytes());
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let (core, rest) = bytes.split_at_checked(4 * CORE.len()).ok_or(())?;
        let (doubles, status) = rest.split_at_checked(8 * DOUBLES.len()).ok_or(())?;
        for (word, bytes) in self.core.iter_mut().zip(core.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().map_err(|_| ())?);
        }
        for (double, bytes) in self.doubles.iter_mut().zip(doubles.chunks_exact(8)) {
            *double = u64::from_le_bytes(bytes.try_into().map_err(|_| ())?);
        }
        self.float_status = u32::from_le_bytes(status.try_into().map_err(|_| ())?);
        Ok(())
    }
}

impl Target for Cpu {
    type Arch = CortexM;
    type Error = io::Error;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Cpu {
    fn read_registers(&mut self, registers: &mut CoreRegisters) -> TargetResult<(), Self> {
        registers.core = CORE.map(|register| self.register(register));
        registers.core[PC] &= !1;
        registers.doubles = DOUBLES.map(|register| self.double(register));
        registers.float_status = self.register(R::FPSCR);
        Ok(())
    }

    fn write_registers(&mut self, registers: &CoreRegisters) -> TargetResult<(), Self> {
        // The mode is not the debugger's to change: of the status, the flags only.
        for (register, word) in CORE.into_iter().zip(registers.core).take(PC) {
            self.set_register(register, word);
        }
        self.set_register(R::PC, registers.core[PC] | 1);
        self.set_register(R::APSR_NZCVQ, registers.core[STATUS]);
        for (register, double) in DOUBLES.into_iter().zip(registers.doubles) {
            self.set_double(register, double);
        }
        self.set_register(R::FPSCR, registers.float_status);
        Ok(())
    }

    fn read_addrs(&mut self, start: u32, data: &mut [u8]) -> TargetResult<usize, Self> {
        // Of registers, only the processor's own are for the debugger: reading others may change them.
        if let ([_, _, _, _], Some(word)) = (&data, self.peek_private(start)) {
            data.copy_from_slice(&word.to_le_bytes());
            return Ok(4);
        }
        if self.peek(start, data) {
            Ok(data.len())
        } else {
            Err(TargetError::NonFatal)
        }
    }

    fn write_addrs(&mut self, start: u32, data: &[u8]) -> TargetResult<(), Self> {
        if self.poke(start, data) {
            Ok(())
        } else {
            Err(TargetError::NonFatal)
        }
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadResume for Cpu {
    fn resume(&mut self, _signal: Option<Signal>) -> io::Result<()> {
        self.core_mut().single_step = false;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Cpu {
    fn step(&mut self, _signal: Option<Signal>) -> io::Result<()> {
        self.core_mut().single_step = true;
        Ok(())
    }
}

impl Breakpoints for Cpu {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Cpu {
    fn add_sw_breakpoint(&mut self, address: u32, _kind: usize) -> TargetResult<bool, Self> {
        self.core_mut().breakpoints.push(address);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, address: u32, _kind: usize) -> TargetResult<bool, Self> {
        let breakpoints = &mut self.core_mut().breakpoints;
        let place = breakpoints.iter().position(|&at| at == address);
        Ok(place.map(|place| breakpoints.swap_remove(place)).is_some())
    }
}

type Machine = GdbStubStateMachine<'static, Cpu, TcpStream>;

/// A session with the debugger.
pub(crate) struct Debugger {
    /// `None` once the debugger has gone.
    machine: Option<Machine>,
    /// What is to be reported before the next instruction.
    report: Option<SingleThreadStopReason<u32>>,
    killed: bool,
}

impl Debugger {
    /// Waits for a debugger at a port of this computer; with port 0, at a free one. `listening` is told
    /// the port.
    pub(crate) fn listen(
        cpu: &mut Cpu,
        port: u16,
        listening: impl FnOnce(u16),
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listening(listener.local_addr()?.port());
        let (stream, _) = listener.accept()?;
        let machine = GdbStub::new(stream)
            .run_state_machine(cpu)
            .map_err(io::Error::other)?;
        Ok(Self {
            machine: Some(machine),
            report: None,
            killed: false,
        })
    }

    /// Executes as the debugger wishes, about `budget` instructions at most.
    pub(crate) fn run(&mut self, cpu: &mut Cpu, budget: u64) -> Stop {
        loop {
            let resumed = self.serve(cpu);
            if self.killed {
                return Stop::Killed;
            }
            if self.machine.is_none() {
                return cpu.run(budget);
            }
            let at_breakpoint = is_at_breakpoint(cpu);
            let stop = if cpu.core().single_step {
                self.report = Some(SingleThreadStopReason::DoneStep);
                cpu.step()
            } else if at_breakpoint && !resumed {
                self.report = Some(SingleThreadStopReason::SwBreak(()));
                continue;
            } else if at_breakpoint {
                cpu.step()
            } else {
                match cpu.run(budget) {
                    Stop::Debugger => step_to_breakpoint(cpu),
                    stop => stop,
                }
            };
            if matches!(stop, Stop::Fault(_)) {
                // A last look at what has happened.
                self.report = Some(SingleThreadStopReason::Signal(Signal::SIGSEGV));
                self.serve(cpu);
            }
            return stop;
        }
    }

    /// Tells the debugger that the program has ended.
    pub(crate) fn exited(&mut self, cpu: &mut Cpu, code: i32) {
        if let Some(Machine::Running(machine)) = self.machine.take() {
            let _ = machine.report_stop(cpu, SingleThreadStopReason::Exited(code as u8));
        }
    }

    /// Reports what is to be reported and answers the debugger until it wants the program to run.
    /// Returns whether it had to be waited for.
    fn serve(&mut self, cpu: &mut Cpu) -> bool {
        let mut waited = false;
        while let Some(machine) = self.machine.take() {
            let next = match machine {
                Machine::Idle(mut machine) => {
                    waited = true;
                    machine
                        .borrow_conn()
                        .read()
                        .map_err(io::Error::other)
                        .and_then(|byte| machine.incoming_data(cpu, byte).map_err(io::Error::other))
                }
                Machine::Running(mut machine) => match self.report.take() {
                    Some(reason) => machine.report_stop(cpu, reason).map_err(io::Error::other),
                    None => match machine.borrow_conn().peek() {
                        Ok(None) => {
                            self.machine = Some(Machine::Running(machine));
                            return waited;
                        }
                        Ok(Some(_)) => machine.borrow_conn().read().and_then(|byte| {
                            machine.incoming_data(cpu, byte).map_err(io::Error::other)
                        }),
                        Err(error) => Err(error),
                    },
                },
                Machine::CtrlCInterrupt(machine) => {
                    let reason = SingleThreadStopReason::Signal(Signal::SIGINT);
                    machine
                        .interrupt_handled(cpu, Some(reason))
                        .map_err(io::Error::other)
                }
                Machine::Disconnected(machine) => {
                    self.killed = machine.get_reason() == DisconnectReason::Kill;
                    break;
                }
            };
            match next {
                Ok(next) => self.machine = Some(next),
                // The program goes on without the debugger.
                Err(error) => eprintln!("s2-emu: the debugger has gone: {error}"),
            }
        }
        cpu.core_mut().single_step = false;
        cpu.core_mut().breakpoints.clear();
        waited
    }
}

fn is_at_breakpoint(cpu: &Cpu) -> bool {
    cpu.core().breakpoints.contains(&cpu.pc())
}

/// Steps to the breakpoint in the block that comes next.
fn step_to_breakpoint(cpu: &mut Cpu) -> Stop {
    while !is_at_breakpoint(cpu) {
        let stop = cpu.step();
        if stop != Stop::Budget {
            return stop;
        }
    }
    Stop::Budget
}
