//! Every file under `cases/` is a test of its own, named like the file.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::case::main()
}
