//! The math unit of a PE: exponential and logarithm, random numbers.
//!
//! Numbers are in fixed point, two's complement: **s16.15** has 15 bits behind the point (`1.0` is
//! `0x0000_8000`), **s0.31** has 31 (`0.5` is `0x4000_0000`, `1.0` does not exist).

use crate::register::{block, fields};

block! {
    /// Exponentials and natural logarithms: write an operand, read the result.
    ///
    /// Up to four operands may be under way (tag J), so each result that is read is gone. A
    /// second-hand source says that operand and result may have different formats, 1 to 16 iterations
    /// take 7 to 22 cycles, and results are within 1 to 2 units in the last place (tag S). What a result
    /// beyond its format reads as is not public.
    ExpLog {
        /// Exponential, operand and result in s16.15.
        [J "qpe-types.h, nmu.h"]
        exp = 0x00, "EXP": i32, EffectWrite;
        /// Exponential, operand and result in s0.31.
        [J "qpe-types.h, nmu.h"]
        exp_fraction = 0x04, "EXP_FRAC": i32, EffectWrite;
        /// Natural logarithm, operand and result in s16.15.
        [J "qpe-types.h, nmu.h"]
        log = 0x0c, "LOG": i32, EffectWrite;
        /// Natural logarithm, operand and result in s0.31.
        [J "qpe-types.h, nmu.h"]
        log_fraction = 0x10, "LOG_FRAC": i32, EffectWrite;
        /// Number of iterations, which sets the accuracy.
        [J "qpe-types.h, nmu.h"]
        iterations = 0x18, "EXP_LOG_CONTROL": u32, ReadWrite;
    }
    instances EXP_LOG
}

block! {
    /// A generator of pseudo-random numbers. The first two are KISS32, the third is a KISS64.
    Kiss {
        /// Seeds. Public programs seed the KISS64 so: 0 is `c`, 1 is `x`, 2 is `y`, 3 is `z`.
        [J "qpe-types.h; order: random.h"]
        seed[5; 4] = 0x00, "seed": u32, ReadWrite;
        /// The next number, all 32 bits random.
        [J "qpe-types.h"]
        value = 0x14, "rnd_value": u32, ReadEffect;
        /// The next number in floating point. Its range is not public.
        [J "qpe-types.h"]
        value_float = 0x18, "rnd_value_float": f32, ReadEffect;
    }
    instances KISS32_0, KISS32_1, KISS64
}

block! {
    /// Settings of the bus that brings true random numbers to a PE.
    TrueRandomConfig {
        /// Rate at which the bus is sampled; unit not public.
        [J "qpe-types.h"]
        sample_rate = 0x00, "trb_config_sample_rate": u32, ReadWrite;
        /// Settings of the path "biw".
        [J "qpe-types.h"]
        biw = 0x04, "trb_config_biw": BiwConfig, ReadWrite;
        /// Settings of the path "pp_min".
        [J "qpe-types.h"]
        pp_min = 0x08, "trb_config_ppmin": PpMinConfig, ReadWrite;
        /// Which paths scramble data.
        [J "qpe-types.h"]
        scramble = 0x0c, "trb_config_scr_data": ScrambleConfig, ReadWrite;
    }
    instances TRUE_RANDOM_CONFIG
}

fields! {
    /// Settings of the path "biw" of true random numbers. What the name stands for is not public.
    BiwConfig {
        /// Named a count for decorrelation.
        [J] 0..=7 decorrelation_count / with_decorrelation_count: u8;
        /// Enables each of the two lines of the bus.
        [J] 8..=9 enable / with_enable: u8;
    }
}

fields! {
    /// Settings of the path "pp_min" of true random numbers. What the name stands for is not public.
    PpMinConfig {
        /// Named `dte`; meaning not public.
        [J] 0..=0 dte / with_dte: bool;
        /// Named a rotation.
        [J] 1..=4 rotate / with_rotate: u8;
        /// Enables each of the two lines of the bus.
        [J] 5..=6 enable / with_enable: u8;
    }
}

fields! {
    /// Which paths of true random numbers scramble data.
    ScrambleConfig {
        /// Lines of the path "biw".
        [J] 0..=1 biw / with_biw: u8;
        /// Lines of the path "pp_min".
        [J] 2..=3 pp_min / with_pp_min: u8;
    }
}

block! {
    /// True random numbers. That reading takes a number is assumed, not public.
    TrueRandom {
        /// Numbers of the path "biw", one for each line of the bus.
        [J "qpe-types.h"]
        biw[2; 4] = 0x00, "biw": u32, ReadEffect;
        /// Numbers of the path "pp_min", one for each line of the bus.
        [J "qpe-types.h"]
        pp_min[2; 4] = 0x08, "pp_min": u32, ReadEffect;
    }
    instances TRUE_RANDOM
}
