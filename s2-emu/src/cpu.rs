//! One processor: unicorn, which executes instructions, and everything that it reaches.
//!
//! Unicorn models the Cortex-M4's instructions, flags, special registers and stack pointers. It calls back
//! at the start of every straight stretch of code ([`Core::begin_block`]) and for every access outside
//! the SRAM ([`Core::load`], [`Core::store`]). Exceptions are this crate's, in [`exceptions`](crate::exceptions).

use std::collections::HashMap;
use std::ptr::NonNull;

use s2_hal::dma::Address;
use s2_hal::mock::Pe;
use s2_hal::mock::registers::{Periphery, Registers, Surroundings};
use s2_hal::packet::Packet;
use s2_hal::topology::{Destination, PeId, SRAM_BYTES};
use s2_pac::map;
use unicorn_engine::{
    Arch, ArmCpuModel, HookType, MemType, Mode, Prot, RegisterARM, Unicorn, uc_error,
};

use crate::code::{self, Cost};
use crate::fault::{Access, Cause};
use crate::profile::CallTree;
use crate::system::{Masks, Request, System};
use crate::trace::Trace;

/// Granularity of memory protection in the engine.
const PAGE: u32 = 1024;

const WAIT_FOR_INTERRUPT: u16 = 0xbf30;
const WAIT_FOR_EVENT: u16 = 0xbf20;
const YIELD: u16 = 0xbf10;

/// Bit of the program status: Thumb code, no conditional execution under way.
const THUMB: u32 = 1 << 24;

/// First address of the private peripheral bus.
const PRIVATE: u32 = 0xe000_0000;
/// First address behind it.
const PRIVATE_END: u32 = 0xe010_0000;

/// Why the processor came to a stop. The program counter is at the next instruction, but for
/// [`Stop::Fault`] and [`Stop::Breakpoint`], where it is at the instruction itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The budget is used up, or there are news for the scheduler.
    Budget,
    /// `wfi`.
    WaitForInterrupt,
    /// `wfe`.
    WaitForEvent,
    /// `svc`.
    SupervisorCall,
    /// `bkpt` with this number.
    Breakpoint(u8),
    /// A jump to this value, which ends an exception.
    ExceptionReturn(u32),
    /// The program asked for a reset.
    Reset,
    /// A breakpoint of the debugger comes next.
    Debugger,
    /// The debugger has ended the program.
    Killed,
    /// Something that no correct program does.
    Fault(Cause),
}

/// A straight stretch of code that was executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) start: u32,
    bytes: u32,
    pub(crate) cost: Cost,
    /// How often it was begun.
    pub(crate) count: u64,
}

impl Block {
    fn end(&self) -> u32 {
        self.start + self.bytes
    }
}

/// What callbacks of the engine work on.
pub(crate) struct Core {
    pub(crate) system: System,
    pub(crate) registers: Registers,
    pub(crate) trace: Option<Trace>,
    pub(crate) call_tree: Option<CallTree>,
    /// Addresses where the debugger wants to stop.
    pub(crate) breakpoints: Vec<u32>,
    /// The debugger wants one instruction at a time.
    pub(crate) single_step: bool,
    /// Instructions executed.
    pub(crate) instructions: u64,
    /// Estimate of the cycles that they took.
    pub(crate) cycles: u64,
    /// `instructions` when something last came in or went out.
    pub(crate) progress: u64,
    blocks: Vec<Block>,
    /// Place in `blocks`, plus 1, of the block that last began at twice this address.
    latest: Vec<u32>,
    by_extent: HashMap<(u32, u32), u32>,
    /// The block that was begun last.
    current: usize,
    /// No block begins from this many instructions on.
    limit: u64,
    /// A callback wants the engine to stop.
    stopping: bool,
    /// Why, if it was not just for the scheduler.
    reason: Option<Stop>,
    /// Address of the instruction that accesses registers.
    access_at: u32,
    /// Lowest stack pointer that was seen.
    pub(crate) lowest_stack: u32,
    /// Where the stack ends, if that is known.
    pub(crate) stack_limit: u32,
    /// The block that was begun last moves the stack pointer down.
    stack_moves: bool,
    /// The block that was begun last may have unmasked exceptions.
    unmasks: bool,
    /// The engine's view of memory protection is out of date.
    protection_changed: bool,
    /// Pages of the SRAM that the engine must not access by itself, as bits.
    guarded: u128,
    /// Words of the SRAM.
    sram: NonNull<u32>,
    /// The rest of the chip; there between [`Cpu::attach`] and [`Cpu::detach`] only.
    chip: Option<NonNull<Pe<'static>>>,
    /// The chip's time at instruction `time_at`.
    time: u64,
    time_at: u64,
}

