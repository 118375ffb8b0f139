//! A UART of the prototype, byte by byte.
//!
//! That the field `valid` of the write register starts a byte and shows that it waits is **inferred**
//! ([`s2_pac::provisional`]); so this module is there with the feature `provisional` only. The buffered
//! mode has units and segments that are not public and is not used. All PEs share the UARTs; nothing
//! keeps two of them from using one at a time.

use core::convert::Infallible;

use s2_pac::bus::{Bus, Mmio};
use s2_pac::provisional::{uart_byte, uart_is_busy};
use s2_pac::uart::{Uart as Registers, UartConfig};

use crate::serial::{Read, ReadReady, Write, uart};

/// Format and speed of the line. What the divider divides, and by how much, is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Two stop bits, not one.
    pub two_stop_bits: bool,
    /// A parity bit.
    pub parity: bool,
    /// Flow control by two more lines.
    pub flow_control: Option<FlowControl>,
    /// What the divider register gets.
    pub clock_divider: u32,
}

/// When the lines of flow control are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowControl {
    /// When high.
    ActiveHigh,
    /// When low.
    ActiveLow,
}

/// The configuration has a divider of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError;

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the clock divider of a UART is zero; it must be 1 or more")
    }
}

impl core::error::Error for ConfigError {}

/// A UART. It has no errors: its byte-wise registers show none.
#[derive(Debug)]
pub struct Uart<B = Mmio> {
    registers: Registers<B>,
    /// A byte that was taken to see whether there is one.
    waiting: Option<u8>,
}

impl<B: Bus> Uart<B> {
    /// A UART with a configuration.
    ///
    /// # Errors
    /// As [`apply_config`](Self::apply_config); the registers come back.
    pub fn new(
        registers: Registers<B>,
        config: &Config,
    ) -> Result<Self, (ConfigError, Registers<B>)> {
        let mut uart = Self {
            registers,
            waiting: None,
        };
        match uart.apply_config(config) {
            Ok(()) => Ok(uart),
            Err(error) => Err((error, uart.registers)),
        }
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// If the divider is zero; nothing has changed then.
    pub fn apply_config(&mut self, config: &Config) -> Result<(), ConfigError> {
        if config.clock_divider == 0 {
            return Err(ConfigError);
        }
        self.registers.clock_divider().write(config.clock_divider);
        self.registers.config().write(
            UartConfig::default()
                .with_two_stop_bits(config.two_stop_bits)
                .with_parity(config.parity)
                .with_flow_control(config.flow_control.is_some())
                .with_flow_control_low(config.flow_control == Some(FlowControl::ActiveLow)),
        );
        Ok(())
    }

    /// Takes a byte if there is one.
    fn take(&mut self) -> Option<u8> {
        self.waiting.take().or_else(|| {
            let read = self.registers.simple_read().take();
            read.valid().then(|| read.byte())
        })
    }

    fn is_busy(&mut self) -> bool {
        uart_is_busy(self.registers.simple_write().read())
    }
}

impl<B> uart::ErrorType for Uart<B> {
    type Error = Infallible;
}

impl<B: Bus> uart::Read<u8> for Uart<B> {
    fn read(&mut self) -> nb::Result<u8, Infallible> {
        self.take().ok_or(nb::Error::WouldBlock)
    }
}

impl<B: Bus> uart::Write<u8> for Uart<B> {
    fn write(&mut self, byte: u8) -> nb::Result<(), Infallible> {
        uart::Write::flush(self)?;
        self.registers.simple_write().write(uart_byte(byte));
        Ok(())
    }

    /// Ready when the last byte was taken; whether it has left the chip cannot be seen.
    fn flush(&mut self) -> nb::Result<(), Infallible> {
        if self.is_busy() {
            return Err(nb::Error::WouldBlock);
        }
        Ok(())
    }
}

impl<B> embedded_io::ErrorType for Uart<B> {
    type Error = Infallible;
}

impl<B: Bus> Read for Uart<B> {
    /// Waits for one byte and takes what follows it at once.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let Some((first, rest)) = buf.split_first_mut() else {
            return Ok(0);
        };
        *first = nb::block!(uart::Read::read(self))?;
        let mut count = 1;
        for slot in rest {
            let Some(byte) = self.take() else { break };
            *slot = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl<B: Bus> ReadReady for Uart<B> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        self.waiting = self.take();
        Ok(self.waiting.is_some())
    }
}

impl<B: Bus> Write for Uart<B> {
    /// Waits until a byte can be sent and sends it.
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let Some(&byte) = buf.first() else {
            return Ok(0);
        };
        nb::block!(uart::Write::write(self, byte))?;
        Ok(1)
    }

    /// As [`uart::Write::flush`].
    fn flush(&mut self) -> Result<(), Infallible> {
        nb::block!(uart::Write::flush(self))
    }
}

impl<B: Bus> embedded_io::WriteReady for Uart<B> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_busy())
    }
}
