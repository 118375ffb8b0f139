//! The processor's own registers: interrupt controller, system timer, memory protection, cycle counter.
//!
//! Modelled as far as firmware uses them; any other address of the private peripheral bus is a fault.
//! Of priorities, the chip has 5 bits (tag J, `device.h`).

/// Exceptions by number. Interrupt n is exception `INTERRUPT + n`.
pub(crate) mod exception {
    pub(crate) const NON_MASKABLE: u8 = 2;
    pub(crate) const HARD_FAULT: u8 = 3;
    pub(crate) const MEMORY_FAULT: u8 = 4;
    pub(crate) const BUS_FAULT: u8 = 5;
    pub(crate) const USAGE_FAULT: u8 = 6;
    pub(crate) const SUPERVISOR_CALL: u8 = 11;
    pub(crate) const PEND_SV: u8 = 14;
    pub(crate) const SYS_TICK: u8 = 15;
    pub(crate) const INTERRUPT: u8 = 16;
}

use exception::{
    BUS_FAULT, HARD_FAULT, INTERRUPT, MEMORY_FAULT, NON_MASKABLE, PEND_SV, SUPERVISOR_CALL,
    SYS_TICK, USAGE_FAULT,
};

/// Interrupts that the chip's 45 sources need, rounded up to whole registers of 16.
const INTERRUPTS: u32 = 48;

/// Bits of `enabled`, `pending` and `active` that stand for interrupts.
const INTERRUPT_BITS: u64 = ((1 << INTERRUPTS) - 1) << INTERRUPT;

/// Priority bits that exist.
const PRIORITY_BITS: u8 = 0xf8;

/// Regions of the memory protection unit.
const REGIONS: usize = 8;

/// What masks exceptions, from the processor's special registers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masks {
    pub(crate) primask: bool,
    pub(crate) faultmask: bool,
    pub(crate) basepri: u8,
}

/// Something that a write asks the emulator to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Reset,
    /// Memory protection has changed.
    Protection,
}

/// The registers. Exceptions are bits by number in `enabled`, `pending` and `active`.
#[derive(Clone, Debug)]
pub(crate) struct System {
    enabled: u64,
    pending: u64,
    active: u64,
    /// Interrupt lines that peripherals hold up, as exceptions.
    lines: u64,
    priorities: [u8; 64],
    /// Something has happened since the last `wfe`.
    pub(crate) event: bool,
    pub(crate) vectors: u32,
    priority_group: u8,
    sleep_control: u32,
    configuration: u32,
    fault_status: u32,
    hard_fault_status: u32,
    memory_fault_address: u32,
    bus_fault_address: u32,
    coprocessors: u32,
    floating_point: [u32; 3],
    tick: SysTick,
    protection: Protection,
    debug_control: u32,
    cycle_counter_on: bool,
    cycle_offset: u64,
}

impl Default for System {
    fn default() -> Self {
        Self {
            // Faults are enabled one by one; the rest of the system's exceptions always are.
            enabled: 1 << NON_MASKABLE
                | 1 << HARD_FAULT
                | 1 << SUPERVISOR_CALL
                | 1 << PEND_SV
                | 1 << SYS_TICK,
            pending: 0,
            active: 0,
            lines: 0,
            priorities: [0; 64],
            event: false,
            vectors: 0,
            priority_group: 0,
            sleep_control: 0,
            configuration: 0x200,
            fault_status: 0,
            hard_fault_status: 0,
            memory_fault_address: 0,
            bus_fault_address: 0,
            coprocessors: 0,
            floating_point: [0xc000_0000, 0, 0],
            tick: SysTick::default(),
            protection: Protection::default(),
            debug_control: 0,
            cycle_counter_on: false,
            cycle_offset: 0,
        }
    }
}

/// Every bit of a word of a register file, moved to where exceptions have them.
fn interrupt_word(offset: u32, bits: u32) -> u64 {
    (u64::from(bits) << (8 * offset) << INTERRUPT) & INTERRUPT_BITS
}

