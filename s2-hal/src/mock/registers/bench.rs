//! One PE's registers with simple surroundings, as a bus for tests of drivers.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::AtomicPtr;
use std::sync::{Mutex, PoisonError};

use s2_pac::bus::Bus;
use s2_pac::map::{COMMS, SRAM_BYTES};

use super::{Periphery, Registers, Sram, Surroundings, UnknownAccess};
use crate::dma::{Address, Block};
use crate::mock::timing;
use crate::packet::Packet;
use crate::topology::{Destination, PeId};

/// A [`Bus`] over the registers of one PE.
///
/// Time moves on by two cycles with each access, and by [`pass`](Bench::pass). Packets to the PE itself
/// arrive; all packets are noted. Other memories of the chip exist and read as zero until written.
///
/// Drivers hand pointers to hardware. On a PC these are longer than the chip's: the bench takes the
/// low 32 bits that reach it and finds the place in its SRAM that they mean. Memory that hardware
/// is to work on therefore comes from [`memory`](Bench::memory).
///
/// A bench is a handle: its clones, given to several drivers, reach the same registers. An access that
/// the registers do not know panics and names it.
#[derive(Clone, Debug)]
pub struct Bench(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    registers: Registers,
    sram: HostSram,
    /// Blocks of the SRAM that were handed out.
    handed_out: usize,
    world: World,
}

#[derive(Debug)]
struct World {
    id: PeId,
    now: u64,
    transmit_cycles: u64,
    sent: Vec<(Destination, Packet)>,
    /// Packets to the PE itself.
    arriving: VecDeque<Packet>,
    memory: BTreeMap<Address, u32>,
    periphery: Periphery,
}

impl Surroundings for World {
    fn now(&self) -> u64 {
        self.now
    }

    fn send(&mut self, to: Destination, packet: Packet) -> u64 {
        self.sent.push((to, packet));
        let own = self.id.destination();
        if (to.x, to.y) == (own.x, own.y) && to.pes & own.pes != 0 {
            self.arriving.push_back(packet);
        }
        self.now + self.transmit_cycles
    }

    fn load(&mut self, address: Address) -> Option<u32> {
        Some(self.memory.get(&address).copied().unwrap_or(0))
    }

    fn store(&mut self, address: Address, value: u32) -> Option<()> {
        self.memory.insert(address, value);
        Some(())
    }

    fn periphery(&mut self) -> &mut Periphery {
        &mut self.periphery
    }
}

impl Bench {
    /// A bench with PE `id` of chip 0 after reset.
    pub fn new(id: PeId) -> Self {
        Self(Rc::new(RefCell::new(State {
            registers: Registers::new(id, 0),
            sram: HostSram::new(),
            handed_out: 0,
            world: World {
                id,
                now: 0,
                transmit_cycles: 4,
                sent: Vec::new(),
                arriving: VecDeque::new(),
                memory: BTreeMap::new(),
                periphery: Periphery::default(),
            },
        })))
    }

