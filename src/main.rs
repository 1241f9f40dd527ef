//! The `pgwicket` command.

fn main() {}