impl System {
    /// Reads a word of the private peripheral bus; `None` if the register is not modelled.
    pub(crate) fn read(&mut self, address: u32, now: u64) -> Option<u32> {
        let word =
            |offset: u32, bits: u64| ((bits & INTERRUPT_BITS) >> INTERRUPT >> (8 * offset)) as u32;
        Some(match address {
            // Trace ports: always ready, nobody listens.
            0xe000_0000..=0xe000_007c => 1,
            0xe000_0e00 | 0xe000_0e40 | 0xe000_0e80 => 0,
            // Cycle counter; one counter and no comparators.
            0xe000_1000 => u32::from(self.cycle_counter_on) | 0x0f00_0000,
            0xe000_1004 => self.cycles(now),
            0xe000_e004 => INTERRUPTS / 32,
            0xe000_e008 => 0,
            0xe000_e010..=0xe000_e01c => self.tick.read(address, now),
            0xe000_e100..=0xe000_e104 => word(address - 0xe000_e100, self.enabled),
            0xe000_e180..=0xe000_e184 => word(address - 0xe000_e180, self.enabled),
            0xe000_e200..=0xe000_e204 => word(address - 0xe000_e200, self.pending | self.lines),
            0xe000_e280..=0xe000_e284 => word(address - 0xe000_e280, self.pending | self.lines),
            0xe000_e300..=0xe000_e304 => word(address - 0xe000_e300, self.active),
            0xe000_e400..=0xe000_e42c => {
                self.priority_word(u32::from(INTERRUPT) + address - 0xe000_e400)
            }
            // The identification of a Cortex-M4, revision r0p0 (tag J: `__CM4_REV` is 0).
            0xe000_ed00 => 0x410f_c240,
            0xe000_ed04 => self.interrupt_state(),
            0xe000_ed08 => self.vectors,
            0xe000_ed0c => 0xfa05_0000 | u32::from(self.priority_group) << 8,
            0xe000_ed10 => self.sleep_control,
            0xe000_ed14 => self.configuration,
            0xe000_ed18..=0xe000_ed20 => self.priority_word(address - 0xe000_ed14),
            0xe000_ed24 => self.handler_control(),
            0xe000_ed28 => self.fault_status,
            0xe000_ed2c => self.hard_fault_status,
            0xe000_ed34 => self.memory_fault_address,
            0xe000_ed38 => self.bus_fault_address,
            0xe000_ed30 | 0xe000_ed3c => 0,
            0xe000_ed88 => self.coprocessors,
            0xe000_ed90..=0xe000_edb8 => self.protection.read(address),
            // No debugger is attached, as far as firmware can see.
            0xe000_edf0 => 0,
            0xe000_edfc => self.debug_control,
            0xe000_ef34..=0xe000_ef3c => self.floating_point[(address - 0xe000_ef34) as usize / 4],
            // Features of the floating-point unit: those of a Cortex-M4F.
            0xe000_ef40 => 0x1011_0021,
            0xe000_ef44 => 0x1100_0011,
            _ => return None,
        })
    }

