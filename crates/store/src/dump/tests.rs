//! From each kind of database into each kind: the same rows, the same log, and a database that goes on.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::audit::tests::row;
use crate::trial::Home;
use crate::{AuditFilter, NoteDraft};

const DAY: Duration = Duration::from_secs(86_400);

async fn fill(store: &Store) {
    for nth in 0..300 {
        let place = store.reserve_audit(DAY).await.unwrap();
        place.write(&row(&nth.to_string()));
    }
    store.flush().await.unwrap();
    let note = |title: &str| NoteDraft {
        title: title.to_owned(),
        text: "it's\n\"quoted\" \u{1f512}".to_owned(),
        tags: vec!["a tag".to_owned()],
    };
    for title in ["one", "two"] {
        let at = UNIX_EPOCH + DAY;
        store.put_note("alice", note(title), at).await.unwrap();
    }
    let checkpoint = store.put_audit_checkpoint(300, "a note".to_owned());
    checkpoint.await.unwrap();
}

fn dumped(store: &Store) -> Vec<u8> {
    let mut dump = Vec::new();
    store.dump(&mut dump).unwrap();
    dump
}

/// Without the last line's count, which the order of the tables does not change.
fn lines(dump: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = str::from_utf8(dump)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_one_database_held_another_holds_of_whichever_kind() {
    for (source, from) in Home::both().enumerate() {
        let store = from.open();
        fill(&store).await;
        let dump = dumped(&store);
        let contents = inspect(&mut &*dump).unwrap();
        let notes = contents.tables.iter().find(|(name, _)| name == "notes");
        assert_eq!(notes.map(|(_, rows)| *rows), Some(2));
        for (target, into) in Home::both().enumerate() {
            let which = format!("{source} to {target}");
            let restored = Store::restore(&into.location(), &mut &*dump).unwrap();
            assert_eq!(restored, contents, "{which}");
            let other = into.open();
            let (there, here) = (lines(&dumped(&other)), lines(&dump));
            let differs = there.iter().find(|line| !here.contains(line));
            assert_eq!((there.len(), differs), (here.len(), None), "{which}");
            assert_eq!(other.node_key(), store.node_key(), "{which}");
            assert_eq!(
                other.audit_log().unwrap(),
                store.audit_log().unwrap(),
                "{which}"
            );
            // It goes on where the other was.
            let place = other.reserve_audit(DAY).await.unwrap();
            place.write(&row("next"));
            other.flush().await.unwrap();
            let draft = NoteDraft {
                title: "three".to_owned(),
                text: String::new(),
                tags: Vec::new(),
            };
            other.put_note("alice", draft, UNIX_EPOCH).await.unwrap();
            let last = other.audit_tail(1, None, &AuditFilter::default()).unwrap();
            assert_eq!(last.last().map(|last| last.seq), Some(301), "{which}");
            assert_eq!(other.list_notes("alice", 9).unwrap().len(), 3, "{which}");
            let found = other.search_notes("alice", "quoted", 9).unwrap();
            assert_eq!(found.len(), 2, "{which}");
        }
    }
}

#[tokio::test]
async fn a_database_with_something_in_it_is_left_alone() {
    for home in Home::both() {
        let store = home.open();
        fill(&store).await;
        let dump = dumped(&store);
        let refused = Store::restore(&home.location(), &mut &*dump).unwrap_err();
        assert!(
            matches!(
                refused,
                DumpError::Occupied {
                    table: "audit_segments"
                }
            ),
            "{refused}"
        );
        assert!(lines(&dumped(&store)) == lines(&dump), "it was changed");
    }
}

#[tokio::test]
async fn a_dump_that_was_cut_or_changed_leaves_nothing_behind() {
    for (from, into) in Home::both().zip(Home::both()) {
        let store = from.open();
        fill(&store).await;
        let dump = String::from_utf8(dumped(&store)).unwrap();
        let kept: Vec<&str> = dump.lines().collect();
        let mut short = kept.clone();
        short.remove(20);
        let damaged = [
            kept[..kept.len() - 1].join("\n"),
            short.join("\n"),
            dump.replacen("\"principal\"", "\"principa1\"", 1),
            dump.replacen("{\"b\":", "{\"c\":", 1),
            dump.replacen("portcullis dump 1", "portcullis dump 2", 1),
            String::new(),
        ];
        for text in damaged {
            let refused = Store::restore(&into.location(), &mut text.as_bytes());
            let refused = refused.unwrap_err();
            assert!(matches!(refused, DumpError::Damaged { .. }), "{refused}");
        }
        let newer = dump.replacen("\"schema\":", "\"schema\":9", 1);
        let refused = Store::restore(&into.location(), &mut newer.as_bytes()).unwrap_err();
        assert!(
            matches!(refused, DumpError::Store(Error::Newer { .. })),
            "{refused}"
        );
        assert!(
            into.open()
                .audit_tail(1, None, &AuditFilter::default())
                .unwrap()
                .is_empty()
        );
        // And the whole one still finds its place.
        Store::restore(&into.location(), &mut dump.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn a_dump_is_of_one_moment() {
    for home in Home::both() {
        let store = home.open();
        fill(&store).await;
        let mut dump = Vec::new();
        let mut slow = Slow(&mut dump, || {
            // Another row gets there while the first lines are written.
            let other = home.open();
            let write = other.put_audit_checkpoint(299, "later".to_owned());
            wait(write);
        });
        store.dump(&mut slow).unwrap();
        let text = String::from_utf8(dump).unwrap();
        assert!(text.contains("a note") && !text.contains("later"));
        let later = store.audit_checkpoints(0, 300).unwrap();
        assert_eq!(later.len(), 2);
    }
}

/// Does something once, after the first bytes of a table's rows.
struct Slow<'a, F>(&'a mut Vec<u8>, F);

impl<F: Fn()> Write for Slow<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let was_small = self.0.len() < 2_000;
        self.0.extend_from_slice(bytes);
        if was_small && self.0.len() >= 2_000 {
            (self.1)();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits on a thread of its own, as the writer of bytes cannot.
fn wait(change: impl Future<Output = Result<(), Error>> + Send) {
    std::thread::scope(|scope| {
        let waited = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(change)
        });
        waited.join().unwrap().unwrap();
    });
}

#[tokio::test]
async fn every_table_is_dumped_or_left_out_on_purpose() {
    const LEFT_OUT: [&str; 5] = [
        "migrations",
        "changes",
        "secrets_version",
        "writers",
        "sqlite_sequence",
    ];
    for home in Home::both() {
        let store = home.open();
        let tables: Vec<String> = store
            .read(|connection| {
                connection.all(
                    connection.either(
                        "SELECT name FROM sqlite_master WHERE type = 'table'",
                        "SELECT table_name::text FROM information_schema.tables
                            WHERE table_schema = current_schema()",
                    ),
                    &[],
                    |row| row.get(0),
                )
            })
            .unwrap();
        for table in &tables {
            let name = table.as_str();
            // What is searched in follows from the notes.
            if name.starts_with("notes_index") {
                continue;
            }
            assert!(
                TABLES.contains(&name) != LEFT_OUT.contains(&name),
                "{name} is not in the list"
            );
        }
        for table in TABLES {
            assert!(tables.iter().any(|name| name == table), "{table}");
        }
    }
}