/// The engine with its core.
pub(crate) struct Cpu {
    engine: Unicorn<'static, Core>,
    id: PeId,
    /// The engine counts instructions, one by one.
    counting: bool,
}

impl Cpu {
    /// A processor before its first reset.
    pub(crate) fn new(id: PeId) -> Result<Self, uc_error> {
        let core = Core {
            system: System::default(),
            registers: Registers::new(id, 0),
            trace: None,
            call_tree: None,
            breakpoints: Vec::new(),
            single_step: false,
            instructions: 0,
            cycles: 0,
            progress: 0,
            blocks: Vec::new(),
            latest: vec![0; SRAM_BYTES as usize / 2],
            by_extent: HashMap::new(),
            current: usize::MAX,
            limit: 0,
            stopping: false,
            reason: None,
            access_at: 0,
            lowest_stack: u32::MAX,
            stack_limit: 0,
            stack_moves: false,
            unmasks: false,
            protection_changed: false,
            guarded: 0,
            sram: NonNull::dangling(),
            chip: None,
            time: 0,
            time_at: 0,
        };
        let mut engine = Unicorn::new_with_data(Arch::ARM, Mode::THUMB, core)?;
        engine.ctl_set_cpu_model(ArmCpuModel::CORTEX_M4 as i32)?;
        // Everything else. No access is permitted, so that each one comes to the hook first, with the
        // program counter up to date; those that it lets pass go on to the callbacks here.
        let start = u64::from(SRAM_BYTES);
        let length = (1 << 32) - start;
        engine.mmio_map(
            start,
            length,
            Some(move |engine: &mut Unicorn<'_, Core>, offset, size| {
                let value = engine.get_data_mut().load((start + offset) as u32, size);
                stop_if_over(engine);
                value
            }),
            Some(move |engine: &mut Unicorn<'_, Core>, offset, size, value| {
                engine
                    .get_data_mut()
                    .store((start + offset) as u32, size, value);
                stop_if_over(engine);
            }),
        )?;
        engine.mem_protect(start, length, Prot::NONE)?;
        engine.add_mem_hook(
            HookType::MEM_INVALID,
            1,
            0,
            |engine, kind, address, size, value| {
                let pc = engine.reg_read(RegisterARM::PC).unwrap_or(0) as u32;
                let core = engine.get_data_mut();
                let goes_on = core.access(kind, address as u32, size, value as u64, pc);
                if goes_on {
                    // With the program counter, the engine has brought the state of conditional execution
                    // up to date, which the rest of the block does not expect: it would run on into the
                    // next block.
                    let _ = engine.reg_write(RegisterARM::EPSR, THUMB.into());
                }
                goes_on
            },
        )?;
        engine.add_block_hook(1, 0, |engine, address, bytes| {
            if std::mem::take(&mut engine.get_data_mut().stack_moves) {
                let stack = engine.reg_read(RegisterARM::SP).unwrap_or(0) as u32;
                engine.get_data_mut().note_stack(stack);
            }
            if !engine.get_data_mut().begin_block(address as u32, bytes) {
                let _ = engine.emu_stop();
            }
        })?;
        engine.add_intr_hook(|engine, number| {
            let core = engine.get_data_mut();
            core.stop(interrupted(number));
            let _ = engine.emu_stop();
        })?;
        Ok(Self {
            engine,
            id,
            counting: false,
        })
    }

    pub(crate) fn id(&self) -> PeId {
        self.id
    }

    pub(crate) fn core(&self) -> &Core {
        self.engine.get_data()
    }

    pub(crate) fn core_mut(&mut self) -> &mut Core {
        self.engine.get_data_mut()
    }

    pub(crate) fn register(&self, register: RegisterARM) -> u32 {
        // The registers that this crate names exist.
        self.engine.reg_read(register).unwrap_or(0) as u32
    }

    pub(crate) fn set_register(&mut self, register: RegisterARM, value: u32) {
        let _ = self.engine.reg_write(register, value.into());
    }

    /// A floating-point register of 64 bits.
    pub(crate) fn double(&self, register: RegisterARM) -> u64 {
        self.engine.reg_read(register).unwrap_or(0)
    }

    pub(crate) fn set_double(&mut self, register: RegisterARM, value: u64) {
        let _ = self.engine.reg_write(register, value);
    }

    pub(crate) fn pc(&self) -> u32 {
        self.register(RegisterARM::PC) & !1
    }

    pub(crate) fn masks(&self) -> Masks {
        Masks {
            primask: self.register(RegisterARM::PRIMASK) & 1 == 1,
            faultmask: self.register(RegisterARM::FAULTMASK) & 1 == 1,
            basepri: self.register(RegisterARM::BASEPRI) as u8,
        }
    }

    /// Tells the engine that handler mode was entered or left, which it only notices when flags are
    /// written.
    pub(crate) fn mode_has_changed(&mut self) {
        let flags = self.register(RegisterARM::APSR_NZCV);
        self.set_register(RegisterARM::APSR_NZCV, flags);
    }

    /// Reads a word of the processor's own registers as a debugger does, without effects.
    pub(crate) fn peek_private(&self, address: u32) -> Option<u32> {
        let core = self.core();
        core.system.clone().read(address, core.now())
    }

    /// Reads memory as a debugger does, without effects: SRAM only.
    pub(crate) fn peek(&self, address: u32, into: &mut [u8]) -> bool {
        self.in_sram(address, into.len()) && self.engine.mem_read(address.into(), into).is_ok()
    }

    fn in_sram(&self, address: u32, length: usize) -> bool {
        u64::from(address) + length as u64 <= u64::from(SRAM_BYTES)
    }

    pub(crate) fn peek_word(&self, address: u32) -> Option<u32> {
        let mut word = [0; 4];
        self.peek(address, &mut word)
            .then(|| u32::from_le_bytes(word))
    }

    /// Writes SRAM as a debugger does.
    pub(crate) fn poke(&mut self, address: u32, from: &[u8]) -> bool {
        self.in_sram(address, from.len()) && self.engine.mem_write(address.into(), from).is_ok()
    }

    /// Starts anew, from the vector table. Counters go on.
    pub(crate) fn reset(&mut self) {
        let id = self.id;
        let core = self.core_mut();
        core.system = System::default();
        core.registers = Registers::new(id, 0);
        // Code may have been written from outside, which the engine does not see.
        core.latest.fill(0);
        core.by_extent.clear();
        let _ = self.engine.ctl_flush_tb();
        self.protect();
        use RegisterARM as R;
        for register in [
            R::PRIMASK,
            R::FAULTMASK,
            R::BASEPRI,
            R::CONTROL,
            R::FPSCR,
            R::IPSR,
        ] {
            self.set_register(register, 0);
        }
        self.set_register(R::CONTROL, 0);
        self.mode_has_changed();
        let stack = self.peek_word(0).unwrap_or(0);
        let entry = self.peek_word(4).unwrap_or(0);
        self.set_register(R::SP, stack & !3);
        self.set_register(R::LR, u32::MAX);
        self.set_register(R::PC, entry);
        if let Some(tree) = &mut self.core_mut().call_tree {
            tree.reset();
        }
    }

    /// Gives the processor its memory and the rest of the chip, until [`detach`](Self::detach). All
    /// other methods that reach them are for the time between.
    ///
    /// # Safety
    /// Until `detach`, nobody uses `memory` and `chip`, and they stay borrowed.
    pub(crate) unsafe fn attach(&mut self, memory: &mut [u64], chip: &mut Pe<'_>) {
        assert_eq!(size_of_val(memory), SRAM_BYTES as usize);
        let pointer = NonNull::from(memory).cast::<u32>();
        // The engine accesses the memory by an address that it keeps.
        pointer.expose_provenance();
        if self.core().sram != pointer {
            let length = u64::from(SRAM_BYTES);
            let _ = self.engine.mem_unmap(0, length);
            // SAFETY: the memory has this length. The engine accesses it only while it executes or is
            // asked to read or write, which happens between `attach` and `detach` alone; nobody else
            // uses it then, by the contract of this function. If it is elsewhere the next time, it is
            // mapped anew.
            let mapped = unsafe {
                self.engine
                    .mem_map_ptr(0, length, Prot::ALL, pointer.as_ptr().cast())
            };
            mapped.unwrap_or_else(|error| unreachable!("the engine takes any memory: {error:?}"));
            self.core_mut().guarded = 0;
            self.protect();
        }
        let core = self.core_mut();
        // Also where the address is the same: the provenance is new.
        core.sram = pointer;
        core.time = core.time.max(chip.now());
        core.time_at = core.instructions;
        core.chip = Some(NonNull::from(chip).cast());
    }

    /// Ends what [`attach`](Self::attach) has begun. Returns the time.
    pub(crate) fn detach(&mut self) -> u64 {
        let core = self.core_mut();
        core.chip = None;
        core.now()
    }

    /// Executes about `budget` instructions, at most one block more.
    pub(crate) fn run(&mut self, budget: u64) -> Stop {
        self.execute(budget, 0)
    }

    /// Executes one instruction.
    pub(crate) fn step(&mut self) -> Stop {
        let (before, cycles) = (self.core().instructions, self.core().cycles);
        let breakpoints = std::mem::take(&mut self.core_mut().breakpoints);
        let stop = self.execute(u64::MAX >> 1, 1);
        let core = self.core_mut();
        core.breakpoints = breakpoints;
        // The engine has begun a block, and counted that.
        core.instructions = before + 1;
        core.cycles = cycles + 1;
        core.progress = core.progress.min(before + 1);
        core.time_at = core.time_at.min(before + 1);
        stop
    }

    fn execute(&mut self, budget: u64, count: usize) -> Stop {
        let core = self.core_mut();
        core.limit = core.instructions.saturating_add(budget);
        core.stopping = false;
        core.reason = None;
        core.current = usize::MAX;
        // Bit 0 says Thumb. Address 0 holds no code, so that the engine never gets to the address where
        // it is told to end.
        let from = u64::from(self.pc() | 1);
        if count > 0 && !self.counting {
            // Code that was translated before does not count.
            let _ = self.engine.ctl_flush_tb();
        }
        self.counting = count > 0;
        let result = self.engine.emu_start(from, 0, 0, count);
        if std::mem::take(&mut self.core_mut().protection_changed) {
            self.protect();
        }
        let pc = self.pc();
        let core = self.core_mut();
        let reason = core.reason.take();
        let stopping = core.stopping;
        // The last instruction, if the block that was begun last has been executed to its end.
        let block = core
            .blocks
            .get(core.current)
            .filter(|block| pc == block.end());
        let last = block.map(|block| block.cost.last);
        match (reason, last) {
            (Some(Stop::Breakpoint(_)), _) => Stop::Breakpoint(self.half(pc) as u8),
            // Bit 0 is set in every such value.
            (Some(Stop::ExceptionReturn(_)), _) => Stop::ExceptionReturn(pc | 1),
            (Some(reason), _) => reason,
            // Also when the scheduler wanted a stop in the same block.
            (None, Some(WAIT_FOR_INTERRUPT)) => Stop::WaitForInterrupt,
            (None, Some(WAIT_FOR_EVENT)) => Stop::WaitForEvent,
            _ => match result {
                Ok(()) => Stop::Budget,
                // An undefined instruction, to the engine's eyes.
                Err(uc_error::INSN_INVALID) if last == Some(YIELD) => Stop::Budget,
                Err(uc_error::INSN_INVALID) if self.register(RegisterARM::XPSR) & THUMB == 0 => {
                    Stop::Fault(Cause::NoThumb)
                }
                Err(uc_error::INSN_INVALID) => Stop::Fault(Cause::UndefinedInstruction {
                    code: self.half(pc),
                }),
                Err(_) if stopping => Stop::Budget,
                Err(error) => Stop::Fault(Cause::Engine {
                    error: format!("{error:?}"),
                }),
            },
        }
    }

    fn half(&self, address: u32) -> u16 {
        let mut half = [0; 2];
        self.peek(address, &mut half);
        u16::from_le_bytes(half)
    }

    /// Makes the engine's view of the SRAM that of the memory protection unit.
    pub(crate) fn protect(&mut self) {
        for page in 0..SRAM_BYTES / PAGE {
            let address = page * PAGE;
            let free = self.core().system.all_allowed(address, PAGE);
            let was_free = self.core().guarded >> page & 1 == 0;
            if free != was_free {
                let permissions = if free { Prot::ALL } else { Prot::EXEC };
                let _ = self
                    .engine
                    .mem_protect(address.into(), PAGE.into(), permissions);
                self.core_mut().guarded ^= 1 << page;
            }
        }
    }
}