    /// Writes a word of the private peripheral bus; `None` if the register is not modelled.
    pub(crate) fn write(&mut self, address: u32, value: u32, now: u64) -> Option<Option<Request>> {
        let mut request = None;
        match address {
            0xe000_0000..=0xe000_007c | 0xe000_0e00..=0xe000_0fb0 => {}
            0xe000_1000 => {
                let cycles = self.cycles(now);
                self.cycle_counter_on = value & 1 == 1;
                self.set_cycles(cycles, now);
            }
            0xe000_1004 => self.set_cycles(value, now),
            0xe000_e008 => {}
            0xe000_e010..=0xe000_e01c => self.tick.write(address, value, now),
            0xe000_e100..=0xe000_e104 => {
                self.enabled |= interrupt_word(address - 0xe000_e100, value);
            }
            0xe000_e180..=0xe000_e184 => {
                self.enabled &= !interrupt_word(address - 0xe000_e180, value);
            }
            0xe000_e200..=0xe000_e204 => self.pend(interrupt_word(address - 0xe000_e200, value)),
            0xe000_e280..=0xe000_e284 => {
                self.pending &= !interrupt_word(address - 0xe000_e280, value);
            }
            0xe000_e400..=0xe000_e42c => {
                let first = u32::from(INTERRUPT) + address - 0xe000_e400;
                self.set_priority_word(first, value);
            }
            0xe000_ed04 => self.set_interrupt_state(value),
            0xe000_ed08 => self.vectors = value & !0x7f,
            // A write counts with the key only.
            0xe000_ed0c if value >> 16 == 0x05fa => {
                self.priority_group = (value >> 8 & 7) as u8;
                if value & 4 != 0 {
                    request = Some(Request::Reset);
                }
            }
            0xe000_ed0c => {}
            0xe000_ed10 => self.sleep_control = value & 0x16,
            0xe000_ed14 => self.configuration = value | 0x200,
            0xe000_ed18..=0xe000_ed20 => self.set_priority_word(address - 0xe000_ed14, value),
            0xe000_ed24 => {
                let faults = u64::from(value >> 16 & 7) << MEMORY_FAULT;
                self.enabled = self.enabled & !(7 << MEMORY_FAULT) | faults;
            }
            // Flags of faults are cleared by writing ones.
            0xe000_ed28 => self.fault_status &= !value,
            0xe000_ed2c => self.hard_fault_status &= !value,
            0xe000_ed34 => self.memory_fault_address = value,
            0xe000_ed38 => self.bus_fault_address = value,
            // Only the floating-point unit is there.
            0xe000_ed88 => self.coprocessors = value & 0x00f0_0000,
            0xe000_ed94..=0xe000_edb8 => {
                self.protection.write(address, value);
                request = Some(Request::Protection);
            }
            0xe000_edfc => self.debug_control = value,
            0xe000_ef00 if value < INTERRUPTS => self.pend(1 << (value + u32::from(INTERRUPT))),
            0xe000_ef34..=0xe000_ef3c => {
                self.floating_point[(address - 0xe000_ef34) as usize / 4] = value;
            }
            _ => return None,
        }
        Some(request)
    }

    fn cycles(&self, now: u64) -> u32 {
        let running = if self.cycle_counter_on { now } else { 0 };
        running.wrapping_sub(self.cycle_offset) as u32
    }

    fn set_cycles(&mut self, cycles: u32, now: u64) {
        let running = if self.cycle_counter_on { now } else { 0 };
        self.cycle_offset = running.wrapping_sub(cycles.into());
    }

    fn priority_word(&self, first: u32) -> u32 {
        let first = first as usize;
        let bytes = &self.priorities[first..first + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn set_priority_word(&mut self, first: u32, value: u32) {
        for (number, byte) in (first as usize..).zip(value.to_le_bytes()) {
            // The priorities of reset, the non-maskable interrupt and the hard fault are fixed.
            if number > usize::from(HARD_FAULT) {
                self.priorities[number] = byte & PRIORITY_BITS;
            }
        }
    }

    fn interrupt_state(&self) -> u32 {
        let pending = self.pending | self.lines;
        let first = (pending & self.enabled).trailing_zeros() & 63;
        let bit = |number: u8, to: u32| ((pending >> number & 1) as u32) << to;
        bit(NON_MASKABLE, 31)
            | bit(PEND_SV, 28)
            | bit(SYS_TICK, 26)
            | u32::from(pending & INTERRUPT_BITS != 0) << 22
            | first << 12
            | u32::from(self.active.count_ones() <= 1) << 11
            | self.highest_active().map_or(0, u32::from)
    }

    fn set_interrupt_state(&mut self, value: u32) {
        for (bit, number, set) in [
            (31, NON_MASKABLE, true),
            (28, PEND_SV, true),
            (27, PEND_SV, false),
            (26, SYS_TICK, true),
            (25, SYS_TICK, false),
        ] {
            if value >> bit & 1 == 1 && set {
                self.pend(1 << number);
            } else if value >> bit & 1 == 1 {
                self.pending &= !(1 << number);
            }
        }
    }

    fn handler_control(&self) -> u32 {
        let active = |number: u8| (self.active >> number & 1) as u32;
        let pending = |number: u8| (self.pending >> number & 1) as u32;
        active(MEMORY_FAULT)
            | active(BUS_FAULT) << 1
            | active(USAGE_FAULT) << 3
            | active(SUPERVISOR_CALL) << 7
            | active(PEND_SV) << 10
            | active(SYS_TICK) << 11
            | pending(USAGE_FAULT) << 12
            | pending(MEMORY_FAULT) << 13
            | pending(BUS_FAULT) << 14
            | pending(SUPERVISOR_CALL) << 15
            | ((self.enabled >> MEMORY_FAULT & 7) as u32) << 16
    }

    fn pend(&mut self, exceptions: u64) {
        // With SEVONPEND, whatever becomes pending is an event.
        if exceptions & !self.pending != 0 && self.sleep_control & 0x10 != 0 {
            self.event = true;
        }
        self.pending |= exceptions;
    }

    /// Makes an exception of the processor pending.
    pub(crate) fn pend_exception(&mut self, number: u8) {
        self.pend(1 << number);
    }

    /// Tells which interrupt lines peripherals hold up.
    pub(crate) fn set_lines(&mut self, interrupts: u64) {
        let lines = (interrupts << INTERRUPT) & INTERRUPT_BITS;
        let raised = lines & !self.lines;
        self.lines = lines;
        // An edge is kept, and a line that stays up while its handler is done asks again.
        self.pend(raised | lines & !self.active);
        if raised & self.enabled != 0 {}
    }

    /// Lets the system timer run up to `now`.
    pub(crate) fn advance(&mut self, now: u64) {
        if self.tick.advance(now) {
            self.pend(1 << SYS_TICK);
        }
    }

    /// When the system timer raises its exception next.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.tick.next()
    }

    /// The exception that would be taken now.
    pub(crate) fn next(&self, masks: Masks) -> Option<u8> {
        let (number, priority) = self.most_urgent()?;
        (priority < self.execution_priority(masks)).then_some(number)
    }

    /// Whether an exception waits, masked or not.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending & self.enabled & !self.active != 0
    }

