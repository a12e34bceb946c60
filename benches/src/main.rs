//! Measures the gate beside the bare upstream and a blind byte-forwarding proxy, in one run.
//!
//! One binary plays every part, each in a process of its own: [`upstream`], [`proxy`], and [`run`], which starts
//! them and the gate and loads each in turn. Started by `cargo xtask bench`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring tool reads the clock, opens loopback sockets, and prints a table"
)]

mod child;
mod client;
mod cost;
mod load;
mod proxy;
mod report;
mod rpc;
mod run;
mod stdio;
mod subject;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "bench",
    about = "Measures the gate beside the bare upstream and a blind proxy"
)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// A light MCP upstream: one tool, both eras; prints the address it listens on
    Upstream {
        /// Serve one client over stdin and stdout instead
        #[arg(long)]
        stdio: bool,
    },
    /// Forwards bytes to an address, blindly; prints the address it listens on
    Proxy {
        /// Where the bytes go
        to: SocketAddr,
    },
    /// Starts everything, measures, prints the table
    Run {
        /// The binary `portcullis`; without it only the upstream and the proxy are measured
        #[arg(long)]
        gate: Option<PathBuf>,
        /// Where the figures go as JSON
        #[arg(long)]
        out: Option<PathBuf>,
        /// Fewer and shorter rounds
        #[arg(long)]
        quick: bool,
        /// One thing alone
        #[arg(long)]
        only: Option<subject::Subject>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().part {
        Part::Upstream { stdio: true } => upstream::serve_stdio(),
        Part::Upstream { stdio: false } => upstream::serve(),
        Part::Proxy { to } => proxy::serve(to),
        Part::Run {
            gate,
            out,
            quick,
            only,
        } => run::run(gate.as_deref(), out.as_deref(), quick, only),
    }
}

/// One thread for everything: what it costs is then easy to read off, and it wakes nobody.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
