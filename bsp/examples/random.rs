//! Draws random numbers from a PE's generator, and compares them with the software model of it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
fn run() -> ! {
    use cortex_m_semihosting::{debug, hprintln};
    use s2_hal::pe::Generator;
    use s2_hal::rng::{Kiss64, Rng as _};

    let start = bsp::firmware::start(bsp::specification::Image::Other);
    let mut hardware = Generator::for_pe(start.peripherals.kiss64, start.chip, start.pe);
    let mut software = Kiss64::for_pe(start.chip, start.pe.noc_id());
    for _ in 0..4 {
        let (here, there) = (hardware.next_u32(), software.next_u32());
        hprintln!("{:08x} {:08x}", here, there);
    }
    // The model's recurrence is that of a public header; no chip was at hand to compare.
    let equal = (0..1000).filter(|_| hardware.next_u32() == software.next_u32());
    hprintln!("{} of the next 1000 are equal", equal.count());
    debug::exit(debug::EXIT_SUCCESS);
    bsp::firmware::halt()
}

bsp::image!(run());