    /// Whether a processor that sleeps by `wfi` wakes: also for what only PRIMASK holds back.
    pub(crate) fn wakes(&self, masks: Masks) -> bool {
        let masks = Masks {
            primask: false,
            ..masks
        };
        self.next(masks).is_some()
    }

    fn most_urgent(&self) -> Option<(u8, i16)> {
        let mut candidates = self.pending & self.enabled & !self.active;
        let mut best: Option<(u8, i16)> = None;
        while candidates != 0 {
            let number = candidates.trailing_zeros() as u8;
            candidates &= candidates - 1;
            let priority = self.priority(number);
            if best.is_none_or(|(_, other)| priority < other) {
                best = Some((number, priority));
            }
        }
        // Of one group, the lower sub-priority and then the lower number goes first; who may
        // interrupt whom is decided by groups.
        best.map(|(number, priority)| (number, self.group(priority)))
    }

    fn priority(&self, number: u8) -> i16 {
        match number {
            NON_MASKABLE => -2,
            HARD_FAULT => -1,
            _ => self.priorities[usize::from(number)].into(),
        }
    }

    /// The part of a priority that counts for interrupting others.
    fn group(&self, priority: i16) -> i16 {
        if priority < 0 {
            return priority;
        }
        priority & !((2 << self.priority_group) - 1)
    }

    /// The priority of what runs now. What is to interrupt it needs a lower one.
    fn execution_priority(&self, masks: Masks) -> i16 {
        let mut priority = 256;
        let mut active = self.active;
        while active != 0 {
            let number = active.trailing_zeros() as u8;
            active &= active - 1;
            priority = priority.min(self.group(self.priority(number)));
        }
        if masks.basepri & PRIORITY_BITS != 0 {
            priority = priority.min(self.group((masks.basepri & PRIORITY_BITS).into()));
        }
        if masks.primask {
            priority = priority.min(0);
        }
        if masks.faultmask {
            priority = priority.min(-1);
        }
        priority
    }

    fn highest_active(&self) -> Option<u8> {
        (0..64)
            .filter(|number| self.active >> number & 1 == 1)
            .min_by_key(|&number| self.priority(number))
    }

