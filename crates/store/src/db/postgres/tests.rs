//! A server that is away, silent or shared: what a gate does with it.

use std::time::Duration;

use crate::audit::tests::{check, commit, row};
use crate::db::Failure;
use crate::trial::{Home, Postgres, settings};
use crate::{AuditFilter, AuditRow, Error, Location, Outcome, Store};

fn open(server: &Postgres) -> Store {
    Store::open(Location::Postgres(settings(server))).unwrap()
}

fn rows(store: &Store) -> usize {
    let all = AuditFilter::default();
    store.audit_tail(u32::MAX, None, &all).unwrap().len()
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_away(error: &Error) -> bool {
    matches!(
        error,
        Error::Database(Failure::Away(_) | Failure::Dial { .. } | Failure::Postgres(_))
    )
}

#[tokio::test]
async fn a_server_that_is_gone_is_noticed_and_one_that_is_back_is_used_without_being_told() {
    let mut server = Postgres::start(None).unwrap();
    let store = open(&server);
    commit(&store, row("before")).await;
    assert_eq!(rows(&store), 1);
    server.stop().unwrap();
    // Nobody writes: it is found out all the same.
    until(|| !store.is_writable()).await;
    assert!(is_away(&store.list_keys().unwrap_err()));
    // Asked a thousand times it costs no more than once.
    for _ in 0..1_000 {
        assert!(is_away(&store.list_keys().unwrap_err()));
    }
    let wait = Duration::from_millis(100);
    let slot = store.reserve_audit(wait).await.unwrap();
    let refused = slot.commit(&row("without"), wait).await.unwrap_err();
    assert!(matches!(refused, Error::Unconfirmed(_)), "{refused}");
    server.start_again().unwrap();
    until(|| store.is_writable()).await;
    until(|| store.list_keys().is_ok()).await;
    commit(&store, row("after")).await;
    // What was refused kept its place, as on a disk that was full.
    assert_eq!(rows(&store), 3);
    check(&store);
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_nobody_up_for_long() {
    let server = Postgres::start(None).unwrap();
    let store = open(&server);
    commit(&store, row("before")).await;
    server.freeze().unwrap();
    until(|| !store.is_writable()).await;
    let asked = store.list_keys().unwrap_err();
    assert!(
        matches!(
            asked,
            Error::Database(Failure::Silent { .. } | Failure::Away(_))
        ),
        "{asked}"
    );
    server.thaw().unwrap();
    until(|| store.is_writable()).await;
    commit(&store, row("after")).await;
    until(|| store.list_keys().is_ok()).await;
    assert_eq!(check(&store).0, 2);
}

#[tokio::test]
async fn however_often_connections_break_nothing_is_written_twice_or_lost() {
    let server = Postgres::start(None).unwrap();
    let store = open(&server);
    const ROWS: usize = 400;
    let writing = async {
        for number in 0..ROWS {
            let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
            slot.write(&row(&number.to_string()));
            if number % 7 == 0 {
                tokio::task::yield_now().await;
                store.flush().await.unwrap();
            }
        }
    };
    let breaking = async {
        for _ in 0..20 {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portcullis'";
            server.sql(sql).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    futures_util::future::join(writing, breaking).await;
    store.flush().await.unwrap();
    until(|| store.list_keys().is_ok()).await;
    let all = AuditFilter::default();
    let calls = store.audit_tail(u32::MAX, Some(0), &all).unwrap();
    let calls: Vec<String> = calls.into_iter().map(|one| one.row.call_id).collect();
    let wanted: Vec<String> = (0..ROWS).map(|number| number.to_string()).collect();
    assert_eq!(calls, wanted);
    check(&store);
}

#[tokio::test]
async fn a_batch_whose_commit_nobody_heard_of_is_not_written_again() {
    let server = Postgres::start(None).unwrap();
    let store = open(&server);
    let connection = store.place().open(super::Role::Errand).unwrap();
    let write = |is_again| {
        let mark = super::Mark {
            writer: "tests",
            number: 7,
            is_again,
        };
        connection.transaction_once(&mark, super::Durability::Now, |connection| {
            connection
                .execute(
                    "INSERT INTO quotas VALUES ('a', ?1, 0, 0, 0)",
                    &[super::Value::Number(1)],
                )
                .map(drop)
        })
    };
    write(false).unwrap();
    // The same again would break the table's key: it is not even tried.
    write(true).unwrap();
    assert!(write(false).is_err());
}

#[tokio::test]
async fn a_gate_that_lives_keeps_its_calls_even_after_its_connection_broke() {
    let server = Postgres::start(None).unwrap();
    let (lives, next) = (open(&server), open(&server));
    let begun = AuditRow {
        outcome: Outcome::Pending,
        ..row("under way")
    };
    commit(&lives, begun).await;
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portcullis'")
        .unwrap();
    // Both have to find out, and connect anew.
    commit(&lives, row("another")).await;
    next.flush().await.unwrap();
    until(|| next.list_keys().is_ok()).await;
    assert_eq!(next.settle_begun(5).await.unwrap(), 0);
    drop(lives);
    assert_eq!(next.settle_begun(6).await.unwrap(), 1);
}

#[tokio::test]
async fn texts_that_a_database_has_no_place_for_are_recorded_all_the_same() {
    for home in Home::both() {
        let store = home.open();
        let strange = AuditRow {
            client: "a\0b".to_owned(),
            entry: Some("\0".to_owned()),
            principal: "p".repeat(5_000),
            upstream: Some("u".repeat(100_000)),
            ..row("\0")
        };
        commit(&store, strange).await;
        check(&store);
        let found = store.audit_tail(1, None, &AuditFilter::default()).unwrap();
        assert_eq!(found[0].row.client, "a\u{fffd}b");
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let server = Postgres::start(None).unwrap();
    server
        .sql("CREATE DATABASE other ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        .unwrap();
    let mut settings = settings(&server);
    settings.login.database = "other".to_owned();
    let refused = Store::open(Location::Postgres(settings)).unwrap_err();
    assert!(
        matches!(&refused, Error::Encoding(name) if name == "LATIN1"),
        "{refused}"
    );
}

#[tokio::test]
async fn errors_name_the_database_and_never_the_password() {
    let server = Postgres::start(None).unwrap();
    let mut settings = settings(&server);
    settings.login.password = Some("hunter2".to_owned().into());
    settings.login.database = "none such".to_owned();
    let shown = format!("{settings:?}");
    let refused = Store::open(Location::Postgres(settings)).unwrap_err();
    let told = format!("{refused:?} {refused} {shown}");
    assert!(told.contains("none such"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
