//! What is said of a file that a sink is to write; the rest is tried against real servers in testkit.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn is_good(file: &Path) -> bool {
    matches!(try_file(file), Said::Good(_))
}

#[test]
fn a_file_whose_folders_are_not_there_yet_is_good_as_the_sink_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    assert!(is_good(&folder.path().join("audit.jsonl")));
    assert!(is_good(&folder.path().join("a/b/audit.jsonl")));
}

#[test]
fn what_is_no_folder_holds_no_file_and_a_folder_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    fs::write(&file, "").unwrap();
    assert!(is_good(&file));
    assert!(!is_good(&file.join("audit.jsonl")));
    assert!(!is_good(folder.path()));
}

#[test]
fn what_cannot_be_written_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).unwrap();
    // For the superuser nothing is closed.
    let is_superuser = nix::unistd::geteuid().is_root();
    assert_eq!(is_good(&closed.join("audit.jsonl")), is_superuser);
    assert_eq!(is_good(&closed.join("a/audit.jsonl")), is_superuser);
}
