//! One emulated PE, as a program of the host model of the chip.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::rc::Rc;

use s2_hal::mock::{Pe, Program, Progress};
use s2_hal::topology::PeId;
use unicorn_engine::RegisterARM as R;

use crate::cpu::{Cpu, Stop};
use crate::exceptions;
use crate::fault::{Access, Cause, Fault};
use crate::gdb::Debugger;
use crate::image::Image;
use crate::profile::{self, CallTree, FunctionCount};
use crate::semihosting::{self, Streams};
use crate::system::exception::{BUS_FAULT, MEMORY_FAULT, SUPERVISOR_CALL, USAGE_FAULT};
use crate::trace::{Trace, TraceOptions};
use crate::uart::Line;

/// How a processor is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Instructions from one look at the rest of the chip to the next. Packets that arrive meanwhile are
    /// seen then. Many PEs run faster in longer slices.
    pub slice: u64,
    /// Instructions without any progress after which the program is said to be in an endless loop.
    /// Sleeping, packets, writes to registers and accesses to other memories are progress; reading
    /// registers is not.
    pub patience: u64,
    /// Faults go to the program's handlers. Otherwise they end the run, but for those that the program
    /// has enabled by themselves (in `SHCSR`).
    pub deliver_faults: bool,
    /// Counts instructions by call path, which takes time. See [`Processor::folded_stacks`].
    pub call_paths: bool,
    /// What to write to the standard error stream.
    pub trace: TraceOptions,
    /// Address of a word in which the program says what it is about. See [`Processor::phases`].
    pub phase_word: Option<u32>,
}

impl Default for Options {
    /// Slices of 1000 instructions, patience for 200 million, no extras.
    fn default() -> Self {
        Self {
            slice: 1000,
            patience: 200_000_000,
            deliver_faults: false,
            call_paths: false,
            trace: TraceOptions::default(),
            phase_word: None,
        }
    }
}

/// What a processor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It executes instructions, or is about to.
    Running,
    /// It sleeps, by `wfi` or `wfe`.
    Sleeping,
    /// The program has ended by a semihosting call, with this code.
    Exited(i32),
    /// The program was stopped in a fault.
    Stopped,
    /// Its control register holds it.
    Held,
}

/// Instructions and an estimate of cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Instructions.
    pub instructions: u64,
    /// Estimate of the cycles that they took on a Cortex-M4. See [the crate](crate#cycles).
    pub estimated_cycles: u64,
}

/// One emulated PE: the processor, its registers, and the firmware that it executes.
pub struct Processor {
    cpu: Cpu,
    image: Rc<Image>,
    options: Options,
    state: State,
    /// It sleeps by `wfe`.
    for_event: bool,
    started: bool,
    streams: Streams,
    done: Option<Done>,
    phases: BTreeMap<u32, Count>,
    debugger: Option<Debugger>,
    lines: Vec<Line>,
}

/// When a sleeping program has done what it was to do.
struct Done {
    address: u32,
    condition: Box<dyn Fn(u32) -> bool>,
}

impl Processor {
    pub(crate) fn new(id: PeId, image: Rc<Image>, options: Options) -> Result<Self, String> {
        let mut cpu = Cpu::new(id).map_err(|error| format!("{error:?}"))?;
        let core = cpu.core_mut();
        if options.trace != TraceOptions::default() {
            core.trace = Some(Trace::new(options.trace, id, Rc::clone(&image)));
        }
        if options.call_paths {
            core.call_tree = Some(CallTree::new(Rc::clone(&image)));
        }
        core.stack_limit = image.symbols().value("_stack_end").unwrap_or(0);
        Ok(Self {
            cpu,
            image,
            options,
            state: State::Running,
            for_event: false,
            started: false,
            streams: Streams {
                output: Box::new(std::io::stdout()),
                input: Box::new(std::io::stdin()),
            },
            done: None,
            phases: BTreeMap::new(),
            debugger: None,
            lines: Vec::new(),
        })
    }

    /// Which PE it is.
    pub fn id(&self) -> PeId {
        self.cpu.id()
    }