/// Stops the engine in the middle of a block, whose rest is not executed: only where the program does not
/// go on. For a stop without loss the next block is not begun.
fn stop_if_over(engine: &mut Unicorn<'_, Core>) {
    if engine.get_data().reason.is_some() {
        let _ = engine.emu_stop();
    }
}

impl Core {
    /// The chip's time: a cycle for each instruction.
    pub(crate) fn now(&self) -> u64 {
        self.time + self.instructions.saturating_sub(self.time_at)
    }

    /// Blocks that were executed.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Asks the engine to stop behind the instruction, or soon after.
    fn stop(&mut self, reason: Stop) {
        self.stopping = true;
        self.reason.get_or_insert(reason);
    }

    /// The PE's registers, its SRAM, and the chip around them. `None` where nothing is attached.
    fn parts(&mut self) -> Option<(&mut Registers, &mut [u32], Chip<'_>)> {
        let pe = self.chip.as_mut()?;
        // SAFETY: `chip` is set by `Cpu::attach` alone, whose caller leaves the chip to this
        // processor until `detach` clears it. Callbacks do not nest and the borrow of `self` keeps this the
        // only reference. The lifetime that was forgotten there does not leave this value.
        let pe = unsafe { pe.as_mut() };
        // SAFETY: the same holds for the memory. The engine does not access it while it waits for a
        // callback.
        let sram =
            unsafe { std::slice::from_raw_parts_mut(self.sram.as_ptr(), SRAM_BYTES as usize / 4) };
        let chip = Chip {
            pe,
            trace: self.trace.as_mut(),
            at: self.access_at,
        };
        Some((&mut self.registers, sram, chip))
    }

