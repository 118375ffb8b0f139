//! Injects the spikes of the samples: [`eventprop_core::program::input`] on a PE.
#![cfg_attr(target_os = "none", no_std, no_main)]

bsp::image!(bsp::firmware::run::<eventprop_core::program::input::Input>());
