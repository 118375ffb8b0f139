//! Trains a small network without packets, and prints hashes of what came out. Uses no register of the
//! chip, so that it runs on any Cortex-M4F with memory from address 0 on.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware::training::train_all;
use firmware::{exit, println};

#[entry]
fn main() -> ! {
    for digest in train_all() {
        println!("{digest:x?}");
    }
    exit(0)
}