    /// Code at an address.
    fn bytes(&self, address: u32, length: u32) -> &[u8] {
        let length = length.min(SRAM_BYTES.saturating_sub(address));
        let offset = address.min(SRAM_BYTES) as usize;
        // SAFETY: the bytes lie in the SRAM, which nothing else accesses now, as in `parts`; code is
        // executed, and so this called, between `Cpu::attach` and `Cpu::detach` alone.
        unsafe {
            let start = self.sram.as_ptr().cast::<u8>().add(offset);
            std::slice::from_raw_parts(start, length as usize)
        }
    }

    /// The engine is about to execute a block. Returns whether it shall.
    fn begin_block(&mut self, start: u32, bytes: u32) -> bool {
        self.stopping |= std::mem::take(&mut self.unmasks) && self.system.is_pending();
        if self.stopping || self.instructions >= self.limit {
            self.stopping = true;
            return false;
        }
        if !self.breakpoints.is_empty()
            && (self.breakpoints.iter()).any(|at| (start..start + bytes).contains(at))
        {
            self.stop(Stop::Debugger);
            return false;
        }
        let place = self.latest.get(start as usize / 2).copied().unwrap_or(0) as usize;
        let known = self.blocks.get(place.wrapping_sub(1));
        let place = if known.is_some_and(|block| block.bytes == bytes) {
            place - 1
        } else {
            self.find_block(start, bytes)
        };
        self.current = place;
        let block = &mut self.blocks[place];
        block.count += 1;
        let cost = block.cost;
        self.instructions += u64::from(cost.instructions);
        self.cycles += u64::from(cost.cycles);
        self.stack_moves = cost.stack;
        self.unmasks = cost.unmasks;
        self.system.event |= cost.event;
        if let Some(tree) = &mut self.call_tree {
            tree.block(start, start + bytes, cost);
        }
        true
    }

