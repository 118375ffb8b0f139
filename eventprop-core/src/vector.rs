//! Vector instructions, as far as the kernels need them.
//!
//! What a kernel computes for many neurons at once is written once, against [`Vectors`]. Which
//! instructions that becomes is the caller's choice: [`Single`] for a processor without any, [`Arrays`]
//! for whatever the compiler makes of arrays, or an implementation for the processor at hand.

use crate::neuron::high;
use crate::numeric::Fits;

/// Most words per vector.
pub const MAX_LANES: usize = 8;

/// Vectors of 32-bit words.
///
/// Every implementation gives the same bits lane by lane: differences and sums of products fit (the table in
/// [`crate::numeric`] says why; [`Arrays`] and [`Single`] check it in builds for debugging), operations on
/// floating-point numbers are those of IEEE 754 in single precision, each rounded by itself.
pub trait Vectors: Copy {
    /// Words per vector: at most [`MAX_LANES`].
    const LANES: usize;

    /// As many words in memory as a vector has.
    type Chunk: Copy + AsRef<[i32]> + AsMut<[i32]>;
    /// A vector of words; a mask, where every bit of a lane is alike, is one, too.
    type Words: Copy;
    /// Sums of products of words, 64 bits each.
    type Products: Copy;
    /// A vector of floating-point numbers.
    type Floats: Copy;

