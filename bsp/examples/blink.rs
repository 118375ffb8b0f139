//! Blinks: drives a pin of the prototype high and low, by the traits of embedded-hal.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
fn run() -> ! {
    use bsp::board::BOARD;
    use cortex_m_semihosting::{debug, hprintln};
    use embedded_hal::delay::DelayNs;
    use embedded_hal::digital::{OutputPin, StatefulOutputPin};
    use s2_hal::pe::Delay;
    use s2_hal::pe::gpio::Pins;

    /// What knows of no chip.
    fn blink(pin: &mut impl StatefulOutputPin, delay: &mut impl DelayNs, times: u32) {
        for _ in 0..2 * times {
            let Ok(on) = pin.toggle().and_then(|()| pin.is_set_high()) else {
                return;
            };
            hprintln!("{}", if on { "on" } else { "off" });
            delay.delay_ms(100);
        }
    }

    let start = bsp::firmware::start(bsp::specification::Image::Other);
    let mut delay = Delay::new(start.peripherals.timer_1, BOARD.timer_frequency);
    let pins = Pins::new(start.peripherals.management);
    let mut led = pins.output(0).expect("pin 0 is there");
    let _ = led.set_low();
    blink(&mut led, &mut delay, 2);
    debug::exit(debug::EXIT_SUCCESS);
    bsp::firmware::halt()
}

bsp::image!(run());