    fn note_stack(&mut self, stack: u32) {
        self.lowest_stack = self.lowest_stack.min(stack);
        if stack < self.stack_limit {
            let limit = self.stack_limit;
            self.stop(Stop::Fault(Cause::StackOverflow { stack, limit }));
        }
    }

    #[cold]
    fn find_block(&mut self, start: u32, bytes: u32) -> usize {
        let place = *self
            .by_extent
            .entry((start, bytes))
            .or_insert(self.blocks.len() as u32);
        if place as usize == self.blocks.len() {
            let cost = code::cost(self.bytes(start, bytes));
            self.blocks.push(Block {
                start,
                bytes,
                cost,
                count: 0,
            });
        }
        if let Some(latest) = self.latest.get_mut(start as usize / 2) {
            *latest = place + 1;
        }
        place as usize
    }

    /// An access outside the SRAM, or to protected memory, is about to happen at `pc`. Returns whether
    /// it may.
    fn access(&mut self, kind: MemType, address: u32, size: usize, value: u64, pc: u32) -> bool {
        self.access_at = pc & !1;
        let (access, write) = match kind {
            MemType::WRITE | MemType::WRITE_PROT | MemType::WRITE_UNMAPPED => (Access::Write, true),
            MemType::FETCH | MemType::FETCH_PROT | MemType::FETCH_UNMAPPED => {
                self.refuse(Access::Fetch, address, size);
                return false;
            }
            _ => (Access::Read, false),
        };
        if address >= SRAM_BYTES {
            return true;
        }
        let last = address + size.max(1) as u32 - 1;
        for byte in [address, last] {
            if let Err(region) = self.system.protection(byte, write) {
                let cause = Cause::Protected {
                    access,
                    address,
                    region,
                    stack: false,
                };
                self.stop(Stop::Fault(cause));
                return false;
            }
        }
        if write && let Some((_, sram, _)) = self.parts() {
            // The engine drops writes to a page that is not free as a whole.
            for (place, byte) in (address as usize..).zip(&value.to_le_bytes()[..size.min(8)]) {
                let shift = 8 * (place % 4);
                let word = &mut sram[place / 4];
                *word = *word & !(0xff << shift) | u32::from(*byte) << shift;
            }
        }
        true
    }

