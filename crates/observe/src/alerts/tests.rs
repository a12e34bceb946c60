//! What begins an alert and what ends it, what is counted, and what a receiver is told of it.

use std::slice::from_ref;
use std::time::UNIX_EPOCH;

use policy::Instant as At;

use super::judge::{Finding, Verdict};
use super::*;
use crate::health::{State, Status};
use crate::metrics::{Distribution, Group, Sample, Value};

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> At {
    At(Duration::from_secs(1000 + seconds))
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn found(verdict: Verdict) -> Finding {
    Finding {
        rule: Rule::UpstreamDown,
        subject: vec![("upstream", "files".to_owned())],
        verdict,
        value: "not connected".to_owned(),
    }
}

/// What becomes of one thing that is so at these times: `+` fires, `-` is over.
fn story(verdicts: &[(u64, Verdict)]) -> String {
    let rules = Settings::default().rules;
    let mut book = Book::default();
    let mut said = String::new();
    for (seconds, verdict) in verdicts {
        let times = (at(*seconds), wall(*seconds));
        let changes = book.note(vec![found(*verdict)], &rules, &Labels::new(), times);
        said.extend(changes.begun.iter().map(|_| format!("+{seconds} ")));
        said.extend(changes.over.iter().map(|_| format!("-{seconds} ")));
    }
    said.trim_end().to_owned()
}

#[test]
fn an_alert_fires_when_its_time_is_up_and_is_over_when_it_has_been_well_for_a_while() {
    use Verdict::{Bad, Good};
    assert_eq!(
        story(&[
            (0, Bad),
            (119, Bad),
            (120, Bad),
            (500, Bad),
            (510, Good),
            (569, Good),
            (570, Good)
        ]),
        "+120 -570"
    );
    // What was well in between begins anew, on either side.
    assert_eq!(story(&[(0, Bad), (60, Good), (70, Bad), (180, Bad)]), "");
    assert_eq!(
        story(&[
            (0, Bad),
            (120, Bad),
            (130, Good),
            (140, Bad),
            (195, Good),
            (254, Good)
        ]),
        "+120"
    );
}

#[test]
fn what_is_nearly_bad_begins_nothing_and_ends_nothing() {
    use Verdict::{Bad, Good, Near};
    assert_eq!(story(&[(0, Near), (500, Near)]), "");
    assert_eq!(story(&[(0, Bad), (60, Near), (130, Bad)]), "");
    assert_eq!(
        story(&[
            (0, Bad),
            (120, Bad),
            (130, Near),
            (500, Near),
            (510, Good),
            (570, Good)
        ]),
        "+120 -570"
    );
}

#[test]
fn what_nobody_asks_for_any_more_is_over() {
    let mut rules = Settings::default().rules;
    let mut book = Book::default();
    let note = |book: &mut Book, rules: &BTreeMap<_, _>, seconds| {
        let times = (at(seconds), wall(seconds));
        book.note(vec![found(Verdict::Bad)], rules, &Labels::new(), times)
    };
    note(&mut book, &rules, 0);
    assert_eq!(note(&mut book, &rules, 120).begun.len(), 1);
    // Another severity is another alert, since it is among the labels.
    if let Some(rule) = rules.get_mut(&Rule::UpstreamDown) {
        rule.severity = Severity::Info;
    }
    let over = note(&mut book, &rules, 130).over;
    assert_eq!(over[0].ends_at, Some(wall(130)));
    assert_eq!(over[0].labels["severity"], "critical");
    assert_eq!(
        note(&mut book, &rules, 250).begun[0].labels["severity"],
        "info"
    );
    rules.clear();
    assert_eq!(note(&mut book, &rules, 260).over.len(), 1);
    assert_eq!(book.all().count(), 0);
}

fn number(metric: Metric, labels: &[&str], value: f64) -> Group {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let value = Value::Number(value);
    let samples = vec![Sample { labels, value }];
    Group { metric, samples }
}

fn seen(groups: Vec<Group>, seconds: u64) -> Seen {
    Seen {
        groups,
        dependencies: Vec::new(),
        now: at(seconds),
        wall: wall(seconds),
    }
}

/// So many calls so far, by how they ended.
fn operations(all: &[(&str, &str, u64)]) -> Group {
    let sample = |(method, error, count): &(&str, &str, u64)| Sample {
        labels: vec![(*method).to_owned(), (*error).to_owned()],
        value: Value::Distribution(Distribution {
            bounds: vec![1.0],
            counts: vec![*count, 0],
            sum: 0.0,
        }),
    };
    Group {
        metric: Metric::ServerOperationDuration,
        samples: all.iter().map(sample).collect(),
    }
}

/// What one rule says, if it says one thing.
fn said(judge: &mut Judge, rule: Rule, seen: &Seen) -> Option<(Verdict, String)> {
    let rules = BTreeMap::from([(rule, rule.row().usual)]);
    let mut found = judge.look(&rules, seen);
    let one = found.pop()?;
    assert!(found.is_empty(), "{found:?}");
    Some((one.verdict, one.value))
}

#[test]
fn failures_are_counted_over_the_window_and_are_not_the_clients_own() {
    let mut judge = Judge::new(at(0));
    let mut look = |seconds, all: &[(&str, &str, u64)]| {
        said(
            &mut judge,
            Rule::Errors,
            &seen(vec![operations(all)], seconds),
        )
        .unwrap()
    };
    let nothing = look(0, &[]);
    assert_eq!(nothing, (Verdict::Good, "0 of 0 calls failed".to_owned()));
    // Too few to tell.
    let few = [("tools/call", "-31002", 19)];
    assert_eq!(look(10, &few).0, Verdict::Good);
    // Denied, limited, given up, or a tool's own failure: not ours.
    let theirs = [
        ("tools/call", "-31007", 50),
        ("tools/call", "-31001", 50),
        ("tools/call", "cancelled", 50),
        ("tools/call", "tool_error", 50),
        ("tools/list", "-32603", 50),
    ];
    assert_eq!(
        look(20, &theirs),
        (Verdict::Good, "0 of 200 calls failed".to_owned())
    );
    let mut all = theirs.to_vec();
    all.extend([
        ("resources/read", "-32603", 12),
        ("prompts/get", "_OTHER", 12),
    ]);
    let bad = (Verdict::Bad, "24 of 224 calls failed".to_owned());
    assert_eq!(look(30, &all), bad);
    // Still so after nearly five minutes, and forgotten after more.
    for seconds in (40..=300).step_by(10) {
        assert_eq!(look(seconds, &all).0, Verdict::Bad, "{seconds}");
    }
    for seconds in (310..=350).step_by(10) {
        look(seconds, &all);
    }
    assert_eq!(
        look(360, &all),
        (Verdict::Good, "0 of 0 calls failed".to_owned())
    );
}

#[test]
fn the_slowest_hundredth_is_found_as_prometheus_finds_it() {
    let mut judge = Judge::new(at(0));
    let mut look = |counts: [u64; 4]| {
        let sample = Sample {
            labels: vec!["tools/call".to_owned(), "200".to_owned()],
            value: Value::Distribution(Distribution {
                bounds: vec![1.0, 10.0, 30.0],
                counts: counts.to_vec(),
                sum: 0.0,
            }),
        };
        let group = Group {
            metric: Metric::RequestDuration,
            samples: vec![sample],
        };
        said(&mut judge, Rule::Latency, &seen(vec![group], 0)).unwrap()
    };
    let slow = |seconds| format!("one in a hundred takes {seconds} s or more");
    assert_eq!(look([19, 0, 0, 0]).0, Verdict::Good);
    // The 99th of 100: (99 - 98) / 2 on the way from 10 to 30.
    assert_eq!(look([90, 8, 2, 0]), (Verdict::Bad, slow("20.0")));
    assert_eq!(look([90, 10, 0, 0]), (Verdict::Near, slow("9.1")));
    assert_eq!(look([100, 0, 0, 0]), (Verdict::Good, slow("1.0")));
    // Above all bounds counts as the last of them.
    assert_eq!(look([0, 0, 0, 100]), (Verdict::Bad, slow("30.0")));
}

#[test]
fn each_rule_sees_what_it_is_about() {
    let now = 1_700_000_000.0;
    let days = |days: f64| now + days * 86_400.0;
    let cases: &[(Rule, Vec<Group>, Verdict, &str)] = &[
        (
            Rule::Memory,
            vec![number(Metric::ProcessResident, &[], 3e9)],
            Verdict::Bad,
            "2GiB in use",
        ),
        (
            Rule::AuditDown,
            vec![number(Metric::AuditWritable, &[], 0.0)],
            Verdict::Bad,
            "it takes no records",
        ),
        (
            Rule::AuditLag,
            vec![number(Metric::AuditLag, &[], 4.9)],
            Verdict::Near,
            "the oldest record waits for 4.9 s",
        ),
        (
            Rule::CheckpointStale,
            vec![
                number(Metric::AuditUnsigned, &[], 7.0),
                number(Metric::AuditCheckpoint, &[], now - 901.0),
            ],
            Verdict::Bad,
            "7 records are not signed for",
        ),
        (
            Rule::CheckpointStale,
            vec![
                number(Metric::AuditUnsigned, &[], 0.0),
                number(Metric::AuditCheckpoint, &[], 0.0),
            ],
            Verdict::Good,
            "0 records are not signed for",
        ),
        (
            Rule::SinkBehind,
            vec![number(Metric::SinkLag, &["siem"], 10_001.0)],
            Verdict::Bad,
            "10001 records behind",
        ),
        (
            Rule::PinWithheld,
            vec![number(Metric::PinsWithheld, &["files"], 1.0)],
            Verdict::Bad,
            "1 withheld",
        ),
        (
            Rule::UpstreamDown,
            vec![number(Metric::UpstreamUp, &["files"], 0.0)],
            Verdict::Bad,
            "not connected",
        ),
        (
            Rule::CertificateExpiring,
            vec![number(Metric::CertificateExpiry, &["listener"], days(13.5))],
            Verdict::Bad,
            "it ends in 13d",
        ),
        (
            Rule::CertificateEnding,
            vec![number(Metric::CertificateExpiry, &["listener"], days(13.5))],
            Verdict::Good,
            "it ends in 13d",
        ),
        (
            Rule::CertificateEnding,
            vec![number(Metric::CertificateExpiry, &["listener"], days(-1.0))],
            Verdict::Bad,
            "it has ended",
        ),
        (
            Rule::Disk,
            vec![
                number(Metric::DataDirFree, &[], 9e9),
                number(Metric::DataDirSize, &[], 1e11),
            ],
            Verdict::Bad,
            "8GiB of 93GiB left",
        ),
        (
            Rule::Disk,
            vec![
                number(Metric::DataDirFree, &[], 10.5e9),
                number(Metric::DataDirSize, &[], 1e11),
            ],
            Verdict::Near,
            "9GiB of 93GiB left",
        ),
    ];
    for (rule, groups, verdict, value) in cases {
        let mut judge = Judge::new(at(0));
        let found = said(&mut judge, *rule, &seen(groups.clone(), 0)).unwrap();
        assert_eq!(found, (*verdict, (*value).to_owned()), "{rule:?}");
        // What is not measured is not judged.
        let nothing = said(&mut judge, *rule, &seen(Vec::new(), 0));
        assert!(nothing.is_none(), "{rule:?}");
    }
    let mut judge = Judge::new(at(0));
    let mut restarts = |seconds, count| {
        let group = number(Metric::TaskRestarts, &["pins"], count);
        said(
            &mut judge,
            Rule::TaskRestarting,
            &seen(vec![group], seconds),
        )
        .unwrap()
    };
    assert_eq!(restarts(0, 2.0).0, Verdict::Good);
    assert_eq!(
        restarts(600, 3.0),
        (Verdict::Bad, "begun anew 3 times".to_owned())
    );
}

#[test]
fn a_sink_that_refuses_records_is_told_of_until_it_took_all_for_a_while() {
    let mut judge = Judge::new(at(0));
    let mut refused = |seconds, count| {
        let group = number(Metric::SinkRefused, &["siem"], count);
        said(&mut judge, Rule::SinkRefused, &seen(vec![group], seconds)).unwrap()
    };
    assert_eq!(refused(10, 0.0).0, Verdict::Good);
    let told = (Verdict::Bad, "2 records refused".to_owned());
    assert_eq!(refused(40, 2.0), told);
    assert_eq!(refused(900, 2.0), told);
    assert_eq!(
        refused(950, 2.0),
        (Verdict::Good, "0 records refused".to_owned())
    );
    assert_eq!(refused(960, 3.0).0, Verdict::Bad);
    assert_eq!(refused(1000, 3.0).0, Verdict::Bad);
    // The sink was taken away and is there again: all that is counted from then on is new.
    assert_eq!(refused(2000, 3.0).0, Verdict::Good);
    assert_eq!(refused(2010, 0.0).0, Verdict::Good);
    let told = (Verdict::Bad, "1 records refused".to_owned());
    assert_eq!(refused(2040, 1.0), told);
}

#[test]
fn why_something_is_down_stays_here() {
    let status = |name, of: Option<&str>, state| Status {
        name,
        of: of.map(str::to_owned),
        state,
        since: wall(0),
        latency: None,
        last_error: Some(("db.internal: no route".to_owned(), wall(0))),
        detail: None,
        restarts: None,
        is_required: false,
    };
    let mut seen = seen(Vec::new(), 0);
    seen.dependencies = vec![
        status("shared", None, State::Down),
        status("issuer", Some("corp"), State::Down),
        status("database", None, State::Degraded),
        status("upstream", Some("files"), State::Down),
        status("audit", None, State::Down),
    ];
    let rules = BTreeMap::from([(Rule::DependencyDown, Rule::DependencyDown.row().usual)]);
    let found = Judge::new(at(0)).look(&rules, &seen);
    let bad: Vec<_> = found
        .iter()
        .filter(|one| one.verdict == Verdict::Bad)
        .map(|one| one.subject.clone())
        .collect();
    let label = |name, value: &str| (name, value.to_owned());
    assert_eq!(
        bad,
        [
            vec![label("dependency", "shared")],
            vec![label("dependency", "issuer"), label("of", "corp")],
        ]
    );
    assert!(!format!("{found:?}").contains("internal"));
}

fn alert(name: &str, starts: u64) -> Alert {
    Alert {
        rule: Some(Rule::UpstreamDown),
        labels: Labels::from([
            ("alertname".to_owned(), "PortcullisUpstreamDown".to_owned()),
            ("upstream".to_owned(), name.to_owned()),
        ]),
        severity: Severity::Critical,
        value: "not connected".to_owned(),
        starts_at: wall(starts),
        ends_at: None,
        is_firing: true,
    }
}

fn over(alert: &Alert, ends: u64) -> Alert {
    Alert {
        ends_at: Some(wall(ends)),
        ..alert.clone()
    }
}

/// What is due, as `+name` for what fires and `-name` for what is over.
fn due(ledger: &Ledger, firing: &[Alert], seconds: u64) -> (Vec<Alert>, String) {
    let all = ledger.due(firing.iter(), 4 * 60 * MINUTE, at(seconds));
    let word = |alert: &Alert| {
        let sign = if alert.ends_at.is_some() { "-" } else { "+" };
        format!("{sign}{}", alert.labels["upstream"])
    };
    let words: Vec<_> = all.iter().map(word).collect();
    (all, words.join(" "))
}

#[test]
fn a_receiver_is_told_once_and_again_after_a_while_and_when_it_is_over() {
    let mut ledger = Ledger::default();
    let (a, b) = (alert("a", 0), alert("b", 0));
    let both = [a.clone(), b.clone()];
    // What changes at once is said at once.
    let (all, words) = due(&ledger, &both, 0);
    assert_eq!(words, "+a +b");
    ledger.taken(&all, at(0));
    for seconds in [0, 10, 14_399] {
        assert_eq!(due(&ledger, &both, seconds).1, "");
    }
    let (all, words) = due(&ledger, &both, 14_400);
    assert_eq!(words, "+a +b");
    ledger.taken(&all, at(14_400));
    ledger.over(&over(&a, 14_410));
    let (all, words) = due(&ledger, from_ref(&b), 14_410);
    assert_eq!(words, "-a");
    ledger.taken(&all, at(14_410));
    assert_eq!(due(&ledger, from_ref(&b), 14_420).1, "");
    // What comes back is news.
    assert_eq!(due(&ledger, &[alert("a", 15_000), b], 15_000).1, "+a");
}

#[test]
fn a_receiver_that_was_away_is_told_once_of_what_it_missed() {
    let mut ledger = Ledger::default();
    let (a, b) = (alert("a", 0), alert("b", 5));
    let number = ledger.next();
    let mut tries = Vec::new();
    for seconds in 0..1000 {
        let firing = [a.clone(), b.clone()];
        if !due(&ledger, &firing, seconds).1.is_empty() {
            ledger.failed("gone".to_owned(), at(seconds));
            tries.push(seconds);
        }
    }
    // After a pause that doubles, up to five minutes.
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]);
    assert_eq!((ledger.trouble(), ledger.next()), (Some("gone"), number));
    // One came and went meanwhile, the other fires still.
    ledger.over(&over(&a, 900));
    let (all, words) = due(&ledger, from_ref(&b), 1200);
    assert_eq!(words, "-a +b");
    ledger.taken(&all, at(1200));
    assert_eq!(due(&ledger, &[b], 1210).1, "");
    assert!(ledger.trouble().is_none() && ledger.next() > number);
}

