//! The pins of the prototype.
//!
//! The product's pins are not public. What the registers do is what their names say (tag J): an output
//! enable, an output and an input for each pin. The functions of the pins must be chosen elsewhere: which
//! bits do it is not public. All PEs share the pins; nothing keeps two of them from changing a register
//! at a time.

use core::cell::RefCell;
use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin, StatefulOutputPin};
use s2_pac::bus::{Bus, Mmio};
use s2_pac::jibmgmt::JibManagement;

/// Pins that a PE reads and drives.
pub const PINS: u32 = 16;

/// The registers of the pins, which lend out single pins.
#[derive(Debug)]
pub struct Pins<B = Mmio> {
    registers: RefCell<JibManagement<B>>,
}

/// The chip has no such pin: there are [`PINS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPin(
    /// The number.
    pub u32,
);

impl core::fmt::Display for NoSuchPin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no pin {}; pins are 0 to {}", self.0, PINS - 1)
    }
}

impl core::error::Error for NoSuchPin {}

impl<B: Bus> Pins<B> {
    /// All pins.
    pub const fn new(registers: JibManagement<B>) -> Self {
        Self {
            registers: RefCell::new(registers),
        }
    }

    /// Pin `number`, as an input.
    ///
    /// # Errors
    /// If there is no such pin.
    pub fn input(&self, number: u32) -> Result<Input<'_, B>, NoSuchPin> {
        let pin = self.pin(number)?;
        let mut registers = self.registers.borrow_mut();
        registers
            .gpio_output_enable()
            .modify(|driven| driven & !pin.mask);
        Ok(Input(pin))
    }

    /// Pin `number`, as an output with the level that its register holds.
    ///
    /// # Errors
    /// If there is no such pin.
    pub fn output(&self, number: u32) -> Result<Output<'_, B>, NoSuchPin> {
        let pin = self.pin(number)?;
        let mut registers = self.registers.borrow_mut();
        registers
            .gpio_output_enable()
            .modify(|driven| driven | pin.mask);
        Ok(Output(pin))
    }

    fn pin(&self, number: u32) -> Result<Pin<'_, B>, NoSuchPin> {
        if number >= PINS {
            return Err(NoSuchPin(number));
        }
        Ok(Pin {
            registers: &self.registers,
            mask: 1 << number,
        })
    }
}

#[derive(Debug)]
struct Pin<'p, B> {
    registers: &'p RefCell<JibManagement<B>>,
    mask: u32,
}

/// A pin that is read.
#[derive(Debug)]
pub struct Input<'p, B = Mmio>(Pin<'p, B>);

/// A pin that is driven.
#[derive(Debug)]
pub struct Output<'p, B = Mmio>(Pin<'p, B>);

impl<B> ErrorType for Input<'_, B> {
    type Error = Infallible;
}

impl<B: Bus> InputPin for Input<'_, B> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        let levels = self.0.registers.borrow_mut().gpio_input().read();
        Ok(levels & self.0.mask != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_high()?)
    }
}

impl<B> ErrorType for Output<'_, B> {
    type Error = Infallible;
}

impl<B: Bus> OutputPin for Output<'_, B> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        let mut registers = self.0.registers.borrow_mut();
        registers
            .gpio_output()
            .modify(|levels| levels & !self.0.mask);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        let mut registers = self.0.registers.borrow_mut();
        registers
            .gpio_output()
            .modify(|levels| levels | self.0.mask);
        Ok(())
    }
}

impl<B: Bus> StatefulOutputPin for Output<'_, B> {
    fn is_set_high(&mut self) -> Result<bool, Infallible> {
        let levels = self.0.registers.borrow_mut().gpio_output().read();
        Ok(levels & self.0.mask != 0)
    }

    fn is_set_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_set_high()?)
    }
}
