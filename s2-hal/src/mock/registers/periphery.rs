//! What the PEs of a chip share: register files of the QuadPEs, UARTs, pins, feed-through interrupts.

use std::collections::VecDeque;

use s2_pac::map;

use crate::mock::number;
use crate::topology::{PES, PeId};

const QUAD_PE_BYTES: u32 = 1 << 19;
const QUAD_PES_END: u32 = map::QUAD_PE_REGISTERS + 64 * QUAD_PE_BYTES;
const FEED_THROUGH_MASKS: u32 = 0x40;
const FEED_THROUGH_MASKS_END: u32 = FEED_THROUGH_MASKS + 16;

const PINS_DRIVEN: u32 = map::JIB_MANAGEMENT + 0x60;
const PINS_OUT: u32 = map::JIB_MANAGEMENT + 0x68;
const PINS_IN: u32 = map::JIB_MANAGEMENT + 0x6c;
const FEED_THROUGH_SOURCES: u32 = map::JIB_MANAGEMENT + 0x74;

const UARTS_END: u32 = map::UART_1 + 0x100;
const UART_CONFIG: u32 = 0x00;
const UART_DIVIDER: u32 = 0x04;
const UART_READ: u32 = 0x08;
const UART_WRITE: u32 = 0x0c;

/// Bit of a UART's read register that says that it holds a byte, and the first of those of the write
/// register.
const VALID: u32 = 1 << 8;

/// What the PEs of a chip share. See the [module](super) for what is assumed of it.
#[derive(Debug)]
pub struct Periphery {
    uarts: [Uart; 2],
    pins_driven: u32,
    pins_out: u32,
    pins_in: u32,
    feed_through_sources: u32,
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
            feed_through_sources: 0,
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
        let raised = (0..4).filter(|line| {
            let source = self.feed_through_sources >> (16 + 4 * line) & 0xf;
            self.source(source, now)
        });
        let levels = raised.fold(0, |lines, line| lines | 1 << line);
        let Some(pe) = number(id).map(|number| &mut self.feed_through[number]) else {
            return 0;
        };
        levels & pe.mask as u8 | std::mem::take(&mut pe.pulses)
    }

    /// Whether a source of feed-through interrupts is raised: 4 to 7 are full, valid, done and ready
    /// of the first UART, 8 to 11 those of the second.
    fn source(&self, source: u32, now: u64) -> bool {
        match source {
            5 | 9 => !self.uarts[source as usize / 8].received.is_empty(),
            6 | 7 | 10 | 11 => self.uarts[source as usize / 8].free <= now,
            _ => false,
        }
    }

    pub(super) fn read(&mut self, address: u32, now: u64) -> Option<u32> {
        Some(match address {
            map::QUAD_PE_REGISTERS..QUAD_PES_END => self.feed_through[masked(address)?].mask,
            PINS_DRIVEN => self.pins_driven,
            PINS_OUT => self.pins_out,
            PINS_IN => self.pins(),
            FEED_THROUGH_SOURCES => self.feed_through_sources,
            map::UART_0..UARTS_END => {
                let offset = address - map::UART_0;
                self.uarts[offset as usize / 0x100].read(offset % 0x100, now)?
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
            FEED_THROUGH_SOURCES => {
                // What the lower half does is not public.
                if value & 0xffff != 0 {
                    return None;
                }
                self.feed_through_sources = value;
            }
            map::UART_0..UARTS_END => {
                let offset = address - map::UART_0;
                self.uarts[offset as usize / 0x100].write(offset % 0x100, value, now)?;
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
            UART_READ => match self.received.pop_front() {
                Some(byte) => VALID | u32::from(byte),
                None => 0,
            },
            UART_WRITE => {
                if self.free > now {
                    VALID
                } else {
                    0
                }
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
                if self.free > now || value & VALID == 0 {
                    return None;
                }
                self.sent.push(value as u8);
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
    let register = offset % QUAD_PE_BYTES;
    if !(FEED_THROUGH_MASKS..FEED_THROUGH_MASKS_END).contains(&register) {
        return None;
    }
    let pe = (register - FEED_THROUGH_MASKS) / 4;
    number(PeId::from_noc_id(
        (4 * (offset / QUAD_PE_BYTES) + pe) as u8,
    )?)
}