#[test]
fn what_ends_while_it_is_being_told_is_told_to_be_over() {
    let mut ledger = Ledger::default();
    let a = alert("a", 0);
    let (all, _) = due(&ledger, from_ref(&a), 0);
    ledger.over(&over(&a, 5));
    ledger.taken(&all, at(6));
    let (all, words) = due(&ledger, &[], 10);
    assert_eq!(words, "-a");
    ledger.taken(&all, at(10));
    assert_eq!(due(&ledger, &[], 20).1, "");
    // The same labels, later: news, although the first was never taken back by itself.
    assert_eq!(due(&ledger, &[alert("a", 30)], 30).1, "+a");
}

#[test]
fn a_message_is_bounded_and_the_rest_comes_next() {
    let mut ledger = Ledger::default();
    let firing: Vec<Alert> = (0..250).map(|one| alert(&one.to_string(), 0)).collect();
    let mut sizes = Vec::new();
    loop {
        let (all, _) = due(&ledger, &firing, 0);
        if all.is_empty() {
            break;
        }
        sizes.push(all.len());
        ledger.taken(&all, at(0));
    }
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn a_message_has_the_forms_that_others_expect() {
    let (a, b) = (alert("a", 0), alert("b", 0));
    let message = Message {
        id: "1".to_owned(),
        base: "https://gate.example.com".to_owned(),
        alerts: vec![over(&a, 60), b],
    };
    let hook = message::webhook(&message, "chat");
    assert_eq!(hook["version"], "4");
    assert_eq!(
        (&hook["status"], &hook["receiver"]),
        (&"firing".into(), &"chat".into())
    );
    assert_eq!(hook["commonLabels"]["alertname"], "PortcullisUpstreamDown");
    assert!(hook["commonLabels"].get("upstream").is_none());
    let [over, firing] = [&hook["alerts"][0], &hook["alerts"][1]];
    assert_eq!(
        (&over["status"], &over["endsAt"]),
        (&"resolved".into(), &"2023-11-14T22:14:20.000Z".into())
    );
    assert_eq!(
        (&firing["status"], &firing["endsAt"]),
        (&"firing".into(), &"0001-01-01T00:00:00Z".into())
    );
    let manager = message::alertmanager(&message, wall(100));
    assert_eq!(manager[0]["endsAt"], "2023-11-14T22:14:20.000Z");
    // Forgotten by itself, should the gate be gone.
    assert_eq!(manager[1]["endsAt"], "2023-11-14T22:19:00.000Z");
    let (subject, text) = message::mail(&message);
    assert_eq!(subject, "[1 firing, 1 resolved] PortcullisUpstreamDown");
    for wanted in [
        "FIRING  Port",
        "RESOLVED  Port",
        "upstream: b",
        "what to do: ",
        "https://gate.example.com/v1/alerts",
    ] {
        assert!(text.contains(wanted), "{wanted} not in {text}");
    }
}

#[test]
fn every_rule_has_names_of_its_own() {
    for rule in Rule::ALL {
        let row = rule.row();
        assert_eq!(Rule::find(row.word), Some(*rule));
        assert!(row.alert.starts_with("Portcullis") && !row.summary.ends_with('.'));
        let of_name = Rule::ALL
            .iter()
            .filter(|other| other.row().alert == row.alert);
        assert_eq!(of_name.count(), 1);
        assert!(reference().contains(&format!("| `{}` | `{}` |", row.word, row.alert)));
    }
}

#[test]
fn prometheus_calls_them_the_same() {
    let rules = include_str!("../../../../deploy/prometheus/alerts.yml");
    // What is down beside upstreams is not in the metrics, one by one.
    let all = Rule::ALL
        .iter()
        .filter(|rule| **rule != Rule::DependencyDown);
    for rule in all {
        let RuleRow { alert, usual, .. } = rule.row();
        let found = rules
            .split("- alert: ")
            .find(|one| one.lines().next() == Some(alert));
        let severity = format!("severity: {}", usual.severity.word());
        assert!(found.is_some_and(|one| one.contains(&severity)), "{alert}");
    }
}
