//! How registers are reached: by volatile accesses on a PE, by a double on a PC.

/// Reads and writes words of the chip's address space, one access for each call, in program order.
///
/// [`Mmio`] is the chip itself. Everything else is a double: drivers are generic over this trait, so that
/// they run on a PC against a strict script of accesses, a model of the registers, or an emulator.
pub trait Bus {
    /// Reads the word at `address`, a multiple of 4. The access may have side effects.
    fn read(&mut self, address: u32) -> u32;

    /// Writes the word at `address`, a multiple of 4.
    fn write(&mut self, address: u32, value: u32);
}

impl<T: Bus + ?Sized> Bus for &mut T {
    fn read(&mut self, address: u32) -> u32 {
        T::read(self, address)
    }

    fn write(&mut self, address: u32, value: u32) {
        T::write(self, address, value);
    }
}

/// The chip's own bus. Takes no memory.
///
/// No reference to device memory ever exists: an access goes through a raw pointer made of the address.
#[derive(Clone, Debug)]
pub struct Mmio(());

impl Mmio {
    /// The bus of the PE that this code runs on.
    ///
    /// # Safety
    /// The code runs on a PE (or an emulator of one). The value, and its clones, are given to register
    /// blocks and drivers only, and no two of them are given the same registers. Whoever calls
    /// [`Bus::read`] and [`Bus::write`] directly must not touch memory that Rust code owns.
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

impl Bus for Mmio {
    #[inline(always)]
    fn read(&mut self, address: u32) -> u32 {
        let pointer = core::ptr::with_exposed_provenance::<u32>(address as usize);
        // SAFETY: by the contract of `new`, `address` is a register or memory that no Rust code owns,
        // so reading it through a pointer without provenance of any Rust object is an access to the
        // device. `volatile` keeps it single and in order.
        unsafe { pointer.read_volatile() }
    }

    #[inline(always)]
    fn write(&mut self, address: u32, value: u32) {
        let pointer = core::ptr::with_exposed_provenance_mut::<u32>(address as usize);
        // SAFETY: as for `read`.
        unsafe { pointer.write_volatile(value) }
    }
}
