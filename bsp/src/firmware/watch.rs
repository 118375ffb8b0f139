//! The monitor: looks at the records of all other PEs and writes what is new to the serial line.

use core::fmt::Write as _;
use core::num::NonZeroU32;

use bytemuck::Zeroable as _;
use cortex_m::peripheral::NVIC;
use s2_hal::dma::{self, Address, Aligned};
use s2_hal::pe::uart::{Config, Uart};
use s2_hal::pe::{Ticker, WindowCopy};
use s2_hal::serial::Write as _;
use s2_hal::topology::{self, PES};
use s2_pac::irq::Interrupt;

use super::{Live, heap, sleep};
use crate::board::BOARD;
use crate::layout;
use crate::record::{Record, Status};
use crate::specification::Image;

/// Clock divider of the serial line. What it divides is not public; this is 115200 Hz from 100 MHz, the
/// clock of the periphery by a second-hand source, if the divider counts single cycles.
const CLOCK_DIVIDER: u32 = 868;

/// A text for the serial line.
struct Line(Uart);

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0
            .write_all(text.as_bytes())
            .map_err(|error| match error {})
    }
}

/// Ten times a second reads the record of every other PE, and writes a line for each one that has changed
/// what it does: its status, or the run that it works on.
pub fn monitor() -> ! {
    cortex_m::interrupt::disable();
    let start = super::start(Image::Monitor);
    let peripherals = start.peripherals;
    let config = Config {
        two_stop_bits: false,
        parity: false,
        flow_control: None,
        clock_divider: CLOCK_DIVIDER,
    };
    let uart = Uart::new(peripherals.uart_0, &config).map_err(|(error, _)| error);
    let mut line = Line(uart.expect("the divider is not zero"));
    let mut channel = WindowCopy::new(peripherals.window, start.pe);
    let period = NonZeroU32::new(BOARD.timer_frequency / 10).expect("the clock is not that slow");
    let mut ticker = Ticker::new(peripherals.timer_1, period);
    let Ok(seen) = heap::uninit::<[(u32, u32); PES]>() else {
        unreachable!("the heap has room for it");
    };
    let seen = seen.write([(0, 0); PES]);
    let mut record = Aligned([Record::zeroed()]);
    heap::seal();
    // SAFETY: interrupts are masked by PRIMASK, so that unmasking one here calls no handler.
    unsafe { NVIC::unmask(Interrupt::TIMER_INT1) };
    let mut live = Live::new();
    live.set_status(Status::Running);
    loop {
        for (pe, seen) in topology::pes().zip(seen.iter_mut()) {
            let address = Address::pe_sram(pe, layout::RECORD.start);
            let (true, Some(address)) = (BOARD.has(pe) && pe != start.pe, address) else {
                continue;
            };
            if dma::copy::read(&mut channel, address, &mut record[..]).is_err() {
                continue;
            }
            let now = (record[0].status, record[0].run);
            // A memory that no program has started in may hold anything.
            if now != *seen && record[0].status().is_some() {
                *seen = now;
                // The line has no errors.
                let _ = writeln!(line, "{}", record[0]);
            }
        }
        while ticker.wait().is_err() {
            NVIC::unpend(Interrupt::TIMER_INT1);
            sleep();
        }
    }
}