    /// Whether a fault can be taken now: its exception, or the hard fault that it becomes; `None` when
    /// the processor would lock up.
    pub(crate) fn escalate(&self, fault: u8, masks: Masks) -> Option<u8> {
        let now = self.execution_priority(masks);
        if self.enabled >> fault & 1 == 1 && self.group(self.priority(fault)) < now {
            Some(fault)
        } else {
            (now > -1).then_some(HARD_FAULT)
        }
    }

    /// Notes a fault, for its handler to read: bits of the fault status, and an address.
    pub(crate) fn note_fault(&mut self, taken: u8, status: u32, address: Option<u32>) {
        self.fault_status |= status;
        if let Some(address) = address {
            self.memory_fault_address = address;
            self.bus_fault_address = address;
        }
        if taken == HARD_FAULT {
            self.hard_fault_status |= 1 << 30;
        }
    }

    /// Whether firmware has asked for this fault to come to a handler.
    pub(crate) fn handles(&self, fault: u8) -> bool {
        self.enabled >> fault & 1 == 1
    }

    /// An exception is entered.
    pub(crate) fn enter(&mut self, number: u8) {
        self.pending &= !(1 << number);
        self.active |= 1 << number;
        self.event = true;
    }

    /// An exception is left. Returns whether it was active.
    pub(crate) fn leave(&mut self, number: u8) -> bool {
        let was = self.active >> number & 1 == 1;
        self.active &= !(1 << number);
        self.pending |= self.lines & !self.active;
        was
    }

    /// Whether an exception is being handled.
    pub(crate) fn in_handler(&self) -> bool {
        self.active != 0
    }

    /// Whether leaving the last handler puts the processor to sleep.
    pub(crate) fn sleeps_on_exit(&self) -> bool {
        self.sleep_control & 2 != 0
    }

    /// Whether floating-point instructions are allowed.
    pub(crate) fn floating_point_allowed(&self) -> bool {
        self.coprocessors & 0x00f0_0000 == 0x00f0_0000
    }

    /// Whether a write to `address`, or a read of it, is allowed to privileged code. What forbids it
    /// otherwise: the number of a region, or `None` for the background.
    pub(crate) fn protection(&self, address: u32, write: bool) -> Result<(), Option<usize>> {
        self.protection.check(address, write)
    }

    /// Whether every access to these addresses is allowed.
    pub(crate) fn all_allowed(&self, start: u32, length: u32) -> bool {
        self.protection.all_allowed(start, length)
    }
}

/// The system timer. It counts the processor's clock, down from the reload value.
#[derive(Clone, Debug, Default)]
struct SysTick {
    control: u32,
    reload: u32,
    /// When the count is, or was, at zero: the latest such time, or the next if there was none.
    zero: u64,
    /// The count while the timer stands still.
    count: u32,
    passed: bool,
}

impl SysTick {
    fn period(&self) -> u64 {
        u64::from(self.reload) + 1
    }

    fn runs(&self) -> bool {
        self.control & 1 == 1 && self.reload != 0
    }

    fn advance(&mut self, now: u64) -> bool {
        if !self.runs() || now < self.zero {
            return false;
        }
        self.zero += ((now - self.zero) / self.period() + 1) * self.period();
        self.passed = true;
        self.control & 2 != 0
    }

    fn next(&self) -> Option<u64> {
        (self.runs() && self.control & 2 != 0).then_some(self.zero)
    }

    fn read(&mut self, address: u32, now: u64) -> u32 {
        match address & 0xf {
            0x0 => self.control | u32::from(std::mem::take(&mut self.passed)) << 16,
            0x4 => self.reload,
            0x8 if self.runs() => (self.zero.saturating_sub(now) % self.period()) as u32,
            0x8 => self.count,
            // No reference clock, and no calibration value.
            _ => 0x8000_0000,
        }
    }

    fn write(&mut self, address: u32, value: u32, now: u64) {
        match address & 0xf {
            0x0 => {
                let ran = self.runs();
                if ran {
                    self.count = (self.zero.saturating_sub(now) % self.period()) as u32;
                }
                // There is one clock only: the choice of it reads as the processor's.
                self.control = value & 3 | 4;
                if self.runs() && !ran {
                    let left = if self.count == 0 {
                        self.period()
                    } else {
                        self.count.into()
                    };
                    self.zero = now + left;
                }
            }
            0x4 => self.reload = value & 0x00ff_ffff,
            0x8 => {
                self.count = 0;
                self.passed = false;
                self.zero = now + self.period();
            }
            _ => {}
        }
    }
}

