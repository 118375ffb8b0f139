//! What the PEs of a chip share: register files of the QuadPEs, UARTs, pins, feed-through interrupts, control of
//! processors.

use std::collections::VecDeque;

use s2_pac::jibmgmt::{FeedThrough as Sources, FeedThroughSource as Source, JibManagement};
use s2_pac::map;
#[cfg(feature = "provisional")]
use s2_pac::provisional::CoreControl;
use s2_pac::qpe::QuadPe;
use s2_pac::register::Value;
use s2_pac::uart::{Uart as UartBlock, UartRead, UartWrite};

use super::offset;
use crate::mock::number;
use crate::topology::{PES, PeId};

const QUAD_PES_END: u32 = map::QUAD_PE_REGISTERS + 64 * map::QUAD_PE_REGISTERS_BYTES;
const MASKS: u32 = offset(&QuadPe::INFO, "irq_ft");
const MASKS_END: u32 = MASKS + 16;
#[cfg(feature = "provisional")]
const CORES: u32 = offset(&QuadPe::INFO, "arm_ctrl");
#[cfg(feature = "provisional")]
const CORES_END: u32 = CORES + 16;

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
    pes: [Shared; PES],
    /// Numbers of PEs for which a line was raised, or whose processor was held or let go.
    stirred: Vec<usize>,
}

/// What is shared for one PE.
#[derive(Clone, Copy, Debug, Default)]
struct Shared {
    /// Feed-through lines that it has enabled.
    mask: u32,
    /// Lines that were raised for a moment and not taken.
    pulses: u8,
    /// Its processor is held.
    held: bool,
    /// Its processor was let go, and nobody has taken note.
    released: bool,
}

#[derive(Debug, Default)]
struct Uart {
    config: u32,
    divider: u32,
    received: VecDeque<u8>,
    sent: Vec<u8>,
    /// When the writer takes the next byte.
    free: u64,
    /// Bytes take no time.
    unpaced: bool,
}

