//! The loss: [`eventprop_core::program::loss`] on a PE.
#![cfg_attr(target_os = "none", no_std, no_main)]

bsp::image!(bsp::firmware::run::<eventprop_core::program::loss::Loss>());