    /// Words as far as they fill whole vectors.
    fn chunks(self, words: &[i32]) -> &[Self::Chunk];
    /// Words as far as they fill whole vectors.
    fn chunks_mut(self, words: &mut [i32]) -> &mut [Self::Chunk];
    /// The first words of a slice.
    ///
    /// # Panics
    /// If it has fewer than [`LANES`](Self::LANES).
    fn load(self, from: &[i32]) -> Self::Words;
    /// Puts words at the front of a slice.
    ///
    /// # Panics
    /// If it has fewer than [`LANES`](Self::LANES).
    fn store(self, words: Self::Words, to: &mut [i32]);
    /// The same word in all lanes.
    fn all(self, word: i32) -> Self::Words;
    /// 0, 1, 2 and so on.
    fn lanes(self) -> Self::Words;
    /// `a + b`, which may wrap: kernels ask of a sum afterwards whether it was in range.
    fn add(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// `a - b`.
    fn subtract(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The larger of both.
    fn larger(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Whether `a > b`, as a mask.
    fn greater(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Bits that are set in both.
    fn and(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Bits that are set in any.
    fn or(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// `yes` where the mask is set, else `no`.
    fn choose(self, mask: Self::Words, yes: Self::Words, no: Self::Words) -> Self::Words;
    /// The sign of each lane, the first one's in bit 0.
    fn signs(self, words: Self::Words) -> u32;
    /// `a · b`.
    fn product(self, a: Self::Words, b: Self::Words) -> Self::Products;
    /// `a + b`.
    fn sum(self, a: Self::Products, b: Self::Products) -> Self::Products;
    /// The lower words.
    fn lower(self, products: Self::Products) -> Self::Words;
    /// The upper words.
    fn upper(self, products: Self::Products) -> Self::Words;
    /// The sum of all lanes.
    fn total(self, products: Self::Products) -> i64;
    /// What is left without the upper words: 0 to 2^32 - 1.
    fn fraction(self, products: Self::Products) -> Self::Products;
    /// The upper words, rounded to nearest.
    fn rounded(self, products: Self::Products) -> Self::Words;
    /// Words as floating-point numbers.
    fn floats(self, words: Self::Words) -> Self::Floats;
    /// The same number in all lanes.
    fn all_floats(self, number: f32) -> Self::Floats;
    /// The bits of floating-point numbers.
    fn bits(self, numbers: Self::Floats) -> Self::Words;
    /// `a + b`.
    fn add_floats(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a - b`.
    fn subtract_floats(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b`.
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a / b`.
    fn divide(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a` if it is above `b`, else `b`, also where one is not a number.
    fn larger_float(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a` if it is below `b`, else `b`, also where one is not a number.
    fn smaller_float(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Of which rows the sum of products with `factors` is above `bound`, the first one's answer in bit 0.
    #[inline(always)]
    fn sums_above(self, rows: &[[i32; 4]; 4], factors: [i32; 4], bound: i64) -> u32 {
        let mut above = 0;
        for (number, row) in rows.iter().enumerate() {
            let mut sum = 0i64;
            for (&a, b) in row.iter().zip(factors) {
                sum = sum.plus(i64::from(a).wrapping_mul(b.into()));
            }
            above |= u32::from(sum > bound) << number;
        }
        above
    }
}

/// The first words of a slice, or all, with zeros behind them.
#[inline(always)]
pub(crate) fn padded(words: &[i32]) -> [i32; MAX_LANES] {
    words.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; MAX_LANES];
        padded[..words.len()].copy_from_slice(words);
        padded
    })
}

/// Arrays of eight words, for the compiler to find instructions for. The reference for all others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrays;

/// One neuron at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

/// What suits the target at hand where nothing is known of the machine.
#[cfg(target_arch = "arm")]
pub type Native = Single;
/// What suits the target at hand where nothing is known of the machine.
#[cfg(not(target_arch = "arm"))]
pub type Native = Arrays;

/// `f` of every lane.
#[inline(always)]
fn map<const L: usize, A: Copy, B: Copy + Default>(a: [A; L], f: impl Fn(A) -> B) -> [B; L] {
    let mut result = [B::default(); L];
    for lane in 0..L {
        result[lane] = f(a[lane]);
    }
    result
}

/// `f` of every pair of lanes.
#[inline(always)]
fn both<const L: usize, A: Copy, B: Copy + Default>(
    a: [A; L],
    b: [A; L],
    f: impl Fn(A, A) -> B,
) -> [B; L] {
    let mut result = [B::default(); L];
    for lane in 0..L {
        result[lane] = f(a[lane], b[lane]);
    }
    result
}

/// Implements [`Vectors`] by arrays of so many words.
macro_rules! by_arrays {
    ($name:ty, $lanes:literal) => {
        impl Vectors for $name {
            const LANES: usize = $lanes;

            type Chunk = [i32; $lanes];
            type Words = [i32; $lanes];
            type Products = [i64; $lanes];
            type Floats = [f32; $lanes];

            #[inline(always)]
            fn chunks(self, words: &[i32]) -> &[Self::Chunk] {
                words.as_chunks().0
            }

            #[inline(always)]
            fn chunks_mut(self, words: &mut [i32]) -> &mut [Self::Chunk] {
                words.as_chunks_mut().0
            }

            #[inline(always)]
            fn load(self, from: &[i32]) -> Self::Words {
                *from.first_chunk().expect("a whole vector")
            }

            #[inline(always)]
            fn store(self, words: Self::Words, to: &mut [i32]) {
                *to.first_chunk_mut().expect("a whole vector") = words;
            }

            #[inline(always)]
            fn all(self, word: i32) -> Self::Words {
                [word; $lanes]
            }

            #[inline(always)]
            fn lanes(self) -> Self::Words {
                core::array::from_fn(|lane| lane as i32)
            }

            #[inline(always)]
            fn add(self, a: Self::Words, b: Self::Words) -> Self::Words {
                both(a, b, i32::wrapping_add)
            }

            #[inline(always)]
            fn subtract(self, a: Self::Words, b: Self::Words) -> Self::Words {
                both(a, b, i32::less)
            }

            #[inline(always)]
            fn larger(self, a: Self::Words, b: Self::Words) -> Self::Words {
                both(a, b, i32::max)
            }

            #[inline(always)]
            fn greater(self, a: Self::Words, b: Self::Words) -> Self::Words {
                both(a, b, |a, b| if a > b { -1 } else { 0 })
            }

            #[inline(always)]
            fn and(self, a: Self::Words, b: Self::Words) -> Self::Words {
                both(a, b, |a, b| a & b)
            }

            #[inline(always)]
            fn or(self, a: Self::Words, b: Self::Words) -> Self::Words {
                both(a, b, |a, b| a | b)
            }

            #[inline(always)]
            fn choose(self, mask: Self::Words, yes: Self::Words, no: Self::Words) -> Self::Words {
                both(
                    both(mask, yes, |mask, yes| mask & yes),
                    both(mask, no, |mask, no| !mask & no),
                    |yes, no| yes | no,
                )
            }

            #[inline(always)]
            fn signs(self, words: Self::Words) -> u32 {
                let mut signs = 0;
                for (lane, word) in words.iter().enumerate() {
                    signs |= u32::from(*word < 0) << lane;
                }
                signs
            }

            #[inline(always)]
            fn product(self, a: Self::Words, b: Self::Words) -> Self::Products {
                both(a, b, |a, b| i64::from(a).wrapping_mul(b.into()))
            }

            #[inline(always)]
            fn sum(self, a: Self::Products, b: Self::Products) -> Self::Products {
                both(a, b, i64::plus)
            }

            #[inline(always)]
            fn lower(self, products: Self::Products) -> Self::Words {
                map(products, |product| product as i32)
            }

            #[inline(always)]
            fn total(self, products: Self::Products) -> i64 {
                products.into_iter().fold(0, i64::plus)
            }

            #[inline(always)]
            fn fraction(self, products: Self::Products) -> Self::Products {
                map(products, |product| product & 0xFFFF_FFFF)
            }

            #[inline(always)]
            fn upper(self, products: Self::Products) -> Self::Words {
                map(products, |product| (product >> 32) as i32)
            }

            #[inline(always)]
            fn rounded(self, products: Self::Products) -> Self::Words {
                map(products, high)
            }

            #[inline(always)]
            fn floats(self, words: Self::Words) -> Self::Floats {
                map(words, |word| word as f32)
            }

            #[inline(always)]
            fn all_floats(self, number: f32) -> Self::Floats {
                [number; $lanes]
            }

            #[inline(always)]
            fn bits(self, numbers: Self::Floats) -> Self::Words {
                map(numbers, |number| number.to_bits().cast_signed())
            }

            #[inline(always)]
            fn add_floats(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                both(a, b, |a, b| a + b)
            }

            #[inline(always)]
            fn subtract_floats(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                both(a, b, |a, b| a - b)
            }

            #[inline(always)]
            fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                both(a, b, |a, b| a * b)
            }

            #[inline(always)]
            fn divide(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                both(a, b, |a, b| a / b)
            }

            #[inline(always)]
            fn larger_float(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                both(a, b, |a, b| if a > b { a } else { b })
            }

            #[inline(always)]
            fn smaller_float(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                both(a, b, |a, b| if a < b { a } else { b })
            }
        }
    };
}

by_arrays!(Arrays, 8);
by_arrays!(Single, 1);