    /// Reads `size` bytes outside the SRAM.
    fn load(&mut self, address: u32, size: usize) -> u64 {
        if size == 8 {
            let low = self.load(address, 4);
            return low | self.load(address.wrapping_add(4), 4) << 32;
        }
        let word = self.load_word(address & !3, size);
        let bits = word >> (8 * (address & 3));
        u64::from(match size {
            1 => bits & 0xff,
            2 => bits & 0xffff,
            _ => bits,
        })
    }

    /// Writes `size` bytes outside the SRAM.
    fn store(&mut self, address: u32, size: usize, value: u64) {
        if size == 8 {
            self.store(address, 4, value & 0xffff_ffff);
            self.store(address.wrapping_add(4), 4, value >> 32);
            return;
        }
        let mut word = value as u32;
        if !is_whole(address, size) {
            return self.refuse(Access::Write, address & !3, size);
        }
        if size < 4 {
            let shift = 8 * (address & 3);
            let mask = (u32::MAX >> (32 - 8 * size)) << shift;
            word = self.load_word(address & !3, size) & !mask | (word << shift) & mask;
        }
        self.store_word(address & !3, size, word);
    }

    fn load_word(&mut self, address: u32, size: usize) -> u32 {
        let now = self.now();
        let value = if (PRIVATE..PRIVATE_END).contains(&address) {
            self.system.read(address, now)
        } else if is_whole(address, size) {
            // Reading a register again and again is none.
            if Address(address).place().is_some() {
                self.progress = self.instructions;
            }
            self.reach(|registers, sram, chip| registers.read(address, sram, chip).ok())
        } else {
            None
        };
        let value = value.unwrap_or_else(|| {
            self.refuse(Access::Read, address, size);
            0
        });
        if let Some(trace) = &mut self.trace {
            trace.register(now, self.access_at, address, value, false);
        }
        value
    }

    fn store_word(&mut self, address: u32, size: usize, value: u32) {
        let now = self.now();
        if let Some(trace) = &mut self.trace {
            trace.register(now, self.access_at, address, value, true);
        }
        let done = if (PRIVATE..PRIVATE_END).contains(&address) {
            // Something may be pending now, or be enabled: the scheduler is to look at it.
            self.stopping = true;
            self.system
                .write(address, value, now)
                .map(|request| match request {
                    Some(Request::Reset) => self.stop(Stop::Reset),
                    Some(Request::Protection) => self.protection_changed = true,
                    None => {}
                })
        } else if is_whole(address, size) {
            // A timer may end sooner than the scheduler thinks.
            self.stopping |= (map::TIMER_1..map::COMMS).contains(&address);
            self.progress = self.instructions;
            self.reach(|registers, sram, chip| registers.write(address, value, sram, chip).ok())
        } else {
            None
        };
        if done.is_none() {
            self.refuse(Access::Write, address, size);
        }
    }

