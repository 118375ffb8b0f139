//! Gives the linker `device.x`, which `cortex-m-rt` asks for, if the feature `rt` is on.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=device.x");
    if env::var_os("CARGO_FEATURE_RT").is_some() {
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        fs::copy("device.x", out.join("device.x")).expect("OUT_DIR can be written");
        println!("cargo:rustc-link-search={}", out.display());
    }
}
