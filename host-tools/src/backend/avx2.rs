//! The vector instructions of x86-64 processors with AVX2.

use std::arch::x86_64::{__m256, __m256i};

use eventprop_core::numeric;
use eventprop_core::vector::Vectors;
use pulp::x86::V3;

/// Vectors of eight words in the registers of AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(pub V3);

/// 64-bit sums for the lanes with an even number, and for those with an odd one.
#[derive(Clone, Copy, Debug)]
pub struct Products {
    even: __m256i,
    odd: __m256i,
}

impl Avx2 {
    /// The lanes with an odd number, each in the place of the one before it.
    #[inline(always)]
    fn odd(self, words: __m256i) -> __m256i {
        self.0.avx2._mm256_shuffle_epi32::<0b1111_0101>(words)
    }
}

impl Vectors for Avx2 {
    const LANES: usize = 8;

    type Chunk = [i32; 8];
    type Words = __m256i;
    type Products = Products;
    type Floats = __m256;

    #[inline(always)]
    fn chunks(self, words: &[i32]) -> &[[i32; 8]] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(self, words: &mut [i32]) -> &mut [[i32; 8]] {
        words.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(self, from: &[i32]) -> __m256i {
        pulp::cast(*from.first_chunk::<8>().expect("a whole vector"))
    }

    #[inline(always)]
    fn store(self, words: __m256i, to: &mut [i32]) {
        *to.first_chunk_mut::<8>().expect("a whole vector") = pulp::cast(words);
    }

    #[inline(always)]
    fn all(self, word: i32) -> __m256i {
        self.0.avx._mm256_set1_epi32(word)
    }

    #[inline(always)]
    fn lanes(self) -> __m256i {
        pulp::cast([0, 1, 2, 3, 4, 5, 6, 7])
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.avx2._mm256_add_epi32(a, b)
    }

    #[inline(always)]
    fn subtract(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.avx2._mm256_sub_epi32(a, b)
    }

    #[inline(always)]
    fn larger(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.avx2._mm256_max_epi32(a, b)
    }

    #[inline(always)]
    fn greater(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.avx2._mm256_cmpgt_epi32(a, b)
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.avx2._mm256_and_si256(a, b)
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.avx2._mm256_or_si256(a, b)
    }

    #[inline(always)]
    fn choose(self, mask: __m256i, yes: __m256i, no: __m256i) -> __m256i {
        self.0.avx2._mm256_blendv_epi8(no, yes, mask)
    }

    #[inline(always)]
    fn signs(self, words: __m256i) -> u32 {
        let avx = self.0.avx;
        avx._mm256_movemask_ps(avx._mm256_castsi256_ps(words))
            .cast_unsigned()
    }

    #[inline(always)]
    fn product(self, a: __m256i, b: __m256i) -> Products {
        let avx2 = self.0.avx2;
        Products {
            even: avx2._mm256_mul_epi32(a, b),
            odd: avx2._mm256_mul_epi32(self.odd(a), self.odd(b)),
        }
    }

    #[inline(always)]
    fn sum(self, a: Products, b: Products) -> Products {
        let avx2 = self.0.avx2;
        Products {
            even: avx2._mm256_add_epi64(a.even, b.even),
            odd: avx2._mm256_add_epi64(a.odd, b.odd),
        }
    }

    #[inline(always)]
    fn lower(self, products: Products) -> __m256i {
        let odd = self.0.avx2._mm256_slli_epi64::<32>(products.odd);
        self.0
            .avx2
            ._mm256_blend_epi32::<0b1010_1010>(products.even, odd)
    }

    #[inline(always)]
    fn total(self, products: Products) -> i64 {
        let sums = self.0.avx2._mm256_add_epi64(products.even, products.odd);
        let [a, b, c, d]: [i64; 4] = pulp::cast(sums);
        a.wrapping_add(b).wrapping_add(c.wrapping_add(d))
    }

    #[inline(always)]
    fn fraction(self, products: Products) -> Products {
        let lower = self.0.avx._mm256_set1_epi64x(0xFFFF_FFFF);
        Products {
            even: self.and(products.even, lower),
            odd: self.and(products.odd, lower),
        }
    }

    #[inline(always)]
    fn upper(self, products: Products) -> __m256i {
        let even = self.odd(products.even);
        self.0
            .avx2
            ._mm256_blend_epi32::<0b1010_1010>(even, products.odd)
    }

    #[inline(always)]
    fn rounded(self, products: Products) -> __m256i {
        let half = self.0.avx._mm256_set1_epi64x(numeric::HALF);
        self.upper(self.sum(
            products,
            Products {
                even: half,
                odd: half,
            },
        ))
    }

    #[inline(always)]
    fn floats(self, words: __m256i) -> __m256 {
        self.0.avx._mm256_cvtepi32_ps(words)
    }

    #[inline(always)]
    fn all_floats(self, number: f32) -> __m256 {
        self.0.avx._mm256_set1_ps(number)
    }

    #[inline(always)]
    fn bits(self, numbers: __m256) -> __m256i {
        self.0.avx._mm256_castps_si256(numbers)
    }

    #[inline(always)]
    fn add_floats(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_add_ps(a, b)
    }

    #[inline(always)]
    fn subtract_floats(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_sub_ps(a, b)
    }

    #[inline(always)]
    fn multiply(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_mul_ps(a, b)
    }

    #[inline(always)]
    fn divide(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_div_ps(a, b)
    }

    #[inline(always)]
    fn larger_float(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_max_ps(a, b)
    }

    #[inline(always)]
    fn smaller_float(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_min_ps(a, b)
    }

    #[inline(always)]
    fn sums_above(self, rows: &[[i32; 4]; 4], factors: [i32; 4], bound: i64) -> u32 {
        let (avx, avx2) = (self.0.avx, self.0.avx2);
        let factors: __m256i = pulp::cast([factors, factors]);
        let [first, second]: [__m256i; 2] = pulp::cast(*rows);
        // Of two rows, the sums of columns 0 and 1, and of 2 and 3.
        let first = self.product(first, factors);
        let first = avx2._mm256_add_epi64(first.even, first.odd);
        let second = self.product(second, factors);
        let second = avx2._mm256_add_epi64(second.even, second.odd);
        // Rows 0, 2, 1, 3.
        let sums = avx2._mm256_add_epi64(
            avx2._mm256_unpacklo_epi64(first, second),
            avx2._mm256_unpackhi_epi64(first, second),
        );
        let sums = avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(sums);
        let above = avx2._mm256_cmpgt_epi64(sums, avx._mm256_set1_epi64x(bound));
        avx._mm256_movemask_pd(avx._mm256_castsi256_pd(above))
            .cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use eventprop_core::vector::Arrays;
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = [i32; 8]> {
        proptest::array::uniform8(prop_oneof![any::<i32>(), -3..3, Just(i32::MIN)])
    }

    proptest! {
        /// Each instruction does to every lane what is done to the elements of arrays.
        #[test]
        fn every_instruction_agrees_with_arrays(
            a in words(), b in words(), c in words(), pick in 0..4usize, beside in 0..2i64,
        ) {
            let Some(x) = V3::try_new().map(Avx2) else {
                eprintln!("not tested: this processor has no AVX2");
                return Ok(());
            };
            let read = |words| {
                let mut to = [0; 8];
                x.store(words, &mut to);
                to
            };
            let (va, vb, vc) = (x.load(&a), x.load(&b), x.load(&c));
            let y = Arrays;
            prop_assert_eq!(read(va), a);
            prop_assert_eq!(read(x.all(a[0])), y.all(a[0]));
            prop_assert_eq!(read(x.lanes()), y.lanes());
            prop_assert_eq!(read(x.add(va, vb)), y.add(a, b));
            // Differences, and sums of products, fit.
            let small = |words: [i32; 8]| words.map(|word| word >> 2);
            let (sa, sb, sc) = (small(a), small(b), small(c));
            let (vsa, vsb, vsc) = (x.load(&sa), x.load(&sb), x.load(&sc));
            prop_assert_eq!(read(x.subtract(vsa, vsb)), y.subtract(sa, sb));
            prop_assert_eq!(read(x.larger(va, vb)), y.larger(a, b));
            prop_assert_eq!(read(x.greater(va, vb)), y.greater(a, b));
            prop_assert_eq!(read(x.and(va, vb)), y.and(a, b));
            prop_assert_eq!(read(x.or(va, vb)), y.or(a, b));
            let (mask, array_mask) = (x.greater(va, vb), y.greater(a, b));
            prop_assert_eq!(read(x.choose(mask, vb, vc)), y.choose(array_mask, b, c));
            prop_assert_eq!(x.signs(va), y.signs(a));

            prop_assert_eq!(read(x.upper(x.product(va, vb))), y.upper(y.product(a, b)));
            let sum = x.sum(x.product(vsa, vsb), x.product(vsb, vsc));
            let array_sum = y.sum(y.product(sa, sb), y.product(sb, sc));
            prop_assert_eq!(read(x.lower(sum)), y.lower(array_sum));
            prop_assert_eq!(read(x.upper(sum)), y.upper(array_sum));
            prop_assert_eq!(x.total(sum), y.total(array_sum));
            let (fraction, array_fraction) = (x.fraction(sum), y.fraction(array_sum));
            prop_assert_eq!(read(x.lower(fraction)), y.lower(array_fraction));
            prop_assert_eq!(read(x.upper(fraction)), y.upper(array_fraction));
            prop_assert_eq!(read(x.rounded(sum)), y.rounded(array_sum));

            // Which bits a result that is not a number has is left open.
            let bits = |numbers| read(x.bits(numbers)).map(|bits| number(bits.cast_unsigned()));
            let array_bits = |numbers| y.bits(numbers).map(|bits| number(bits.cast_unsigned()));
            let (fa, fb) = (x.floats(va), x.floats(vb));
            let (ya, yb) = (y.floats(a), y.floats(b));
            prop_assert_eq!(bits(fa), array_bits(ya));
            prop_assert_eq!(bits(x.all_floats(0.1)), array_bits(y.all_floats(0.1)));
            prop_assert_eq!(bits(x.add_floats(fa, fb)), array_bits(y.add_floats(ya, yb)));
            prop_assert_eq!(bits(x.subtract_floats(fa, fb)), array_bits(y.subtract_floats(ya, yb)));
            prop_assert_eq!(bits(x.multiply(fa, fb)), array_bits(y.multiply(ya, yb)));
            let (quotient, array_quotient) = (x.divide(fa, fb), y.divide(ya, yb));
            prop_assert_eq!(bits(quotient), array_bits(array_quotient));
            let (larger, array_larger) = (x.larger_float(quotient, fa), y.larger_float(array_quotient, ya));
            prop_assert_eq!(bits(larger), array_bits(array_larger));
            let (smaller, array_smaller) = (x.smaller_float(quotient, fa), y.smaller_float(array_quotient, ya));
            prop_assert_eq!(bits(smaller), array_bits(array_smaller));

            let [w, v, i, u, ..] = c;
            let rows = [[a[0], a[1], a[2], a[3]], [a[4], a[5], a[6], a[7]], [w, v, i, u], [b[0], b[1], b[2], b[3]]];
            let factors = [sb[4], sb[5], sb[6], sb[7]];
            // Beside one of the sums.
            let terms = rows[pick].iter().zip(factors).map(|(&a, b)| i64::from(a) * i64::from(b));
            let bound = terms.fold(-beside, i64::wrapping_add);
            prop_assert_eq!(x.sums_above(&rows, factors, bound), y.sums_above(&rows, factors, bound));
        }
    }

    /// The bits of a number, or nothing.
    fn number(bits: u32) -> Option<u32> {
        (!f32::from_bits(bits).is_nan()).then_some(bits)
    }
}