/// The memory protection unit, for privileged code. That firmware can drop its privileges is not
/// modelled: nothing in this project does.
#[derive(Clone, Debug, Default)]
struct Protection {
    control: u32,
    number: u32,
    base: [u32; REGIONS],
    attributes: [u32; REGIONS],
}

impl Protection {
    fn read(&self, address: u32) -> u32 {
        let region = self.number as usize % REGIONS;
        match address {
            0xe000_ed90 => (REGIONS as u32) << 8,
            0xe000_ed94 => self.control,
            0xe000_ed98 => self.number,
            _ if address & 4 == 4 => self.base[region] | self.number,
            _ => self.attributes[region],
        }
    }

    fn write(&mut self, address: u32, value: u32) {
        match address {
            0xe000_ed94 => self.control = value & 7,
            0xe000_ed98 => self.number = value & 7,
            // The base addresses and their three aliases.
            _ if address & 4 == 4 => {
                if value & 0x10 != 0 {
                    self.number = value & 7;
                }
                self.base[self.number as usize] = value & !0x1f;
            }
            _ => self.attributes[self.number as usize] = value,
        }
    }

    /// First address and length of a region, if it is on.
    fn region(&self, number: usize) -> Option<(u32, u64)> {
        let attributes = self.attributes[number];
        if attributes & 1 == 0 {
            return None;
        }
        let length = 2_u64 << (attributes >> 1 & 0x1f);
        let start = self.base[number] & !((length - 1) as u32);
        Some((start, length))
    }

    fn check(&self, address: u32, write: bool) -> Result<(), Option<usize>> {
        if self.control & 1 == 0 {
            return Ok(());
        }
        for number in (0..REGIONS).rev() {
            let Some((start, length)) = self.region(number) else {
                continue;
            };
            let offset = u64::from(address.wrapping_sub(start));
            let part = (offset / (length / 8).max(1)) as u32;
            if offset >= length || self.attributes[number] >> 8 >> part & 1 == 1 {
                continue;
            }
            let allowed = match self.attributes[number] >> 24 & 7 {
                1..=3 => true,
                5..=7 => !write,
                _ => false,
            };
            return if allowed { Ok(()) } else { Err(Some(number)) };
        }
        // Privileged code sees the rest of memory if the background is on.
        if self.control & 4 != 0 {
            Ok(())
        } else {
            Err(None)
        }
    }

