//! Floating point and integer arithmetic, printed.
#![no_std]
#![no_main]

use core::hint::black_box;
use cortex_m_rt::entry;
use firmware::{exit, println};

#[entry]
fn main() -> ! {
    let mut sum = 0.0_f32;
    for term in 1..=1000_u32 {
        sum += 1.0 / black_box(term) as f32;
    }
    println!("sum {:#010x}", sum.to_bits());
    println!("root {:#010x}", black_box(2.0_f32).to_bits());
    let product = i64::from(black_box(-123_456_789_i32)) * i64::from(black_box(987_654_321_i32));
    println!("product {product}");
    exit(if product == -121_932_631_112_635_269 {
        7
    } else {
        1
    })
}
