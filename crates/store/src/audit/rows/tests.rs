//! A log of an older database is the same one in segments.

use std::fs;
use std::thread;
use std::time::Duration;

use super::super::tests::{check, commit, row};
use super::super::{AuditFilter, ERASED, Erasure, Recorded};
use super::*;
use crate::migrate::{latest, migrate_to, version};
use crate::store::Place;
use crate::trial::Home;
use crate::{Error, Store};

/// The last schema that had them.
const BEFORE: u32 = 17;

/// Puts the rows of one log into a database as it was: what is wrong with none of them is known of the other.
fn put(connection: &Connection, store: &Store, from: i64) {
    let found = |seq| {
        let after = store.audit_tail(1, Some(seq - 1), &AuditFilter::default());
        after.unwrap().remove(0)
    };
    let insert = "INSERT INTO audit (at_us, call_id, principal, credential, client, transport, revision, method, upstream,
            entry, arguments_digest, decision, rule, outcome, code, reason, duration_us, bytes_in, bytes_out, seq,
            salt, commitment, chain, subject)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";
    for entry in store.audit_entries(0, 10_000).unwrap() {
        let Recorded { seq, row } = found(i64::try_from(entry.place).unwrap() + 1);
        let salt = entry.personal.as_ref().map(|(salt, _)| salt.clone());
        let hash = entry.record.split("\"personal\":\"").nth(1).unwrap();
        let pairs = hash.as_bytes().chunks(2).take(32);
        let hash: Vec<u8> = pairs
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let commitment = salt.is_none().then_some(hash);
        connection
            .execute(
                insert,
                values![
                    row.at_us,
                    row.call_id,
                    row.principal,
                    row.credential,
                    row.client,
                    row.transport,
                    row.revision,
                    row.method,
                    row.upstream,
                    row.entry,
                    row.arguments_digest,
                    row.decision,
                    row.rule,
                    row.outcome.as_str(),
                    row.code,
                    row.reason,
                    i64::try_from(row.duration_us).unwrap(),
                    i64::try_from(row.bytes_in).unwrap(),
                    i64::try_from(row.bytes_out).unwrap(),
                    from + seq,
                    salt,
                    commitment,
                    entry.chain,
                    row.subject,
                ],
            )
            .unwrap();
    }
}

/// A database with that log as an earlier version would have it.
fn earlier(home: &Home, store: &Store) -> Connection {
    let place = Place::of(&home.location()).unwrap();
    let connection = place.open(db::Role::Errand).unwrap();
    migrate_to(&connection, Some(BEFORE)).unwrap();
    put(&connection, store, 0);
    let log = store.audit_log().unwrap();
    let sql = "UPDATE audit_head SET size = ?1, chain = ?2, roots = ?3";
    let size = i64::try_from(log.tree.size()).unwrap();
    connection
        .execute(sql, values![size, log.chain, log.tree.roots().concat()])
        .unwrap();
    connection
}

#[tokio::test]
async fn all_that_was_in_rows_is_in_segments() {
    for (into, from) in Home::both().zip(Home::both()) {
        let store = from.open();
        for nth in 0..1_500 {
            let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
            slot.write(&AuditRow {
                principal: if nth == 700 { "carol" } else { "alice" }.to_owned(),
                subject: (nth == 300).then(|| "carol".to_owned()),
                ..row(&nth.to_string())
            });
        }
        store.flush().await.unwrap();
        store
            .erase_audit("carol", i64::MAX, i64::MAX)
            .await
            .unwrap();

        let connection = earlier(&into, &store);
        let log = store.audit_log().unwrap();
        store
            .read(|connection| {
                connection.all("SELECT level, place, hash FROM audit_nodes", &[], |row| {
                    Ok((
                        row.get::<i64>(0)?,
                        row.get::<i64>(1)?,
                        row.get::<Vec<u8>>(2)?,
                    ))
                })
            })
            .unwrap()
            .into_iter()
            .for_each(|(level, place, hash)| {
                let sql = "INSERT INTO audit_nodes (level, place, hash) VALUES (?1, ?2, ?3)";
                connection
                    .execute(sql, values![level, place, hash])
                    .unwrap();
            });

        drop(connection);
        let moved = into.open();
        assert_eq!(moved.read(version).unwrap(), latest());
        assert!(
            moved
                .read(|connection| connection.exists("SELECT 1 FROM audit", &[]))
                .is_err()
        );
        assert_eq!(
            moved.audit_entries(0, 9_999).unwrap(),
            store.audit_entries(0, 9_999).unwrap()
        );
        assert_eq!(moved.audit_log().unwrap(), log);
        for filter in [
            AuditFilter::default(),
            AuditFilter {
                principal: Some(ERASED.to_owned()),
                ..AuditFilter::default()
            },
        ] {
            assert_eq!(
                moved.audit_tail(2_000, None, &filter).unwrap(),
                store.audit_tail(2_000, None, &filter).unwrap()
            );
        }
        let path = |store: &Store| store.audit_path(700, 1_500).unwrap();
        assert_eq!(path(&moved), path(&store));
        commit(&moved, row("next")).await;
        assert_eq!(moved.audit_log().unwrap().tree.size(), 1_501);
    }
}

