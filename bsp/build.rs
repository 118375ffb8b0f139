//! Gives the linker the memory map, made from `src/layout.rs`, when the crate is built for a PE.

use std::path::PathBuf;
use std::{env, fs};

#[path = "src/layout.rs"]
#[allow(dead_code)]
mod layout;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/layout.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let (code, statics) = (layout::CODE, layout::STATICS);
    // Constants are data: they go where data is, which leaves the memory for code to code.
    let memory = format!(
        "MEMORY\n{{\n    FLASH : ORIGIN = {:#x}, LENGTH = {:#x}\n    RAM : ORIGIN = {:#x}, LENGTH = {:#x}\n}}\n\
         _stack_start = {:#x};\n_stack_end = {:#x};\n_heap_end = ORIGIN(RAM) + LENGTH(RAM);\n\
         SECTIONS\n{{\n    .constants : ALIGN(4) {{ *(.rodata .rodata.*); . = ALIGN(4); }} > RAM\n}}\n\
         INSERT BEFORE .data;\n",
        code.start,
        code.end - code.start,
        statics.start,
        statics.end - statics.start,
        layout::STACK.end,
        layout::STACK.start + layout::STACK_GUARD_BYTES,
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("memory.x"), memory).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    for kind in ["bins", "examples"] {
        println!("cargo:rustc-link-arg-{kind}=-Tlink.x");
        // The loader writes segments at their own addresses, which the sections' need not follow.
        println!("cargo:rustc-link-arg-{kind}=--nmagic");
    }
}
