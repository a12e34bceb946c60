//! What can be measured alone. `cargo xtask bench` reads the same file, to know a wrong word before it builds for minutes.

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The gate beside the bare upstream and the proxy, over HTTP
    Http,
    /// What the audit log and telemetry cost
    Cost,
    /// The gate beside the bare upstream, over stdin and stdout
    Stdio,
}
