//! Times a piece of work with a PE's timer, and waits.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
fn run() -> ! {
    use bsp::board::BOARD;
    use cortex_m_semihosting::{debug, hprintln};
    use s2_hal::math::{ExpLog as _, I17F15, SoftwareExpLog};
    use s2_hal::pe::{Clock, Delay};
    use s2_hal::timer::{DelayNs as _, Ticks as _};

    let start = bsp::firmware::start(bsp::specification::Image::Other);
    let mut clock = Clock::new(start.peripherals.timer_1, BOARD.timer_frequency);
    let mut delay = Delay::new(start.peripherals.timer_2, BOARD.timer_frequency);

    let before = clock.now();
    let mut sum = I17F15::ZERO;
    for tenth in 0..100 {
        sum += SoftwareExpLog.exp(-I17F15::from_num(tenth) / 10);
    }
    let work = clock.now() - before;
    hprintln!("sum of 100 exponentials: {:.3}", sum);

    let before = clock.now();
    delay.delay_ms(5);
    let waited = clock.now() - before;
    let per_second = clock.frequency();
    hprintln!("5 ms are {} ticks of {} per second", waited, per_second);
    // What the work takes depends on the speed of the processor.
    assert!(waited >= 5000 && work > 0);
    debug::exit(debug::EXIT_SUCCESS);
    bsp::firmware::halt()
}

bsp::image!(run());
