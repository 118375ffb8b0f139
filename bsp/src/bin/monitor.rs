//! Answers a host over the serial line: `bsp::firmware::monitor`.
#![cfg_attr(target_os = "none", no_std, no_main)]

bsp::image!(bsp::firmware::monitor());
