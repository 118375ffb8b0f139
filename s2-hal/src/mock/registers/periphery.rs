//! What the PEs of a chip share: register files of the QuadPEs, UARTs, pins, feed-through interrupts.

use std::collections::VecDeque;

use s2_pac::jibmgmt::{FeedThrough as Sources, FeedThroughSource as Source, JibManagement};
use s2_pac::map;
use s2_pac::qpe::QuadPe;
use s2_pac::register::Value;
use s2_pac::uart::{Uart as UartBlock, UartRead, UartWrite};

use super::offset;
use crate::mock::number;
use crate::topology::{PES, PeId};

const QUAD_PES_END: u32 = map::QUAD_PE_REGISTERS + 64 * map::QUAD_PE_REGISTERS_BYTES;
const MASKS: u32 = offset(&QuadPe::INFO, "irq_ft");
const MASKS_END: u32 = MASKS + 16;

const PINS_DRIVEN: u32 = map::JIB_MANAGEMENT + offset(&JibManagement::INFO, "gpio_reg_oe");
const PINS_OUT: u32 = map::JIB_MANAGEMENT + offset(&JibManagement::INFO, "gpio_reg_do");
const PINS_IN: u32 = map::JIB_MANAGEMENT + offset(&JibManagement::INFO, "gpio_reg_di");
const SOURCES: u32 = map::JIB_MANAGEMENT + offset(&JibManagement::INFO, "ft_irq");

const UART_BYTES: u32 = map::UART_1 - map::UART_0;
const UARTS_END: u32 = map::UART_1 + UART_BYTES;
const UART_CONFIG: u32 = offset(&UartBlock::INFO, "ra_config_status");
const UART_DIVIDER: u32 = offset(&UartBlock::INFO, "ra_clkdiv");
const UART_READ: u32 = offset(&UartBlock::INFO, "ra_simple_read");
const UART_WRITE: u32 = offset(&UartBlock::INFO, "ra_simple_write");

/// What the PEs of a chip share. See the [module](super) for what is assumed of it.
#[derive(Debug)]
pub struct Periphery {
    uarts: [Uart; 2],
    pins_driven: u32,
    pins_out: u32,
    pins_in: u32,
    sources: Sources,
    /// By the number of the PE.
    feed_through: [FeedThrough; PES],
}

#[derive(Clone, Copy, Debug, Default)]
struct FeedThrough {
    mask: u32,
    /// Lines that were raised by hand and not taken.
    pulses: u8,
}

#[derive(Debug, Default)]
struct Uart {
    config: u32,
    divider: u32,
    received: VecDeque<u8>,
    sent: Vec<u8>,
    /// When the writer takes the next byte.
    free: u64,
}

impl Default for Periphery {
    fn default() -> Self {
        Self {
            uarts: Default::default(),
            pins_driven: 0,
            pins_out: 0,
            pins_in: 0,
            sources: Sources::default(),
            feed_through: [FeedThrough::default(); PES],
        }
    }
}

impl Periphery {
    /// Sends bytes to UART `uart`, 0 or 1, from outside.
    ///
    /// # Panics
    /// If there is no such UART.
    pub fn send_to_uart(&mut self, uart: usize, bytes: &[u8]) {
        self.uarts[uart].received.extend(bytes);
    }

    /// Takes what UART `uart`, 0 or 1, has sent.
    ///
    /// # Panics
    /// If there is no such UART.
    pub fn take_from_uart(&mut self, uart: usize) -> Vec<u8> {
        std::mem::take(&mut self.uarts[uart].sent)
    }

    /// Puts levels on the pins, bit n on pin n. Pins that the chip drives keep their level.
    pub fn set_pins(&mut self, levels: u32) {
        self.pins_in = levels;
    }

    /// The level of each pin.
    pub fn pins(&self) -> u32 {
        self.pins_out & self.pins_driven | self.pins_in & !self.pins_driven
    }

    /// Raises feed-through line `line`, 0 to 3, for a moment: every PE that has enabled it sees the
    /// interrupt once.
    ///
    /// # Panics
    /// If there is no such line.
    pub fn pulse(&mut self, line: usize) {
        assert!(line < 4, "there are four feed-through lines");
        for pe in &mut self.feed_through {
            pe.pulses |= 1 << line & pe.mask as u8;
        }
    }

