//! The library behind the `eventprop` command.

pub mod backend;
pub mod cli;
pub mod dataset;
pub mod error;
pub mod experiment;
pub mod firmware;
pub mod link;
pub mod mapping;
mod npy;
pub mod profile;
pub mod reference;
pub mod report;
pub mod time;
pub mod training;
pub mod vector;
pub mod verification;