#[tokio::test]
async fn those_from_before_the_chain_stay_in_front_of_it() {
    for home in Home::both() {
        let place = Place::of(&home.location()).unwrap();
        let connection = place.open(db::Role::Errand).unwrap();
        migrate_to(&connection, Some(BEFORE)).unwrap();
        // With a gap, as an older version could leave one.
        for seq in [3_i64, 4, 9] {
            let sql = "INSERT INTO audit (seq, at_us, call_id, principal, credential, client, transport, revision, method,
                    decision, outcome, duration_us, bytes_in, bytes_out)
                VALUES (?1, ?1, 'c', 'alice', '', '', '', '', 'm', '', 'ok', 0, 0, 0)";
            connection.execute(sql, values![seq]).unwrap();
        }
        let sql = "UPDATE audit_head SET base = 9";
        connection.execute(sql, &[]).unwrap();
        drop(connection);
        let store = home.open();
        for nth in 0..3 {
            commit(&store, row(&nth.to_string())).await;
        }
        let all = store.audit_tail(99, None, &AuditFilter::default()).unwrap();
        let all: Vec<i64> = all.iter().map(|one| one.seq).collect();
        assert_eq!(all, [3, 4, 9, 10, 11, 12]);
        assert_eq!(check(&store).0, 3);
        let done = store.erase_audit("alice", 10, i64::MAX).await.unwrap();
        assert_eq!(done, Erasure::Done(3));
        assert_eq!(check(&store).0, 3);
    }
}

#[tokio::test]
async fn nothing_of_who_is_erased_stays_where_the_rows_were() {
    const NAME: &str = "carol-whom-nobody-else-is-called";
    let (into, from) = Home::both().zip(Home::both()).next().unwrap();
    let store = from.open();
    for nth in 0..600 {
        let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
        slot.write(&AuditRow {
            principal: NAME.to_owned(),
            ..row(&nth.to_string())
        });
    }
    store.flush().await.unwrap();
    drop(earlier(&into, &store));

    let moved = into.open();
    let done = moved.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap();
    assert_eq!(done, Erasure::Done(600));
    moved.close().await;
    let Home::File(folder) = &into else {
        unreachable!("the first is a file")
    };
    let file = fs::read(folder.path().join("gate.db")).unwrap();
    let has = |text: &str| file.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has(ERASED) && !has(NAME));
}

#[tokio::test]
async fn who_could_not_go_on_is_not_left_behind() {
    for home in Home::both() {
        let place = Place::of(&home.location()).unwrap();
        let earlier = place.open(db::Role::Writer(7)).unwrap();
        migrate_to(&earlier, Some(BEFORE)).unwrap();
        let refused = Store::open(home.location()).unwrap_err();
        assert!(matches!(refused, Error::Shared), "{refused}");
        assert_eq!(version(&earlier).unwrap(), BEFORE);
        assert!(!earlier.exists("SELECT 1 FROM audit", &[]).unwrap());
        drop(earlier);
        // Those who start together are not in each other's way.
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let location = home.location();
                thread::spawn(move || Store::open(location))
            })
            .collect();
        let open: Vec<Store> = starts
            .into_iter()
            .map(|start| start.join().unwrap().unwrap())
            .collect();
        for store in &open {
            commit(store, row("one")).await;
        }
        assert_eq!(check(&open[0]).0, 4);
    }
}
