//! `[alerts]`: who is told and when, and what cannot be.

use observe::alerts::{Place as Told, Rule, Severity, Threshold};

use super::*;

#[test]
fn everything_that_was_said_holds_and_the_rest_is_as_usual() {
    let config = r#"
[mail]
url = "smtps://mail.example.com"
from = "gate@example.com"
[alerts]
every = "5s"
repeat = "1h"
labels = { cluster = "eu" }
[alerts.receivers.chat]
webhook = "https://chat.example.com/hooks/kestrel"
secret = { env = "CHAT" }
[alerts.receivers.am]
alertmanager = "http://localhost:9093/am"
[alerts.receivers.ops]
email = ["a@example.com", "b@example.com"]
severity = "critical"
[alerts.rules]
errors = { threshold = "2.5%", window = "10m", for = "0s", severity = "info" }
memory = { threshold = "512MiB" }
task_restarting = { threshold = "7" }
latency = { enabled = false }
"#;
    let place = place(
        &[("portcullis.toml", config)],
        &[("CHAT", "kestrel-anvil-0451-marble")],
    );
    let alerts = place.load().unwrap().alerts;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert_eq!(
        (alerts.every, alerts.repeat),
        (minutes(5) / 60, minutes(60))
    );
    assert_eq!(alerts.labels["cluster"], "eu");
    let errors = alerts.rules[&Rule::Errors];
    assert_eq!(errors.threshold, Threshold::Share(0.025));
    assert_eq!(errors.window, Some(minutes(10)));
    assert_eq!(
        (errors.hold, errors.severity),
        (Duration::ZERO, Severity::Info)
    );
    let memory = alerts.rules[&Rule::Memory];
    assert_eq!(memory.threshold, Threshold::Size(512 << 20));
    assert_eq!(memory.hold, Rule::Memory.row().usual.hold);
    let tasks = alerts.rules[&Rule::TaskRestarting];
    assert_eq!(tasks.threshold, Threshold::Count(7));
    assert!(!alerts.rules.contains_key(&Rule::Latency));
    assert_eq!(alerts.rules.len(), Rule::ALL.len() - 1);
    // A mailbox each; and neither the secret nor the path of the hook is printed.
    let names: Vec<(&str, Severity)> = alerts
        .receivers
        .iter()
        .map(|one| (one.name.as_str(), one.severity))
        .collect();
    let (all, urgent) = (Severity::Info, Severity::Critical);
    assert_eq!(
        names,
        [("am", all), ("chat", all), ("ops", urgent), ("ops", urgent)]
    );
    assert!(matches!(&alerts.receivers[3].place, Told::Mail { to, .. } if to == "b@example.com"));
    assert!(!format!("{alerts:?}").contains("kestrel"));
}

#[test]
fn what_cannot_be_is_told() {
    check(
        r#"
[alerts]
every = "5m"
repeat = "1s"
labels = { upstream = "x", "a-b" = "x", c = "" }
[alerts.receivers]
"a b" = { alertmanager = "https://am.example.com" }
none = {}
two = { alertmanager = "https://am.example.com", email = ["a@example.com"] }
bare = { webhook = "https://chat.example.com" }
short = { webhook = "https://chat.example.com", secret = "hunter2hunter2" }
clear = { alertmanager = "http://am.example.com" }
user = { alertmanager = "https://gate:hunter2@am.example.com" }
post = { email = ["a@example.com"] }
[alerts.rules]
errorz = {}
errors = { threshold = "5" }
memory = { threshold = "5%", window = "5m" }
latency = { window = "2h" }
upstream_down = { threshold = "1" }
"#,
        "
3: alerts.every: is out of range; write at most \"60s\"
4: alerts.repeat: is out of range; write at least \"60s\"
5: alerts.labels.a-b: is no name of a label; use a-z, A-Z, 0-9 and `_`
5: alerts.labels.c: has no value that goes on one line; use 1 to 64 bytes
5: alerts.labels.upstream: is a label that alerts have by themselves; take another
7: alerts.receivers.a b: is no name of a receiver; use up to 64 of a-z, A-Z, 0-9, `-` and `_`
8: alerts.receivers.none: exactly one of `webhook`, `alertmanager` and `email` is needed
9: alerts.receivers.two: exactly one of `webhook`, `alertmanager` and `email` is needed
10: alerts.receivers.bare.secret: is missing: messages are signed; write secret = { env = \"…\" }; `openssl rand -hex 32` makes a good one
11: alerts.receivers.short.secret: is too short to sign with; use at least 16 bytes: `openssl rand -hex 32`
12: alerts.receivers.clear.alertmanager: sends alerts over the network in the clear; use https, or write danger_plaintext = true beside it
13: alerts.receivers.user.alertmanager: has a user or password in it, which are not sent; write for example \"https://alerts.example.com/hook\"
14: alerts.receivers.post.email: there is no way for mail to leave; add a [mail]
16: alerts.rules.errorz: is no rule; did you mean `errors`?
17: alerts.rules.errors.threshold: `5` is not a part of the whole; write for example \"5%\"
18: alerts.rules.memory.threshold: `%` is no unit of size; use B, KiB, MiB or GiB
18: alerts.rules.memory.window: this rule counts nothing; leave it out
19: alerts.rules.latency.window: is out of range; write from \"60s\" to \"3600s\"
20: alerts.rules.upstream_down.threshold: this rule is broken or it is not: there is no threshold; leave it out
",
    );
}
