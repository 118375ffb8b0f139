//! The processors of other PEs: held, or running.
//!
//! Each QuadPE has a register for it (tag J). Its bits are a **placeholder** ([`s2_pac::provisional`]), and where
//! it lies is **inferred**; so this module is there with the feature `provisional` only.

use s2_pac::bus::{Bus, Mmio};
use s2_pac::provisional::{CoreControl, quad_pe_registers};
use s2_pac::qpe::QuadPe;
use s2_pac::register::Value;

use super::interrupt::NoSuchPe;
use crate::topology::PeId;

/// Control of the processors of all PEs of the chip.
#[derive(Debug)]
pub struct Cores<B = Mmio> {
    bus: B,
}

impl<B: Bus> Cores<B> {
    pub(super) const fn new(bus: B) -> Self {
        Self { bus }
    }

    fn registers(&mut self, pe: PeId) -> Result<QuadPe<&mut B>, NoSuchPe> {
        if !pe.exists() {
            return Err(NoSuchPe(pe));
        }
        // SAFETY: the register file of the QuadPE is there, by the inference that this module is behind. The control
        // of one PE is in a word of its own, which nobody else is given.
        Ok(unsafe { QuadPe::at(&mut self.bus, quad_pe_registers(pe.x, pe.y)) })
    }

    /// Whether the processor of a PE is held.
    ///
    /// # Errors
    /// If the chip has no such PE.
    pub fn is_held(&mut self, pe: PeId) -> Result<bool, NoSuchPe> {
        let control = self.registers(pe)?.core_control(pe.pe.into()).read();
        Ok(CoreControl::from_bits(control).hold())
    }

    /// Holds the processor of a PE, wherever it is, or lets it go: it then starts from its reset vector. Its memory
    /// stays in both cases.
    ///
    /// # Errors
    /// If the chip has no such PE.
    ///
    /// # Safety
    /// Nobody relies on what the program of that PE was doing when it is held: no borrow or DMA job between it and
    /// others is under way. When it is let go, its memory holds a program that keeps to the chip's rules.
    pub unsafe fn set_held(&mut self, pe: PeId, held: bool) -> Result<(), NoSuchPe> {
        let control = CoreControl::default().with_hold(held);
        let mut registers = self.registers(pe)?;
        // SAFETY: by the placeholder's reading the register stops and starts the processor and loses no memory; the
        // rest is the caller's promise.
        unsafe {
            registers
                .core_control(pe.pe.into())
                .write_pointer(control.into_bits())
        };
        Ok(())
    }
}