    /// The firmware.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// Where it is: address of the next instruction, with its function.
    pub fn place(&self) -> String {
        self.image.symbols().describe(self.cpu.pc())
    }

    /// Instructions and estimated cycles so far.
    pub fn count(&self) -> Count {
        let core = self.cpu.core();
        Count {
            instructions: core.instructions,
            estimated_cycles: core.cycles,
        }
    }

    /// The same by phase: by the value of [`Options::phase_word`] at the start of each slice. To a slice,
    /// not to an instruction.
    pub fn phases(&self) -> &BTreeMap<u32, Count> {
        &self.phases
    }

    /// The same by function, the largest first.
    pub fn functions(&self) -> Vec<FunctionCount> {
        profile::by_function(&self.image, self.cpu.core().blocks())
    }

    /// Instructions by call path, a line for each, `program;outer;inner count`: the input of tools that
    /// draw flame graphs. Empty without [`Options::call_paths`].
    pub fn folded_stacks(&self) -> String {
        let tree = self.cpu.core().call_tree.as_ref();
        let root = format!("{} {}", self.id(), self.image.name());
        tree.map_or(String::new(), |tree| tree.folded(&root))
    }

    /// Most bytes of stack that the program has used, from the initial stack pointer in its vector
    /// table down.
    pub fn stack_used(&self) -> u32 {
        let top = self.image.word(0).unwrap_or(0);
        top.saturating_sub(self.cpu.core().lowest_stack)
    }

    /// Sends what the program prints by semihosting to `output` instead of the standard output.
    pub fn set_output(&mut self, output: Box<dyn Write>) {
        self.streams.output = output;
    }

    /// Takes what the program reads by semihosting from `input` instead of the standard input.
    pub fn set_input(&mut self, input: Box<dyn Read>) {
        self.streams.input = input;
    }

    /// Connects UART `uart`, 0 or 1, to the world outside, as long as this PE runs. A thread reads from
    /// `input` until that ends. How the chip's run goes then depends on when bytes come.
    ///
    /// # Panics
    /// If there is no such UART.
    pub fn connect_uart(
        &mut self,
        uart: usize,
        input: impl Read + Send + 'static,
        output: Box<dyn Write>,
    ) {
        assert!(uart < 2, "there are two UARTs");
        self.lines.push(Line::new(uart, input, output));
    }

    /// Lets a run end for this PE when the program goes to sleep and the word at `address` of its SRAM,
    /// a multiple of 4, is one of those that `condition` accepts. Without such a condition a program
    /// ends by semihosting only.
    pub fn set_done(&mut self, address: u32, condition: impl Fn(u32) -> bool + 'static) {
        self.done = Some(Done {
            address,
            condition: Box::new(condition),
        });
    }

    /// Waits for the GNU debugger at a port of this computer, or at a free one if `port` is 0, and lets
    /// it control the PE from its first instruction on. `listening` is told the port.
    ///
    /// # Errors
    /// If the port cannot be listened at or the connection breaks at once.
    pub fn debug(&mut self, port: u16, listening: impl FnOnce(u16)) -> std::io::Result<()> {
        self.debugger = Some(Debugger::listen(&mut self.cpu, port, listening)?);
        Ok(())
    }

    /// Goes by the processor's control register. Whether it may execute.
    fn is_let(&mut self) -> bool {
        let id = self.id();
        let control = self.cpu.core_mut().with_periphery(|periphery| {
            let released = periphery.take_release(id);
            (periphery.is_held(id), released)
        });
        let (held, released) = control.unwrap_or_default();
        if held {
            self.state = State::Held;
        } else if released || self.state == State::Held {
            self.state = State::Running;
            self.started = false;
        }
        !held
    }

