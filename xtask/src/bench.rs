//! `bench`: builds what is measured and what measures, and runs it.

use anyhow::Result;

use crate::steps::{Tree, run, step};

/// The measuring itself is the package `bench`; its figures go to `target/bench/latest.json`.
pub(crate) fn bench(tree: &Tree, quick: bool, only: Option<&str>) -> Result<()> {
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
        if let Some(only) = only {
            bench.args(["--only", only]);
        }
        run(&mut bench)
    })
}
