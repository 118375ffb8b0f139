//! Sends back what comes over the first serial line of the prototype, in upper case, line by line. An
//! empty line ends it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
fn run() -> ! {
    use cortex_m_semihosting::debug;
    use s2_hal::pe::uart::{Config, Uart};
    use s2_hal::serial::{Read as _, Write as _};

    let start = bsp::firmware::start(bsp::specification::Image::Other);
    let config = Config {
        two_stop_bits: false,
        parity: false,
        flow_control: None,
        // What it divides is not public: see the monitor.
        clock_divider: 868,
    };
    let uart = Uart::new(start.peripherals.uart_0, &config);
    let Ok(mut uart) = uart else {
        unreachable!("the divider is not zero");
    };
    // A UART of this kind has no errors to report.
    let _ = uart.write_all(b"say something\n");
    let mut length = 0;
    loop {
        let mut byte = [0];
        let _ = uart.read(&mut byte);
        let _ = uart.write_all(&byte.map(|byte| byte.to_ascii_uppercase()));
        match byte {
            [b'\n'] if length == 0 => break,
            [b'\n'] => length = 0,
            _ => length += 1,
        }
    }
    let _ = uart.flush();
    debug::exit(debug::EXIT_SUCCESS);
    bsp::firmware::halt()
}

bsp::image!(run());