    /// Zeroed memory of the PE, which nobody else has: `blocks` times 16 bytes. It is never freed.
    ///
    /// # Safety
    /// The registers work on this memory as drivers tell them, or whoever writes to the bench as a
    /// [`Bus`]. Until they are told to stop, the memory is accessed through pointers that are derived
    /// from the returned reference and whose provenance is exposed
    /// (`expose_provenance`); nobody reads a word while it is written.
    ///
    /// # Panics
    /// If the SRAM has not as much left.
    pub unsafe fn memory(&self, blocks: usize) -> &'static mut [Block] {
        let mut state = self.0.borrow_mut();
        let first = state.handed_out;
        assert!(
            blocks <= HostSram::BLOCKS - first,
            "the SRAM has not as much left"
        );
        state.handed_out += blocks;
        // SAFETY: the blocks exist, are initialised, and are never freed. No other reference to
        // them exists: `handed_out` only grows. The caller takes care of the registers' accesses.
        unsafe { std::slice::from_raw_parts_mut(state.sram.base.add(first), blocks) }
    }

    /// Lets a packet arrive. Returns whether it was taken; if not, it was dropped and counted.
    pub fn receive(&self, packet: Packet) -> bool {
        let state = &mut *self.0.borrow_mut();
        state.registers.receive(packet, &mut state.sram)
    }

    /// Takes the packets that were sent, the oldest first.
    pub fn take_sent(&self) -> Vec<(Destination, Packet)> {
        std::mem::take(&mut self.0.borrow_mut().world.sent)
    }

    /// Sets how many cycles the transmitter needs for a packet; 4 at first.
    pub fn set_transmit_cycles(&self, cycles: u64) {
        self.0.borrow_mut().world.transmit_cycles = cycles;
    }

    /// Lets time pass, in cycles of [`FREQUENCY`](crate::mock::FREQUENCY).
    pub fn pass(&self, cycles: u64) {
        self.0.borrow_mut().world.now += cycles;
    }

    /// Time in cycles of [`FREQUENCY`](crate::mock::FREQUENCY).
    pub fn now(&self) -> u64 {
        self.0.borrow().world.now
    }

    /// Interrupt lines that are raised. See [`Registers::interrupts`].
    pub fn interrupts(&self) -> u64 {
        let state = &mut *self.0.borrow_mut();
        state.registers.interrupts(&mut state.world)
    }

    /// Works on UARTs, pins and feed-through lines from outside.
    pub fn periphery<R>(&self, work: impl FnOnce(&mut Periphery) -> R) -> R {
        work(&mut self.0.borrow_mut().world.periphery)
    }

    /// One access of the PE.
    fn access<R>(
        &self,
        access: impl FnOnce(&mut Registers, &mut HostSram, &mut World) -> Result<R, UnknownAccess>,
    ) -> R {
        let state = &mut *self.0.borrow_mut();
        state.world.now += timing::READ_REGISTER;
        let result = access(&mut state.registers, &mut state.sram, &mut state.world);
        while let Some(packet) = state.world.arriving.pop_front() {
            state.registers.receive(packet, &mut state.sram);
        }
        match result {
            Ok(result) => result,
            Err(unknown) => panic!("{unknown}"),
        }
    }
}

/// Whether a register holds an address in the PE's own memory: the pointers of the rings, and the
/// local address of the DMA engine.
fn is_local_pointer(address: u32) -> bool {
    matches!(
        address.wrapping_sub(COMMS),
        0x104..=0x110 | 0x144..=0x150 | 0x180
    )
}

impl Bus for Bench {
    fn read(&mut self, address: u32) -> u32 {
        self.access(|registers, sram, world| {
            let value = registers.read(address, sram, world)?;
            Ok(if is_local_pointer(address) {
                value.wrapping_add(sram.low_bits())
            } else {
                value
            })
        })
    }

    fn write(&mut self, address: u32, value: u32) {
        self.access(|registers, sram, world| {
            let value = if is_local_pointer(address) {
                value.wrapping_sub(sram.low_bits())
            } else {
                value
            };
            registers.write(address, value, sram, world)
        });
    }
}

/// The SRAM as memory of this process, shared with drivers.
#[derive(Debug)]
struct HostSram {
    base: *mut Block,
}

/// All SRAMs, so that tools that look for leaks see that they are kept.
static KEPT: Mutex<Vec<AtomicPtr<Block>>> = Mutex::new(Vec::new());

impl HostSram {
    const BLOCKS: usize = SRAM_BYTES as usize / size_of::<Block>();

    fn new() -> Self {
        let blocks = vec![Block::default(); Self::BLOCKS].into_boxed_slice();
        let base = Box::into_raw(blocks).cast::<Block>();
        base.expose_provenance();
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(AtomicPtr::new(base));
        Self { base }
    }

    /// The low 32 bits of its address.
    fn low_bits(&self) -> u32 {
        self.base.addr() as u32
    }

    /// A pointer to a word. Not derived from `base`, which would end what was borrowed from it, but
    /// like a device's: it may go where a driver has exposed its own pointer.
    fn word(&self, offset: u32) -> *mut u32 {
        assert!(offset < SRAM_BYTES && offset.is_multiple_of(4));
        ptr::with_exposed_provenance_mut(self.base.addr() + offset as usize)
    }
}

impl Sram for HostSram {
    fn load(&self, offset: u32) -> u32 {
        // SAFETY: the word exists and is never freed. Where it was handed out, the caller of
        // `Bench::memory` keeps others from writing it now. Words are only accessed on the bench's own
        // thread: neither a bench nor what its registers are told leaves it.
        unsafe { self.word(offset).read_volatile() }
    }

    fn store(&mut self, offset: u32, value: u32) {
        // SAFETY: as for `load`; nobody reads it now.
        unsafe { self.word(offset).write_volatile(value) }
    }
}
