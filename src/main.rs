//! The `pgwicket` command.

use std::process::ExitCode;

/// Many small, short-lived buffers over several threads: jemalloc keeps their memory bounded.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pgwicket::cli::run()
}
