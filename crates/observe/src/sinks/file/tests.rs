//! Nothing is lost or torn by rotation, by somebody else's rotation, or by a crash in the middle of a line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

use super::super::Format;
use super::super::format::tests::{record, source};
use super::*;

fn settings(folder: &TempDir) -> FileSettings {
    FileSettings {
        path: folder.path().join("logs/audit.jsonl"),
        format: Format::Native,
        size_max: 3_000,
        age_max: None,
        keep: 3,
    }
}

fn batch(numbers: std::ops::Range<i64>) -> Vec<Recorded> {
    numbers.map(record).collect()
}

/// The numbers in a file; each line must be whole.
fn numbers(path: &Path) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["seq"].as_i64().unwrap()
        })
        .collect()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

#[test]
fn rotation_by_size_loses_nothing_until_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut file = JsonFile::new(settings.clone());
    for from in 0..9 {
        file.append(&batch(from * 2..from * 2 + 2), &source(), now())
            .unwrap();
    }
    let mut found = Vec::new();
    for number in (1..=3).rev() {
        let aside = settings.path.with_extension(format!("jsonl.{number}"));
        found.extend(numbers(&aside));
        assert!(fs::metadata(&aside).unwrap().len() <= settings.size_max);
    }
    found.extend(numbers(&settings.path));
    assert!(!settings.path.with_extension("jsonl.4").exists());
    // What is there has no hole, and ends with the last.
    let first = *found.first().unwrap();
    assert_eq!(found, (first..18).collect::<Vec<_>>());
    let mode = fs::metadata(&settings.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_old_file_is_put_aside_and_an_empty_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    settings.size_max = u64::MAX;
    settings.age_max = Some(Duration::from_secs(60));
    let mut file = JsonFile::new(settings.clone());
    file.append(&batch(0..1), &source(), now()).unwrap();
    let begun = fs::metadata(&settings.path).unwrap().modified().unwrap();
    file.append(&batch(1..2), &source(), begun).unwrap();
    assert_eq!(numbers(&settings.path), [0, 1]);
    let later = begun + Duration::from_secs(120);
    file.append(&batch(2..3), &source(), later).unwrap();
    assert_eq!(numbers(&settings.path), [2]);
    assert_eq!(numbers(&settings.path.with_extension("jsonl.1")), [0, 1]);
}

#[test]
fn a_file_that_somebody_moved_away_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut file = JsonFile::new(settings.clone());
    file.append(&batch(0..1), &source(), now()).unwrap();
    let moved = folder.path().join("logs/moved");
    rename(&settings.path, &moved).unwrap();
    // As logrotate leaves one in its place.
    fs::write(&settings.path, "").unwrap();
    file.append(&batch(1..2), &source(), now()).unwrap();
    assert_eq!(
        (numbers(&moved), numbers(&settings.path)),
        (vec![0], vec![1])
    );
}

#[test]
fn what_a_crash_left_of_a_line_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut file = JsonFile::new(settings.clone());
    file.append(&batch(0..2), &source(), now()).unwrap();
    let whole = fs::read(&settings.path).unwrap();
    for torn in [1, whole.len() / 2 - 3, whole.len() - 1] {
        fs::write(&settings.path, &whole[..torn]).unwrap();
        let mut file = JsonFile::new(settings.clone());
        file.append(&batch(5..6), &source(), now()).unwrap();
        let kept = whole[..torn].iter().filter(|byte| **byte == b'\n').count();
        let kept = i64::try_from(kept).unwrap();
        assert_eq!(
            numbers(&settings.path),
            (0..kept).chain([5]).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_batch_that_cannot_be_written_is_not_there_at_all() {
    // A device that is always full takes the place of the disk.
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    settings.path = folder.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &settings.path).unwrap();
    let mut file = JsonFile::new(settings.clone());
    let failed = file.append(&batch(0..2), &source(), now()).unwrap_err();
    assert!(matches!(failed, SinkError::File { .. }), "{failed}");
    // Once there is room, the same batch is there once.
    remove_file(&settings.path).unwrap();
    file.append(&batch(0..2), &source(), now()).unwrap();
    assert_eq!(numbers(&settings.path), [0, 1]);
}
