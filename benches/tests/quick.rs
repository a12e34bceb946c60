//! The bench itself runs, on a small input: a figure nobody can take any more is noticed at once.

use std::process::Command;

#[test]
fn a_quick_run_has_a_figure_for_every_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("latest.json");
    let run = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["run", "--quick", "--out"])
        .arg(&out)
        .output();
    let run = run.expect("bench");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let figures: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out).expect("figures")).expect("JSON");
    let rows = figures["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2 * 2 * 2, "era, sessions, way");
    for row in rows {
        assert!(
            row["calls_per_second"].as_f64() > Some(0.0) && row["p50_us"].as_f64() > Some(0.0),
            "{row}"
        );
    }
    assert!(
        figures["stdio_p50_us"]["bare"].as_f64() > Some(0.0),
        "{figures}"
    );
}
