//! The binary `portcullis`. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

/// Fewer pauses under many threads than the system's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main()
}
