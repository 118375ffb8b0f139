//! The `eventprop` command.
fn main() {}
