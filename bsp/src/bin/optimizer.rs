//! Updates the weights: [`eventprop_core::program::optimizer`] on a PE.
#![cfg_attr(target_os = "none", no_std, no_main)]

bsp::image!(bsp::firmware::run::<
    eventprop_core::program::optimizer::Optimizer,
>());
