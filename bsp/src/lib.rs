//! A board with SpiNNaker2 on it: memory of a PE, what host and firmware write there, start-up.
//!
//! The portable part is shared by both ends, so that no offset exists twice: [`layout`] (where
//! everything is in a PE's SRAM), [`specification`] (what a program is told once), [`command`] (what it
//! is told for each run), [`record`] (what it tells the host), and [`board`] (what boards differ in).
#![cfg_attr(not(test), no_std)]

pub mod board;
pub mod command;
pub mod layout;
pub mod record;
pub mod specification;
