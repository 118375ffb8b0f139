//! Sends back what the serial line brings, in upper case, until a full stop.
#![no_std]
#![no_main]

use core::num::NonZeroU32;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::entry;
use embedded_io::{Read, ReadReady, Write};
use firmware::exit;
use s2_hal::pe::uart::{Config, Uart};
use s2_hal::pe::{Peripherals, Ticker};
use s2_pac::irq::Interrupt;

/// Ticks of the timers' clock between two looks at the line.
const LOOK: NonZeroU32 = NonZeroU32::new(100).unwrap();

#[entry]
fn main() -> ! {
    let peripherals = Peripherals::take().expect("nobody has taken them");
    let config = Config {
        two_stop_bits: false,
        parity: false,
        flow_control: None,
        clock_divider: 2,
    };
    let Ok(mut line) = Uart::new(peripherals.uart_0, &config) else {
        panic!("the divider is not zero")
    };
    let mut ticker = Ticker::new(peripherals.timer_1, LOOK);
    cortex_m::interrupt::disable();
    // SAFETY: exceptions are masked: no handler is called.
    unsafe { NVIC::unmask(Interrupt::TIMER_INT1) };
    loop {
        while line.read_ready() == Ok(true) {
            let mut byte = [0];
            let _ = line.read(&mut byte);
            let _ = line.write_all(&byte.map(|byte| byte.to_ascii_uppercase()));
            if byte == *b"." {
                exit(0);
            }
        }
        cortex_m::asm::wfi();
        let _ = ticker.wait();
        NVIC::unpend(Interrupt::TIMER_INT1);
    }
}
