//! The exponential and logarithm unit of a PE.

use core::fmt;

use s2_pac::bus::{Bus, Mmio};
use s2_pac::nmu;

use crate::math::{ExpLog, I1F31, I17F15, SoftwareExpLog};

/// Operands that the unit takes before a result is read (tag J).
const DEPTH: usize = 4;

/// The unit: takes up to four operands, then gives the results in the same order.
///
/// Its bits are not public, and it promises no more than 1 to 2 units in the last place (tag S). Where
/// the same bits are needed everywhere, use [`SoftwareExpLog`], as [`Pe`](super::Pe) does.
#[derive(Debug)]
pub struct ExpLogUnit<B = Mmio> {
    registers: nmu::ExpLog<B>,
    /// What the operands under way ask for; the first `count` from `first` on, around the end.
    under_way: [Function; DEPTH],
    first: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    ExpFraction,
    Ln,
}

/// An operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Asks for the exponential.
    Exp(I17F15),
    /// Asks for the exponential as a pure fraction; the operand is negative.
    ExpFraction(I1F31),
    /// Asks for the natural logarithm; the operand is positive.
    Ln(I17F15),
}

/// A result. What one reads as that its format does not hold is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Operand::Exp`].
    Exp(I17F15),
    /// Of [`Operand::ExpFraction`].
    ExpFraction(I1F31),
    /// Of [`Operand::Ln`].
    Ln(I17F15),
}

/// Four operands are under way: a result must be read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineFull;

impl fmt::Display for PipelineFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{DEPTH} operands are under way in the exponential unit; read a result first"
        )
    }
}

impl core::error::Error for PipelineFull {}

/// The number of iterations is not one that the unit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IterationsError(
    /// The number.
    pub u32,
);

impl fmt::Display for IterationsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} iterations of the exponential unit; it does 1 to {MOST_ITERATIONS}",
            self.0
        )
    }
}

impl core::error::Error for IterationsError {}

/// Most iterations, which is the most accurate (tag S).
pub const MOST_ITERATIONS: u32 = 16;

impl<B: Bus> ExpLogUnit<B> {
    /// The unit with 1 to [`MOST_ITERATIONS`] iterations.
    ///
    /// # Errors
    /// If the number is another one; the registers come back.
    pub fn new(
        mut registers: nmu::ExpLog<B>,
        iterations: u32,
    ) -> Result<Self, (IterationsError, nmu::ExpLog<B>)> {
        if !(1..=MOST_ITERATIONS).contains(&iterations) {
            return Err((IterationsError(iterations), registers));
        }
        registers.iterations().write(iterations);
        Ok(Self {
            registers,
            under_way: [Function::Exp; DEPTH],
            first: 0,
            count: 0,
        })
    }

    /// Gives the unit an operand.
    ///
    /// # Errors
    /// If four are under way.
    pub fn push(&mut self, operand: Operand) -> Result<(), PipelineFull> {
        if self.count == DEPTH {
            return Err(PipelineFull);
        }
        let function = match operand {
            Operand::Exp(x) => {
                self.registers.exp().write(x.to_bits());
                Function::Exp
            }
            Operand::ExpFraction(x) => {
                self.registers.exp_fraction().write(x.to_bits());
                Function::ExpFraction
            }
            Operand::Ln(x) => {
                self.registers.log().write(x.to_bits());
                Function::Ln
            }
        };
        self.under_way[(self.first + self.count) % DEPTH] = function;
        self.count += 1;
        Ok(())
    }

    /// Takes the oldest result, for which the processor waits some cycles if need be; `None` if no
    /// operand is under way.
    pub fn pop(&mut self) -> Option<Outcome> {
        if self.count == 0 {
            return None;
        }
        let function = self.under_way[self.first];
        self.first = (self.first + 1) % DEPTH;
        self.count -= 1;
        Some(match function {
            Function::Exp => Outcome::Exp(I17F15::from_bits(self.registers.exp().take())),
            Function::ExpFraction => {
                Outcome::ExpFraction(I1F31::from_bits(self.registers.exp_fraction().take()))
            }
            Function::Ln => Outcome::Ln(I17F15::from_bits(self.registers.log().take())),
        })
    }

    /// Takes and drops all results.
    fn drain(&mut self) {
        while self.pop().is_some() {}
    }
}

/// ln 65536 with 15 fraction bits, rounded up: from here on the exponential leaves its format.
const EXP_SATURATES: I17F15 = I17F15::from_bits(363_409);

/// Drops results that were not taken from the pipeline. Arguments whose result the format does not hold
/// do not go to the unit.
impl<B: Bus> ExpLog for ExpLogUnit<B> {
    fn exp(&mut self, x: I17F15) -> I17F15 {
        if x >= EXP_SATURATES {
            return I17F15::MAX;
        }
        self.drain();
        self.registers.exp().write(x.to_bits());
        I17F15::from_bits(self.registers.exp().take())
    }

    /// The unit's operand is a pure fraction: below -1 the software form steps in.
    fn exp_fraction(&mut self, x: I17F15) -> I1F31 {
        if !(I17F15::NEG_ONE..I17F15::ZERO).contains(&x) {
            return SoftwareExpLog.exp_fraction(x);
        }
        self.drain();
        self.registers.exp_fraction().write(x.to_bits() << 16);
        I1F31::from_bits(self.registers.exp_fraction().take())
    }

    fn ln(&mut self, x: I17F15) -> I17F15 {
        if x <= I17F15::ZERO {
            return I17F15::MIN;
        }
        self.drain();
        self.registers.log().write(x.to_bits());
        I17F15::from_bits(self.registers.log().take())
    }
}