    fn all_allowed(&self, start: u32, length: u32) -> bool {
        // Regions and their eighths are multiples of 32 bytes.
        (start..start + length)
            .step_by(32)
            .all(|address| self.check(address, true).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENABLE: u32 = 0xe000_e100;
    const PRIORITY: u32 = 0xe000_e400;

    fn open(system: &mut System, interrupt: u32, priority: u8) {
        system.write(ENABLE + interrupt / 32 * 4, 1 << (interrupt % 32), 0);
        let address = PRIORITY + interrupt / 4 * 4;
        let old = system.read(address, 0).unwrap();
        let shift = interrupt % 4 * 8;
        let new = old & !(0xff << shift) | u32::from(priority) << shift;
        system.write(address, new, 0);
    }

    #[test]
    fn the_most_urgent_interrupt_goes_first_and_interrupts_the_less_urgent() {
        let mut system = System::default();
        for (interrupt, priority) in [(0, 0x40), (9, 0x20), (23, 0x20), (40, 0x10)] {
            open(&mut system, interrupt, priority);
        }
        let free = Masks::default();
        system.set_lines(1 | 1 << 9 | 1 << 23);
        assert_eq!(system.next(free), Some(16 + 9));
        system.enter(16 + 9);
        // Of equal priority, and of a lower one.
        assert_eq!(system.next(free), None);
        system.set_lines(1 << 40);
        assert_eq!(system.next(free), Some(16 + 40));
        let masks = Masks {
            basepri: 0x10,
            ..free
        };
        assert_eq!(system.next(masks), None);
        assert!(!system.wakes(masks));
        let masks = Masks {
            primask: true,
            ..free
        };
        assert_eq!(system.next(masks), None);
        assert!(system.wakes(masks));
        system.enter(16 + 40);
        assert!(system.leave(16 + 40) && !system.leave(16 + 40));
        // The line is still up.
        assert_eq!(system.next(free), Some(16 + 40));
        system.set_lines(0);
        system.enter(16 + 40);
        system.leave(16 + 40);
        assert_eq!(system.next(free), None);
        system.leave(16 + 9);
        assert_eq!(system.next(free), Some(16 + 23));
    }

    #[test]
    fn groups_decide_who_interrupts() {
        let mut system = System::default();
        open(&mut system, 1, 0x48);
        open(&mut system, 2, 0x40);
        // Bits 7:6 are the group.
        system.write(0xe000_ed0c, 0x05fa_0500, 0);
        system.set_lines(1 << 1);
        system.enter(17);
        system.set_lines(1 << 1 | 1 << 2);
        assert_eq!(system.next(Masks::default()), None);
        system.leave(17);
        assert_eq!(system.next(Masks::default()), Some(18));
    }

    #[test]
    fn faults_become_hard_faults_and_then_a_lock_up() {
        let mut system = System::default();
        let free = Masks::default();
        assert_eq!(system.escalate(USAGE_FAULT, free), Some(HARD_FAULT));
        system.write(0xe000_ed24, 1 << 18, 0);
        assert_eq!(system.escalate(USAGE_FAULT, free), Some(USAGE_FAULT));
        assert_eq!(system.escalate(BUS_FAULT, free), Some(HARD_FAULT));
        system.enter(USAGE_FAULT);
        assert_eq!(system.escalate(USAGE_FAULT, free), Some(HARD_FAULT));
        system.enter(HARD_FAULT);
        assert_eq!(system.escalate(USAGE_FAULT, free), None);
    }

    #[test]
    fn the_system_timer_counts_down() {
        let mut system = System::default();
        system.write(0xe000_e014, 99, 1000);
        system.write(0xe000_e018, 0, 1000);
        system.write(0xe000_e010, 7, 1000);
        assert_eq!(system.next_tick(), Some(1100));
        assert_eq!(system.read(0xe000_e018, 1010), Some(90));
        system.advance(1099);
        assert_eq!(system.next(Masks::default()), None);
        system.advance(1350);
        assert_eq!(system.next(Masks::default()), Some(SYS_TICK));
        assert_eq!(system.next_tick(), Some(1400));
        assert_eq!(system.read(0xe000_e010, 1350), Some(0x1_0007));
        assert_eq!(system.read(0xe000_e010, 1350), Some(7));
    }

    #[test]
    fn regions_forbid_and_later_ones_win() {
        let mut system = System::default();
        let region = |number: u32, start: u32| start | 0x10 | number;
        // 1 kB without access at 0x10000, its third eighth open again by a later region.
        system.write(0xe000_ed9c, region(0, 0x1_0000), 0);
        system.write(0xe000_eda0, 9 << 1 | 1, 0);
        system.write(0xe000_ed9c, region(1, 0x1_0100), 0);
        system.write(0xe000_eda0, 3 << 24 | 6 << 1 | 1, 0);
        assert_eq!(system.protection(0x1_0000, true), Ok(()));
        assert_eq!(
            system.write(0xe000_ed94, 5, 0),
            Some(Some(Request::Protection))
        );
        assert_eq!(system.protection(0x0_ffff, true), Ok(()));
        assert_eq!(system.protection(0x1_0000, false), Err(Some(0)));
        assert_eq!(system.protection(0x1_0100, true), Ok(()));
        assert_eq!(system.protection(0x1_0180, true), Err(Some(0)));
        assert_eq!(system.protection(0x1_0400, true), Ok(()));
        assert!(system.all_allowed(0x1_0400, 0x400) && !system.all_allowed(0x1_0000, 0x400));
        system.write(0xe000_ed94, 1, 0);
        assert_eq!(system.protection(0x1_0400, true), Err(None));
    }
}