    /// Feed-through lines that PE `id` sees raised; takes its pulses.
    pub(super) fn feed_through(&mut self, id: PeId, now: u64) -> u8 {
        let sources = [
            self.sources.line_0(),
            self.sources.line_1(),
            self.sources.line_2(),
            self.sources.line_3(),
        ];
        let raised =
            (0..4).filter(|&line| sources[line].is_some_and(|source| self.is_raised(source, now)));
        let levels = raised.fold(0, |lines, line| lines | 1 << line);
        let Some(pe) = number(id).map(|number| &mut self.feed_through[number]) else {
            return 0;
        };
        levels & pe.mask as u8 | std::mem::take(&mut pe.pulses)
    }

    /// Whether a source of feed-through interrupts is raised. Those that are not here never are.
    fn is_raised(&self, source: Source, now: u64) -> bool {
        match source {
            Source::Uart0RxValid => !self.uarts[0].received.is_empty(),
            Source::Uart1RxValid => !self.uarts[1].received.is_empty(),
            Source::Uart0TxDone | Source::Uart0TxReady => self.uarts[0].free <= now,
            Source::Uart1TxDone | Source::Uart1TxReady => self.uarts[1].free <= now,
            _ => false,
        }
    }

    pub(super) fn read(&mut self, address: u32, now: u64) -> Option<u32> {
        Some(match address {
            map::QUAD_PE_REGISTERS..QUAD_PES_END => self.feed_through[masked(address)?].mask,
            PINS_DRIVEN => self.pins_driven,
            PINS_OUT => self.pins_out,
            PINS_IN => self.pins(),
            SOURCES => self.sources.into_bits(),
            map::UART_0..UARTS_END => {
                let offset = address - map::UART_0;
                self.uarts[(offset / UART_BYTES) as usize].read(offset % UART_BYTES, now)?
            }
            _ => return None,
        })
    }

    pub(super) fn write(&mut self, address: u32, value: u32, now: u64) -> Option<()> {
        match address {
            map::QUAD_PE_REGISTERS..QUAD_PES_END => {
                if value > 0xf {
                    return None;
                }
                self.feed_through[masked(address)?].mask = value;
            }
            PINS_DRIVEN => self.pins_driven = value,
            PINS_OUT => self.pins_out = value,
            SOURCES => {
                // What the lower half does is not public.
                if value & 0xffff != 0 {
                    return None;
                }
                self.sources = Sources::from_bits(value);
            }
            map::UART_0..UARTS_END => {
                let offset = address - map::UART_0;
                self.uarts[(offset / UART_BYTES) as usize].write(
                    offset % UART_BYTES,
                    value,
                    now,
                )?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl Uart {
    fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        Some(match offset {
            UART_CONFIG => self.config,
            UART_DIVIDER => self.divider,
            UART_READ => {
                let read = UartRead::default();
                match self.received.pop_front() {
                    Some(byte) => read.with_byte(byte).with_valid(true).into_bits(),
                    None => read.into_bits(),
                }
            }
            UART_WRITE => {
                let busy = self.free > now;
                UartWrite::default().with_valid(busy.into()).into_bits()
            }
            _ => return None,
        })
    }

    fn write(&mut self, offset: u32, value: u32, now: u64) -> Option<()> {
        match offset {
            UART_CONFIG => self.config = value,
            UART_DIVIDER => self.divider = value,
            UART_WRITE => {
                // A byte that the writer has no room for, or that is not marked as valid.
                let value = UartWrite::from_bits(value);
                if self.free > now || value.valid() & 1 == 0 {
                    return None;
                }
                self.sent.push(value.byte());
                self.free = now + 10 * u64::from(self.divider);
            }
            _ => return None,
        }
        Some(())
    }
}

/// Number of the PE whose feed-through mask is at an address.
fn masked(address: u32) -> Option<usize> {
    let offset = address - map::QUAD_PE_REGISTERS;
    let register = offset % map::QUAD_PE_REGISTERS_BYTES;
    if !(MASKS..MASKS_END).contains(&register) {
        return None;
    }
    let pe = (register - MASKS) / 4;
    number(PeId::from_noc_id(
        (4 * (offset / map::QUAD_PE_REGISTERS_BYTES) + pe) as u8,
    )?)
}