    /// Executes until the slice ends, or the program sleeps, ends or fails.
    fn slice(&mut self) -> Result<Progress, Fault> {
        if !self.is_let() {
            return Ok(Progress::Idle);
        }
        if !self.started {
            self.cpu.reset();
            self.started = true;
        }
        let end = self.cpu.core().instructions + self.options.slice;
        loop {
            self.cpu.core_mut().update();
            let wakes = self.state == State::Sleeping && self.wakes();
            match self.state {
                State::Exited(_) | State::Stopped | State::Held => return Ok(Progress::Done),
                State::Sleeping if !wakes => {
                    if self.is_done() {
                        return Ok(Progress::Done);
                    }
                    self.cpu.core_mut().set_alarm();
                    for line in &mut self.lines {
                        line.wait(self.cpu.core_mut());
                    }
                    return Ok(Progress::Idle);
                }
                State::Sleeping => {
                    self.state = State::Running;
                    let core = self.cpu.core_mut();
                    core.progress = core.instructions;
                }
                State::Running => {}
            }
            if let Some(number) = self.cpu.core().system.next(self.cpu.masks())
                && let Err(cause) = exceptions::enter(&mut self.cpu, number)
            {
                self.fault(cause)?;
            }
            let core = self.cpu.core_mut();
            if core.instructions >= end {
                return Ok(Progress::Worked);
            }
            let idle = core.instructions - core.progress;
            // Whoever waits for what a person types may do so for long.
            if idle > self.options.patience && !self.lines.iter().any(Line::is_open) {
                return Err(self.stop(Cause::NoProgress { instructions: idle }));
            }
            let event = core
                .next_event()
                .map(|at| at.saturating_sub(core.now()).max(1));
            let budget = (end - core.instructions).min(event.unwrap_or(u64::MAX));
            let before = self.count();
            let phase = self
                .options
                .phase_word
                .and_then(|at| self.cpu.peek_word(at));
            let stop = match &mut self.debugger {
                Some(debugger) => debugger.run(&mut self.cpu, budget),
                None => self.cpu.run(budget),
            };
            if let Some(phase) = phase {
                let after = self.count();
                let sum = self.phases.entry(phase).or_default();
                sum.instructions += after.instructions.saturating_sub(before.instructions);
                sum.estimated_cycles += after
                    .estimated_cycles
                    .saturating_sub(before.estimated_cycles);
            }
            self.handle(stop)?;
        }
    }

    fn exchange_lines(&mut self) {
        for line in &mut self.lines {
            line.exchange(self.cpu.core_mut());
        }
    }

    /// Whether something ends the processor's sleep.
    fn wakes(&mut self) -> bool {
        let masks = self.cpu.masks();
        let system = &mut self.cpu.core_mut().system;
        if self.for_event {
            std::mem::take(&mut system.event) || system.next(masks).is_some()
        } else {
            system.wakes(masks)
        }
    }

    fn is_done(&self) -> bool {
        self.done.as_ref().is_some_and(|done| {
            self.cpu
                .peek_word(done.address)
                .is_some_and(|word| (done.condition)(word))
        })
    }

    fn handle(&mut self, stop: Stop) -> Result<(), Fault> {
        let uses_floats = self.cpu.register(R::CONTROL) & 4 != 0;
        if uses_floats && !self.cpu.core().system.floating_point_allowed() {
            return self.fault(Cause::FloatingPointOff);
        }
        match stop {
            Stop::Budget | Stop::Debugger => {}
            Stop::WaitForInterrupt => {
                self.state = State::Sleeping;
                self.for_event = false;
            }
            Stop::WaitForEvent => {
                self.state = State::Sleeping;
                self.for_event = true;
            }
            Stop::SupervisorCall => self.cpu.core_mut().system.pend_exception(SUPERVISOR_CALL),
            Stop::Breakpoint(semihosting::BREAKPOINT) => {
                match semihosting::call(&mut self.cpu, &mut self.streams) {
                    Ok(None) => {
                        let behind = self.cpu.pc() + 2;
                        self.cpu.set_register(R::PC, behind | 1);
                        let core = self.cpu.core_mut();
                        core.progress = core.instructions;
                    }
                    Ok(Some(code)) => {
                        self.state = State::Exited(code);
                        if let Some(debugger) = &mut self.debugger {
                            debugger.exited(&mut self.cpu, code);
                        }
                    }
                    Err(cause) => return Err(self.stop(cause)),
                }
            }
            Stop::Breakpoint(number) => return Err(self.stop(Cause::Breakpoint { number })),
            Stop::ExceptionReturn(value) => {
                if let Err(cause) = exceptions::leave(&mut self.cpu, value) {
                    return self.fault(cause);
                }
                let system = &self.cpu.core().system;
                if !system.in_handler() && system.sleeps_on_exit() {
                    self.state = State::Sleeping;
                    self.for_event = false;
                }
            }
            Stop::Reset => self.cpu.reset(),
            Stop::Killed => self.state = State::Exited(0),
            Stop::Fault(cause) => return self.fault(cause),
        }
        Ok(())
    }

