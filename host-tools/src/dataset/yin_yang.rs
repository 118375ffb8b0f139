//! The Yin-Yang set (Kriener, Göltz, Petrovici 2021): points of a disc, in the three parts of the
//! Yin-Yang symbol.
//!
//! The published generator draws from NumPy's legacy `RandomState`; this one makes the same numbers
//! bit for bit. A sample is `(x, y, 1 - x, 1 - y)`.

use rand_mt::Mt;

use super::Dataset;

/// Radius of the symbol's dots.
const DOT: f64 = 0.1;
/// Radius of the symbol.
const DISC: f64 = 0.5;

/// Names of the features.
pub const FEATURES: [&str; 4] = ["x", "y", "x_flipped", "y_flipped"];
/// Names of the classes.
pub const CLASSES: [&str; 3] = ["yin", "yang", "dot"];

/// Draws `size` samples. The seeds 42, 41 and 40 with sizes 5000, 1000 and 1000 make the canonical
/// training, validation and test sets.
pub fn generate(seed: u32, size: usize) -> Dataset {
    let mut random = Mt::new(seed);
    let mut features = Vec::with_capacity(4 * size);
    let mut labels = Vec::with_capacity(size);
    for _ in 0..size {
        let goal = below_three(&mut random);
        let (x, y) = loop {
            let x = unit(&mut random);
            let y = unit(&mut random);
            if class(x, y) == Some(goal) {
                break (x, y);
            }
        };
        features.extend([x, y, 1.0 - x, 1.0 - y]);
        labels.push(goal);
    }
    Dataset {
        features,
        width: 4,
        labels,
        classes: 3,
        names: FEATURES.map(String::from).to_vec(),
    }
}

/// Class of a point: 0 yin, 1 yang, 2 dot; `None` outside the symbol.
pub fn class(x: f64, y: f64) -> Option<u8> {
    if distance(x, y, 0.5) > DISC {
        return None;
    }
    let right = distance(x, y, 0.75);
    let left = distance(x, y, 0.25);
    // The comparisons are the published ones, down to which side a border belongs to.
    Some(if right < DOT || left < DOT {
        2
    } else {
        let yang =
            right <= DOT || (DOT < left && left <= 0.5 * DISC) || (y > 0.5 && right > 0.5 * DISC);
        u8::from(yang)
    })
}

/// Distance from a point on the horizontal axis.
fn distance(x: f64, y: f64, centre: f64) -> f64 {
    let (dx, dy) = (x - centre, y - 0.5);
    (dx * dx + dy * dy).sqrt()
}

/// NumPy's `randint(3)`.
fn below_three(random: &mut Mt) -> u8 {
    loop {
        let value = random.next_u32() & 3;
        if value < 3 {
            return value as u8;
        }
    }
}

/// NumPy's `rand()`: a double in `[0, 1)` from two draws.
fn unit(random: &mut Mt) -> f64 {
    let high = f64::from(random.next_u32() >> 5);
    let low = f64::from(random.next_u32() >> 6);
    (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// Seed, size, samples per class, first sample, sum of all x and y, SHA-256 of the CSV file.
    type Canonical = (u32, usize, [usize; 3], (f64, f64, u8), f64, &'static str);

    const CANONICAL: [Canonical; 3] = [
        (
            42,
            5000,
            [1681, 1702, 1617],
            (0.6803075385877797, 0.450499251969543, 2),
            5034.089318317108,
            "2dc23c79a987db68092f35eb6a015536921b376e83c04abfcc2df047183969d5",
        ),
        (
            41,
            1000,
            [316, 336, 348],
            (0.6805727261759029, 0.3209733938933629, 0),
            990.057443152265,
            "4e44cdaffbb5174317695bc543c04811603bd386eae7f3383aa58cf0265a5c08",
        ),
        (
            40,
            1000,
            [350, 316, 334],
            (0.23409664559563403, 0.4017249751828972, 2),
            987.037225026263,
            "d240f103ea557133323b2ebf4af3f130bfb7995746a996a13ba3cdf824a882ea",
        ),
    ];

    #[test]
    fn the_canonical_sets_are_made_bit_for_bit() {
        for (seed, size, per_class, first, sum, sha256) in CANONICAL {
            let set = generate(seed, size);
            let mut counts = [0; 3];
            for &label in &set.labels {
                counts[usize::from(label)] += 1;
            }
            assert_eq!(counts, per_class);
            assert_eq!((set.features[0], set.features[1], set.labels[0]), first);
            let total: f64 = set.features.chunks(4).map(|s| s[0] + s[1]).sum();
            assert!((total - sum).abs() < 1e-8, "{total}");
            let digest = Sha256::digest(super::super::csv::to_bytes(&set));
            assert_eq!(crate::report::hex(&digest), sha256);
        }
    }
}
