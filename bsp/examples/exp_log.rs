//! How close a PE's unit for exponentials and logarithms comes to the software form, over a range.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
fn run() -> ! {
    use cortex_m_semihosting::{debug, hprintln};
    use s2_hal::math::{ExpLog as _, I17F15, SoftwareExpLog};
    use s2_hal::pe::{ExpLogUnit, MOST_ITERATIONS};

    let start = bsp::firmware::start(bsp::specification::Image::Other);
    let unit = ExpLogUnit::new(start.peripherals.exp_log, MOST_ITERATIONS);
    let mut unit = unit.map_err(|(error, _)| error).expect("in range");
    let mut software = SoftwareExpLog;
    let (mut worst_exp, mut worst_ln) = (0, 0);
    // From -8 to 8 in steps of 1/64.
    for step in -512..=512_i32 {
        let x = I17F15::from_bits(step << 9);
        let difference = unit.exp(x).to_bits() - software.exp(x).to_bits();
        worst_exp = worst_exp.max(difference.abs());
        if x > 0 {
            let difference = unit.ln(x).to_bits() - software.ln(x).to_bits();
            worst_ln = worst_ln.max(difference.abs());
        }
    }
    hprintln!(
        "exp(1) = {:.4}, ln(2) = {:.4}",
        unit.exp(I17F15::ONE),
        unit.ln(I17F15::from_num(2))
    );
    hprintln!(
        "largest difference: exp {} ulp, ln {} ulp",
        worst_exp,
        worst_ln
    );
    debug::exit(debug::EXIT_SUCCESS);
    bsp::firmware::halt()
}

bsp::image!(run());