    /// Lets the program's handler deal with a fault, or ends the run.
    fn fault(&mut self, mut cause: Cause) -> Result<(), Fault> {
        let stack = self.cpu.register(R::SP);
        if let Cause::Protected {
            address,
            stack: is_stack,
            ..
        } = &mut cause
        {
            *is_stack |= address.abs_diff(stack) < 1024;
        }
        if let Cause::UnknownAddress {
            access: Access::Read | Access::Write,
            ..
        } = cause
        {
            // The engine notices behind the instruction.
            let at = self.cpu.core().access_at();
            self.cpu.set_register(R::PC, at | 1);
        }
        let Some((fault, status, address)) = status(&cause) else {
            return Err(self.stop(cause));
        };
        let masks = self.cpu.masks();
        let system = &mut self.cpu.core_mut().system;
        if !self.options.deliver_faults && !system.handles(fault) {
            return Err(self.stop(cause));
        }
        let Some(taken) = system.escalate(fault, masks) else {
            return Err(self.stop(Cause::LockUp));
        };
        system.note_fault(taken, status, address);
        exceptions::enter(&mut self.cpu, taken).map_err(|_| self.stop(cause))
    }

    fn stop(&mut self, cause: Cause) -> Fault {
        self.state = State::Stopped;
        Fault::new(
            self.id(),
            self.image.name(),
            cause,
            self.cpu.pc(),
            self.cpu.register(R::LR),
            self.image.symbols(),
        )
    }
}

/// The exception of a fault, its bits in the fault status register (CFSR), and the address that it
/// tells.
fn status(cause: &Cause) -> Option<(u8, u32, Option<u32>)> {
    Some(match *cause {
        Cause::Protected {
            access: Access::Fetch,
            ..
        } => (MEMORY_FAULT, 1, None),
        Cause::Protected { address, .. } => (MEMORY_FAULT, 1 << 1 | 1 << 7, Some(address)),
        Cause::UnknownAddress {
            access: Access::Fetch,
            ..
        } => (BUS_FAULT, 1 << 8, None),
        Cause::UnknownAddress { address, .. } => (BUS_FAULT, 1 << 9 | 1 << 15, Some(address)),
        Cause::NoCode => (MEMORY_FAULT, 1, None),
        Cause::NoMemory { .. } => (BUS_FAULT, 1 << 12, None),
        Cause::UndefinedInstruction { .. } => (USAGE_FAULT, 1 << 16, None),
        Cause::NoThumb => (USAGE_FAULT, 1 << 17, None),
        Cause::BadReturn { .. } => (USAGE_FAULT, 1 << 18, None),
        Cause::FloatingPointOff => (USAGE_FAULT, 1 << 19, None),
        Cause::Unaligned => (USAGE_FAULT, 1 << 24, None),
        _ => return None,
    })
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("id", &self.id())
            .field("program", &self.image.name())
            .field("state", &self.state)
            .field("place", &self.place())
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl Program for Processor {
    type Fault = Fault;

    fn poll(&mut self, memory: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, Fault> {
        // SAFETY: both are borrowed by this function and not used before `detach`.
        unsafe { self.cpu.attach(memory, pe) };
        self.exchange_lines();
        let result = self.slice();
        // Its last words.
        self.exchange_lines();
        pe.advance_to(self.cpu.detach());
        result
    }
}