    /// Ends the program for an access.
    fn refuse(&mut self, access: Access, address: u32, size: usize) {
        self.stop(Stop::Fault(Cause::UnknownAddress {
            access,
            address,
            bytes: size as u8,
        }));
    }

    /// Works on the PE's registers, in the chip.
    fn reach<R>(
        &mut self,
        work: impl FnOnce(&mut Registers, &mut [u32], &mut Chip<'_>) -> Option<R>,
    ) -> Option<R> {
        let now = self.now();
        let (registers, sram, mut chip) = self.parts()?;
        chip.pe.advance_to(now);
        let result = work(registers, sram, &mut chip);
        // Reaching other memories takes time.
        self.time = chip.pe.now();
        self.time_at = self.instructions;
        result
    }

    /// Brings registers and interrupt controller up to date: packets that have arrived, lines that are up.
    pub(crate) fn update(&mut self) {
        let now = self.now();
        let Some((registers, sram, mut chip)) = self.parts() else {
            return;
        };
        chip.pe.advance_to(now);
        let mut arrived = false;
        while let Some(packet) = chip.pe.take_arrival() {
            arrived = true;
            let taken = registers.receive(packet, sram);
            if let Some(trace) = &chip.trace {
                trace.arrival(now, packet, taken);
            }
        }
        let lines = registers.interrupts(&mut chip);
        self.system.set_lines(lines);
        self.system.advance(now);
        if arrived {
            self.progress = self.instructions;
        }
    }

    /// Asks for a poll when time alone brings the next interrupt.
    pub(crate) fn set_alarm(&mut self) {
        let now = self.now();
        let next = self.next_event();
        if let (Some(next), Some((_, _, chip))) = (next, self.parts()) {
            chip.pe.wake_at(next.max(now + 1));
        }
    }

    /// Asks for a poll in so many cycles.
    pub(crate) fn wake_in(&mut self, cycles: u64) {
        let at = self.now() + cycles;
        if let Some((_, _, chip)) = self.parts() {
            chip.pe.wake_at(at);
        }
    }

    /// Works on what the PEs share.
    pub(crate) fn with_periphery<R>(
        &mut self,
        work: impl FnOnce(&mut Periphery) -> R,
    ) -> Option<R> {
        let (_, _, chip) = self.parts()?;
        Some(work(chip.pe.periphery()))
    }

    /// When time alone brings the next interrupt.
    pub(crate) fn next_event(&mut self) -> Option<u64> {
        let ticks = self.system.next_tick();
        let registers = self
            .parts()
            .and_then(|(registers, _, mut chip)| registers.next_event(&mut chip));
        registers.into_iter().chain(ticks).min()
    }

    /// Where the last access outside the SRAM was made from.
    pub(crate) fn access_at(&self) -> u32 {
        self.access_at
    }
}

/// What an exception of the engine means. The numbers are the engine's.
fn interrupted(number: u32) -> Stop {
    match number {
        2 => Stop::SupervisorCall,
        // Aborts by the architecture's memory map.
        3 => Stop::Fault(Cause::NoCode),
        4 | 22 => Stop::Fault(Cause::Unaligned),
        7 | 16 => Stop::Breakpoint(0),
        8 => Stop::ExceptionReturn(0),
        _ => Stop::Fault(Cause::Engine {
            error: format!("exception {number}"),
        }),
    }
}

/// Whether something at `address` may be accessed by so many bytes: memory by any number, registers by
/// words.
fn is_whole(address: u32, size: usize) -> bool {
    size == 4 || (PRIVATE..PRIVATE_END).contains(&address) || Address(address).place().is_some()
}

/// The chip around a PE, with packets written down as they leave.
struct Chip<'c> {
    pe: &'c mut Pe<'static>,
    trace: Option<&'c mut Trace>,
    at: u32,
}

impl Surroundings for Chip<'_> {
    fn now(&self) -> u64 {
        self.pe.now()
    }

    fn send(&mut self, to: Destination, packet: Packet) -> u64 {
        if let Some(trace) = &mut self.trace {
            trace.departure(self.pe.now(), self.at, to, packet);
        }
        self.pe.send(to, packet)
    }

    fn load(&mut self, address: Address) -> Option<u32> {
        self.pe.load(address)
    }

    fn store(&mut self, address: Address, value: u32) -> Option<()> {
        self.pe.store(address, value)
    }

    fn periphery(&mut self) -> &mut Periphery {
        self.pe.periphery()
    }
}
