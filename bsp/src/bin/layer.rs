//! A layer of neurons, or a part of one: [`eventprop_core::program::layer`] on a PE.
#![cfg_attr(target_os = "none", no_std, no_main)]

bsp::image!(bsp::firmware::run::<eventprop_core::program::layer::Layer>());
