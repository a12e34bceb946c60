//! `bench`: builds what is measured and what measures, and runs it.

use anyhow::Result;
use clap::ValueEnum as _;

use crate::steps::{Tree, run, step};

#[path = "../../benches/src/subject.rs"]
mod subject;

pub(crate) use subject::Subject;

/// The measuring itself is the package `bench`; its figures go to `target/bench/latest.json`.
pub(crate) fn bench(tree: &Tree, quick: bool, only: Option<Subject>) -> Result<()> {
    step("build", || {
        run(tree.cargo().args([
            "build",
            "--release",
            "--locked",
            "--package",
            "bench",
            "--package",
            "server",
        ]))
    })?;
    step("bench", || {
        let release = tree.target.join("release");
        let mut bench = tree.command(release.join("bench"));
        bench
            .arg("run")
            .arg("--gate")
            .arg(release.join("portcullis"));
        bench
            .arg("--out")
            .arg(tree.target.join("bench/latest.json"));
        if quick {
            bench.arg("--quick");
        }
        if let Some(only) = only.and_then(|only| only.to_possible_value()) {
            bench.args(["--only", only.get_name()]);
        }
        run(&mut bench)
    })
}
