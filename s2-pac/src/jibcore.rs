//! Core registers of the **prototype's** periphery: PLLs, true random numbers, locks, pulse width.
//!
//! Only names and offsets are public, and the product's periphery is a different one: do not use this
//! on a product chip. A description says what the name says. Writing is safe where it can set a lock, a
//! random number or an output alone; clocks and tests may lose what a memory holds.

use crate::register::block;

block! {
    /// Core registers of the prototype's periphery.
    JibCore {
        /// Debug words.
        [J "jibcore_regfile.h"]
        debug[4; 4] = 0x000, "debug": u32, ReadPointer;
        /// Self-test (`fbist`): settings.
        [J "jibcore_regfile.h"]
        self_test_config = 0x010, "fbist_config": u32, ReadPointer;
        /// Self-test (`fbist`): state.
        [J "jibcore_regfile.h"]
        self_test_status = 0x014, "fbist_status": u32, ReadPure;
        /// Self-test (`fbist`): choice of source.
        [J "jibcore_regfile.h"]
        self_test_source = 0x018, "fbist_srcsel": u32, ReadPointer;
        /// First PLL: settings.
        [J "jibcore_regfile.h"]
        pll_0_config[2; 4] = 0x020, "pll0_cfg": u32, ReadPointer;
        /// First PLL: state.
        [J "jibcore_regfile.h"]
        pll_0_status = 0x028, "pll0_status": u32, ReadPure;
        /// First PLL: settings of `bisc`.
        [J "jibcore_regfile.h"]
        pll_0_bisc_config = 0x02c, "pll0_bisc_config": u32, ReadPointer;
        /// First PLL: state of `bisc`.
        [J "jibcore_regfile.h"]
        pll_0_bisc_status = 0x030, "pll0_bisc_status": u32, ReadPure;
        /// Second PLL: settings.
        [J "jibcore_regfile.h"]
        pll_1_config[2; 4] = 0x040, "pll1_cfg": u32, ReadPointer;
        /// Second PLL: state.
        [J "jibcore_regfile.h"]
        pll_1_status = 0x048, "pll1_status": u32, ReadPure;
        /// True random numbers: settings.
        [J "jibcore_regfile.h"]
        random_config = 0x050, "trng_cfg": u32, ReadWrite;
        /// True random numbers: period.
        [J "jibcore_regfile.h"]
        random_run_period = 0x054, "trng_run_period": u32, ReadWrite;
        /// True random numbers: polynomial `firo`.
        [J "jibcore_regfile.h"]
        random_firo = 0x058, "trng_firo_poly": u32, ReadWrite;
        /// True random numbers: polynomial `garo`.
        [J "jibcore_regfile.h"]
        random_garo = 0x05c, "trng_garo_poly": u32, ReadWrite;
        /// True random numbers: enables the generator.
        [J "jibcore_regfile.h"]
        random_enable = 0x060, "trng_enable": u32, ReadWrite;
        /// True random numbers: a number. That reading takes it is assumed.
        [J "jibcore_regfile.h"]
        random_value = 0x064, "trng_value": u32, ReadEffect;
        /// Termination resistors: clock.
        [J "jibcore_regfile.h"]
        termination_clock = 0x070, "rterm_clk": u32, ReadPointer;
        /// Termination resistors: settings.
        [J "jibcore_regfile.h"]
        termination_config = 0x074, "rterm_cfg": u32, ReadPointer;
        /// Termination resistors: state.
        [J "jibcore_regfile.h"]
        termination_status = 0x078, "rterm_status": u32, ReadPure;
        /// Locks between PEs. Which value means free, and what releases one, is not public; that reading
        /// takes a lock is assumed.
        [J "jibcore_regfile.h"]
        lock[16; 4] = 0x080, "lock": u32, EffectWrite;
        /// Pulse width modulation: settings.
        [J "jibcore_regfile.h"]
        pwm_config = 0x0c0, "pwm_cfg": u32, ReadWrite;
        /// Pulse width modulation: values of the two outputs.
        [J "jibcore_regfile.h"]
        pwm_value[2; 4] = 0x0c4, "pwm_val": u32, ReadWrite;
    }
    instances JIB_CORE
}
