//! The exponential and logarithm unit, the random number generators and the true random bus.

use std::collections::VecDeque;

use s2_pac::map;
use s2_pac::nmu::{ExpLog as ExpLogBlock, Kiss};

use super::offset;
use crate::math::{ExpLog, I17F15, SoftwareExpLog};
use crate::rng::Kiss64;
use crate::topology::PeId;

const EXP: u32 = map::EXP_LOG + offset(&ExpLogBlock::INFO, "EXP");
const EXP_FRACTION: u32 = map::EXP_LOG + offset(&ExpLogBlock::INFO, "EXP_FRAC");
const LN: u32 = map::EXP_LOG + offset(&ExpLogBlock::INFO, "LOG");
const ITERATIONS: u32 = map::EXP_LOG + offset(&ExpLogBlock::INFO, "EXP_LOG_CONTROL");

/// Results that the pipeline holds.
const DEPTH: usize = 4;

const GENERATORS: usize = 3;
const GENERATOR_BYTES: u32 = map::KISS32_1 - map::KISS32_0;
const GENERATORS_END: u32 = map::KISS32_0 + GENERATOR_BYTES * GENERATORS as u32;
const SEEDS: u32 = offset(&Kiss::INFO, "seed");
const FIFTH_SEED: u32 = SEEDS + 16;
const VALUE: u32 = offset(&Kiss::INFO, "rnd_value");
const VALUE_FLOAT: u32 = offset(&Kiss::INFO, "rnd_value_float");

const TRUE_CONFIG_END: u32 = map::TRUE_RANDOM_CONFIG + 0x10;
const TRUE_END: u32 = map::TRUE_RANDOM + 0x10;

#[derive(Debug)]
pub(super) struct Nmu {
    /// Results with the register that they are read at, oldest first.
    pipeline: VecDeque<(u32, u32)>,
    iterations: u32,
    generators: [Generator; GENERATORS],
    /// Stands in for the true random bus.
    noise: Kiss64,
    noise_config: [u32; 4],
}

#[derive(Debug)]
struct Generator {
    kiss: Kiss64,
    /// The seed register that the recurrence does not use.
    fifth: u32,
}

impl Nmu {
    pub(super) fn new(id: PeId, chip: u16) -> Self {
        let unseeded = || Generator {
            kiss: Kiss64::from_words([0; 4]),
            fifth: 0,
        };
        let mut noise = Kiss64::for_pe(chip, id.noc_id());
        for _ in 0..100 {
            noise.next();
        }
        Self {
            pipeline: VecDeque::with_capacity(DEPTH),
            iterations: 0,
            generators: [unseeded(), unseeded(), unseeded()],
            noise,
            noise_config: [0; 4],
        }
    }

    pub(super) fn read(&mut self, address: u32) -> Option<u32> {
        match address {
            map::KISS32_0..GENERATORS_END => {
                let offset = address - map::KISS32_0;
                let generator = &mut self.generators[(offset / GENERATOR_BYTES) as usize];
                match offset % GENERATOR_BYTES {
                    seed @ SEEDS..FIFTH_SEED => {
                        Some(generator.kiss.words()[((seed - SEEDS) / 4) as usize])
                    }
                    FIFTH_SEED => Some(generator.fifth),
                    VALUE => Some(generator.kiss.next()),
                    VALUE_FLOAT => Some((generator.kiss.next() as f32 / 4_294_967_296.0).to_bits()),
                    _ => None,
                }
            }
            map::TRUE_RANDOM_CONFIG..TRUE_CONFIG_END => {
                Some(self.noise_config[(address - map::TRUE_RANDOM_CONFIG) as usize / 4])
            }
            map::TRUE_RANDOM..TRUE_END => Some(self.noise.next()),
            EXP | EXP_FRACTION | LN => {
                let &(register, result) = self.pipeline.front()?;
                if register != address {
                    return None;
                }
                self.pipeline.pop_front();
                Some(result)
            }
            ITERATIONS => Some(self.iterations),
            _ => None,
        }
    }

    pub(super) fn write(&mut self, address: u32, value: u32) -> Option<()> {
        match address {
            map::KISS32_0..GENERATORS_END => {
                let offset = address - map::KISS32_0;
                let generator = &mut self.generators[(offset / GENERATOR_BYTES) as usize];
                match offset % GENERATOR_BYTES {
                    seed @ SEEDS..FIFTH_SEED => {
                        let mut words = generator.kiss.words();
                        words[((seed - SEEDS) / 4) as usize] = value;
                        generator.kiss = Kiss64::from_words(words);
                    }
                    FIFTH_SEED => generator.fifth = value,
                    _ => return None,
                }
            }
            map::TRUE_RANDOM_CONFIG..TRUE_CONFIG_END => {
                self.noise_config[(address - map::TRUE_RANDOM_CONFIG) as usize / 4] = value;
            }
            EXP | EXP_FRACTION | LN => {
                if self.pipeline.len() == DEPTH {
                    return None;
                }
                let bits = value.cast_signed();
                let x = I17F15::from_bits(bits);
                let result = match address {
                    EXP => SoftwareExpLog.exp(x).to_bits(),
                    LN => SoftwareExpLog.ln(x).to_bits(),
                    // Operands that s16.15 has too.
                    _ if bits & 0xffff == 0 => SoftwareExpLog
                        .exp_fraction(I17F15::from_bits(bits >> 16))
                        .to_bits(),
                    _ => return None,
                };
                self.pipeline.push_back((address, result.cast_unsigned()));
            }
            ITERATIONS => self.iterations = value,
            _ => return None,
        }
        Some(())
    }
}