impl Default for Periphery {
    fn default() -> Self {
        Self {
            uarts: Default::default(),
            pins_driven: 0,
            pins_out: 0,
            pins_in: 0,
            sources: Sources::default(),
            pes: [Shared::default(); PES],
            stirred: Vec::new(),
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

    /// Whether bytes that UART `uart`, 0 or 1, sends take the time that its divider says, as they do at first, or
    /// none.
    ///
    /// # Panics
    /// If there is no such UART.
    pub fn pace_uart(&mut self, uart: usize, paced: bool) {
        self.uarts[uart].unpaced = !paced;
    }

    /// Raises feed-through line `line`, 0 to 3, for a moment: every PE that has enabled it sees the
    /// interrupt once.
    ///
    /// # Panics
    /// If there is no such line.
    pub fn pulse(&mut self, line: usize) {
        assert!(line < 4, "there are four feed-through lines");
        for (number, pe) in self.pes.iter_mut().enumerate() {
            if pe.mask >> line & 1 == 1 {
                pe.pulses |= 1 << line;
                self.stirred.push(number);
            }
        }
    }

    /// Holds the processor of a PE, or lets it go, as its control register does.
    ///
    /// # Panics
    /// If the chip has no such PE.
    pub fn set_held(&mut self, pe: PeId, held: bool) {
        let number = number(pe).expect("the chip has the PE");
        let pe = &mut self.pes[number];
        pe.released |= pe.held && !held;
        pe.held = held;
        self.stirred.push(number);
    }

    /// Whether the processor of a PE is held. A chip that there is none of holds nothing.
    pub fn is_held(&self, pe: PeId) -> bool {
        number(pe).is_some_and(|number| self.pes[number].held)
    }

    /// Whether the processor of a PE has been let go since the last call.
    pub fn take_release(&mut self, pe: PeId) -> bool {
        number(pe).is_some_and(|number| std::mem::take(&mut self.pes[number].released))
    }

    /// Takes the number of a PE that should look at what has changed for it.
    #[inline]
    pub(in crate::mock) fn take_stirred(&mut self) -> Option<usize> {
        self.stirred.pop()
    }

    /// When time alone raises a feed-through line that PE `id` has enabled, if it is not raised already.
    pub(super) fn next_event(&self, id: PeId, now: u64) -> Option<u64> {
        let mask = self.pes[number(id)?].mask;
        let sources = self.line_sources().into_iter().enumerate();
        let enabled = sources.filter(|(line, _)| mask >> line & 1 == 1);
        let ends = enabled.filter_map(|(_, source)| match source? {
            Source::Uart0TxDone | Source::Uart0TxReady => Some(self.uarts[0].free),
            Source::Uart1TxDone | Source::Uart1TxReady => Some(self.uarts[1].free),
            _ => None,
        });
        ends.filter(|&end| end > now).min()
    }

    fn line_sources(&self) -> [Option<Source>; 4] {
        let sources = self.sources;
        [
            sources.line_0(),
            sources.line_1(),
            sources.line_2(),
            sources.line_3(),
        ]
    }

    /// Lines whose source is raised, as bits.
    fn levels(&self, now: u64) -> u8 {
        let sources = self.line_sources().into_iter().enumerate();
        let raised = sources.filter(|(_, source)| source.is_some_and(|s| self.is_raised(s, now)));
        raised.fold(0, |lines, (line, _)| lines | 1 << line)
    }

    /// Feed-through lines that PE `id` sees raised; takes its pulses.
    pub(super) fn feed_through(&mut self, id: PeId, now: u64) -> u8 {
        let levels = self.levels(now);
        let Some(pe) = number(id).map(|number| &mut self.pes[number]) else {
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
            map::QUAD_PE_REGISTERS..QUAD_PES_END => match shared(address)? {
                (Register::Mask, pe) => self.pes[pe].mask,
                #[cfg(feature = "provisional")]
                (Register::Core, pe) => CoreControl::default()
                    .with_hold(self.pes[pe].held)
                    .into_bits(),
            },
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
            map::QUAD_PE_REGISTERS..QUAD_PES_END => match shared(address)? {
                (Register::Mask, pe) if value <= 0xf => self.pes[pe].mask = value,
                #[cfg(feature = "provisional")]
                (Register::Core, pe) if value <= 1 => {
                    let held = CoreControl::from_bits(value).hold();
                    self.set_held(crate::mock::pe(pe), held);
                }
                _ => return None,
            },
            PINS_DRIVEN => self.pins_driven = value,
            PINS_OUT => self.pins_out = value,
            SOURCES => {
                // What the lower half does is not public.
                if value & 0xffff != 0 {
                    return None;
                }
                let before = self.levels(now);
                self.sources = Sources::from_bits(value);
                // However short it is, the interrupt controllers of the PEs see it.
                let raised = self.levels(now) & !before;
                for line in (0..4).filter(|line| raised >> line & 1 == 1) {
                    self.pulse(line);
                }
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
                if !self.unpaced {
                    self.free = now + 10 * u64::from(self.divider);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// A register of a QuadPE's register file that is in the model.
enum Register {
    Mask,
    #[cfg(feature = "provisional")]
    Core,
}

/// Which register of a QuadPE's register file is at an address, and the number of its PE.
fn shared(address: u32) -> Option<(Register, usize)> {
    let offset = address - map::QUAD_PE_REGISTERS;
    let (register, start) = match offset % map::QUAD_PE_REGISTERS_BYTES {
        MASKS..MASKS_END => (Register::Mask, MASKS),
        #[cfg(feature = "provisional")]
        CORES..CORES_END => (Register::Core, CORES),
        _ => return None,
    };
    let pe = (offset % map::QUAD_PE_REGISTERS_BYTES - start) / 4;
    let id = 4 * (offset / map::QUAD_PE_REGISTERS_BYTES) + pe;
    Some((register, number(PeId::from_noc_id(id as u8)?)?))
}
