//! What is sent at once has bounds; the rest of a sink's life is in testkit, with real receivers.

use super::super::format::tests::{record, source};
use super::super::{FileSettings, Format};
use super::*;
use store::SinkStart;

use crate::health::{Dependency, Health, State};

#[test]
fn a_batch_has_a_bound_in_bytes_and_at_least_one_record() {
    let large = |seq| {
        let mut record = record(seq);
        record.row.arguments = Some("x".repeat(600 << 10));
        record
    };
    let records = vec![large(1), record(2), large(3), record(4)];
    assert_eq!(within(&records, BATCH_BYTES_MAX), 2);
    assert_eq!(within(&records, 1), 1);
    assert_eq!(within(&[], 1), 0);
}

#[test]
fn a_pause_is_between_half_and_the_whole() {
    for _ in 0..100 {
        let pause = jittered(Duration::from_secs(8));
        assert!((Duration::from_secs(4)..=Duration::from_secs(8)).contains(&pause));
    }
}

/// Stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(Duration::from_secs(1))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1)
    }
}

#[tokio::test]
async fn a_database_that_is_well_again_heals_a_sink_that_has_nothing_to_send() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let health = Health::new(Arc::clone(&clock));
    let around = Around {
        store: store.clone(),
        client: net::Client::new(net::Settings::default()),
        clock,
        metrics: Metrics::new("0"),
        source: Arc::new(source()),
    };
    let settings = SinkSettings {
        name: "file".to_owned(),
        kind: SinkKind::File(FileSettings {
            path: folder.path().join("audit.jsonl"),
            format: Format::Native,
            size_max: 1 << 20,
            age_max: None,
            keep: 1,
        }),
        batch: 10,
        start: SinkStart::Beginning,
        begun: false,
    };
    let component = health.dependency_of(Dependency::Sink, "file");
    let mut sink = Sink::new(settings, around, component);
    let stop = CancellationToken::new();
    let state = || health.dependencies().remove(0).state;
    assert!(matches!(sink.step(&stop).await, Ok(Step::Done)));
    sink.failed(&SinkError::Store(store::Error::Closed)).await;
    assert_eq!(state(), State::Down);
    assert!(store.audit_sinks().unwrap()[0].error.is_some());
    assert!(matches!(sink.step(&stop).await, Ok(Step::Done)));
    assert_eq!(state(), State::Ok);
    assert_eq!(store.audit_sinks().unwrap()[0].error, None);
    store.close().await;
}
