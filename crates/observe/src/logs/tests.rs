//! Lines that somebody tries to forge, lines that are too long, lines that are looked for, filters that end.

use std::time::SystemTime;

use proptest::prelude::*;
use serde_json::Value;
use tracing::{Level, debug, info, warn};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// Stands still until it is moved.
#[derive(Debug, Default)]
struct Still(Mutex<Duration>);

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + *self.0.lock()
    }
}

fn all() -> Query {
    Query {
        level: Level::TRACE,
        target: None,
        contains: None,
        since: None,
        before: None,
        limit: 100,
    }
}

/// What is kept of what `act` logs with this filter.
fn logged(filter: &str, act: impl FnOnce(&Arc<Still>, &Logs)) -> Vec<Value> {
    let clock = Arc::new(Still::default());
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let (logs, layer) = Logs::new(time, Filter::parse(filter).unwrap());
    let subscriber = tracing_subscriber::registry()
        .with(layer)
        .with(logs.lines(None));
    tracing::subscriber::with_default(subscriber, || act(&clock, &logs));
    let lines = logs.search(&all()).lines;
    let json = lines.iter().rev().map(|line| {
        assert_eq!(line.json.lines().count(), 1, "{}", line.json);
        serde_json::from_str(&line.json).expect("each line is JSON")
    });
    json.collect()
}

#[test]
fn a_line_has_time_level_target_message_and_fields() {
    let lines = logged("info", |clock, _| {
        *clock.0.lock() = Duration::from_micros(1_500_000);
        let none: Option<&str> = None;
        info!(calls = 3_u64, took = ?Duration::from_secs(1), by = %"me", is_late = true, none, "it {}", "went");
    });
    let expected = serde_json::json!([{
        "timestamp": "1970-01-01T00:00:01.500000Z",
        "level": "INFO",
        "message": "it went",
        "calls": 3,
        "took": "1s",
        "by": "me",
        "is_late": true,
        "target": "observe::logs::tests",
    }]);
    assert_eq!(Value::from(lines), expected);
}

proptest! {
    #[test]
    fn whatever_is_in_a_field_comes_back_from_json_and_stays_on_its_line(text in "\\PC*|[\\s\\S]*") {
        let lines = logged("info", |_, _| {
            info!(displayed = %text, written = text, "{text}");
        });
        prop_assert_eq!(lines.len(), 1);
        for name in ["displayed", "written", "message"] {
            prop_assert_eq!(&lines[0][name], &text);
        }
    }

    #[test]
    fn whatever_is_in_a_field_a_text_line_is_one_line(text in "[\\s\\S]*") {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .fmt_fields(format::debug_fn(|writer, field, value| text_field(writer, field, value)))
            .with_writer(move || Shared(Arc::clone(&to)))
            .finish();
        tracing::subscriber::with_default(subscriber, || info!(displayed = %text, written = text, "{text}"));
        let written = String::from_utf8(written.lock().clone()).unwrap();
        let line = written.strip_suffix('\n').expect("a line");
        let is_harmful = |char: char| char.is_control() || "\u{2028}\u{2029}\u{202e}".contains(char);
        prop_assert!(!line.contains(is_harmful), "{line:?}");
    }
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_field_that_is_too_long_is_cut_and_a_line_ends_somewhere() {
    let long = "é".repeat(FIELD_BYTES_MAX);
    let lines = logged("info", |_, _| {
        info!(a = %long, b = %long, c = %long, d = %long, e = %long, f = %long, "long");
    });
    let a = lines[0]["a"].as_str().unwrap();
    assert!(a.len() <= FIELD_BYTES_MAX + '…'.len_utf8() && a.ends_with('…'));
    assert!(lines[0].get("f").is_none());
    assert_eq!(lines[0]["target"], "observe::logs::tests");
}

#[test]
fn lines_are_found_by_level_module_text_and_time_a_page_at_a_time() {
    logged("trace", |clock, logs| {
        for second in 0..5 {
            *clock.0.lock() = Duration::from_secs(second);
            warn!(target: "upstream::link", second, "Down");
            debug!(target: "upstream_not", second, "noise");
        }
        let found = |query: Query| -> Vec<u64> {
            let lines = logs.search(&query).lines;
            lines.iter().map(|line| line.number).collect()
        };
        let level = Level::WARN;
        assert_eq!(found(Query { level, ..all() }), [9, 7, 5, 3, 1]);
        let target = Some("upstream".to_owned());
        assert_eq!(found(Query { target, ..all() }), [9, 7, 5, 3, 1]);
        let contains = Some("dOWN".to_owned());
        assert_eq!(found(Query { contains, ..all() }), [9, 7, 5, 3, 1]);
        let since = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3));
        assert_eq!(found(Query { since, ..all() }), [10, 9, 8, 7]);
        let first = logs.search(&Query {
            level,
            limit: 2,
            ..all()
        });
        assert!(first.has_more);
        let before = first.lines.last().map(|line| line.number);
        let second = logs.search(&Query {
            level,
            limit: 3,
            before,
            ..all()
        });
        assert!(!second.has_more);
        assert_eq!(second.lines.len(), 3);
    });
}

#[test]
fn what_is_kept_is_bounded_in_lines_and_in_bytes() {
    let mut recent = Recent::default();
    let push = |recent: &mut Recent, bytes| {
        let at = SystemTime::UNIX_EPOCH;
        recent.push(at, Level::INFO, "a", "x".repeat(bytes));
    };
    for _ in 0..=LINES_MAX {
        push(&mut recent, 1);
    }
    let limit = usize::MAX;
    let found = recent.search(&Query { limit, ..all() });
    assert_eq!(found.lines.len(), LINES_MAX);
    assert_eq!(found.lines.last().unwrap().number, 2);
    push(&mut recent, BYTES_MAX - 1);
    assert_eq!(recent.search(&Query { limit, ..all() }).lines.len(), 2);
}

#[test]
fn a_filter_holds_instead_of_the_configured_one_until_it_is_taken_back() {
    let lines = logged("warn", |_, logs| {
        info!("before");
        logs.set(Filter::parse("debug").unwrap(), None);
        debug!("loud");
        logs.configure(&Filter::parse("info").unwrap());
        debug!("still loud");
        logs.reset();
        debug!("quiet");
        info!("as configured now");
    });
    let messages: Vec<&Value> = lines.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages, ["loud", "still loud", "as configured now"]);
}

#[tokio::test]
async fn a_filter_ends_with_its_time() {
    let clock = Arc::new(Still::default());
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let (logs, _layer) = Logs::new(time, Filter::parse("warn").unwrap());
    let stop = CancellationToken::new();
    let look = async {
        logs.set(
            Filter::parse("trace").unwrap(),
            Some(Duration::from_secs(60)),
        );
        assert_eq!(logs.filters().left, Some(Duration::from_secs(60)));
        *clock.0.lock() = Duration::from_secs(59);
        tokio::task::yield_now().await;
        assert_eq!(logs.filters().set.unwrap().as_str(), "trace");
        *clock.0.lock() = Duration::from_secs(60);
        while logs.filters().set.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(logs.keep(&stop), look) };
    timeout(Duration::from_secs(20), both)
        .await
        .expect("it ends");
}

#[test]
fn a_word_that_is_no_level_is_no_filter() {
    for good in ["info", "INFO,upstream=debug", "off", "warn, h2=error"] {
        assert!(Filter::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "loud",
        "info,upstream",
        "upstream=loud",
        &"a".repeat(2000),
    ] {
        assert!(Filter::parse(bad).is_err(), "{bad}");
    }
}
