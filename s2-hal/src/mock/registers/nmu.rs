//! The exponential and logarithm unit, the random number generators and the true random bus.

use std::collections::VecDeque;

use s2_pac::map;

use crate::math::{ExpLog, I17F15, SoftwareExpLog};
use crate::rng::Kiss64;
use crate::topology::PeId;

const EXP: u32 = map::EXP_LOG;
const LN: u32 = map::EXP_LOG + 0x0c;
const ITERATIONS: u32 = map::EXP_LOG + 0x18;

/// Results that the pipeline holds.
const DEPTH: usize = 4;

const GENERATORS: usize = 3;
const GENERATORS_END: u32 = map::KISS + 0x20 * GENERATORS as u32;
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
            map::KISS..GENERATORS_END => {
                let offset = address - map::KISS;
                let generator = &mut self.generators[offset as usize / 0x20];
                match offset % 0x20 / 4 {
                    seed @ 0..4 => Some(generator.kiss.words()[seed as usize]),
                    4 => Some(generator.fifth),
                    5 => Some(generator.kiss.next()),
                    6 => Some((generator.kiss.next() as f32 / 4_294_967_296.0).to_bits()),
                    _ => None,
                }
            }
            map::TRUE_RANDOM_CONFIG..TRUE_CONFIG_END => {
                Some(self.noise_config[(address - map::TRUE_RANDOM_CONFIG) as usize / 4])
            }
            map::TRUE_RANDOM..TRUE_END => Some(self.noise.next()),
            EXP | LN => {
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
            map::KISS..GENERATORS_END => {
                let offset = address - map::KISS;
                let generator = &mut self.generators[offset as usize / 0x20];
                match offset % 0x20 / 4 {
                    seed @ 0..4 => {
                        let mut words = generator.kiss.words();
                        words[seed as usize] = value;
                        generator.kiss = Kiss64::from_words(words);
                    }
                    4 => generator.fifth = value,
                    _ => return None,
                }
            }
            map::TRUE_RANDOM_CONFIG..TRUE_CONFIG_END => {
                self.noise_config[(address - map::TRUE_RANDOM_CONFIG) as usize / 4] = value;
            }
            EXP | LN => {
                if self.pipeline.len() == DEPTH {
                    return None;
                }
                let x = I17F15::from_bits(value.cast_signed());
                let result = match address {
                    EXP => SoftwareExpLog.exp(x),
                    _ => SoftwareExpLog.ln(x),
                };
                self.pipeline
                    .push_back((address, result.to_bits().cast_unsigned()));
            }
            ITERATIONS => self.iterations = value,
            _ => return None,
        }
        Some(())
    }
}
