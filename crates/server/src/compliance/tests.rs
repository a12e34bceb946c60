//! That a report promises nothing that is not there: tests, keys, commands and controls are held against the tree; and
//! that what a config says is text in every form of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Parser as _;
use serde_json::Value;

use super::report::together;
use super::*;
use crate::cli::Cli;
use crate::config::{self, Environment, Sources};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All measures, by their ids.
fn measures() -> BTreeMap<&'static str, &'static Measure> {
    let controls = controls().into_iter();
    let measures = controls.flat_map(|(_, control)| control.by.iter().copied());
    measures.map(|measure| (measure.id, measure)).collect()
}

fn controls() -> Vec<(Framework, &'static Control)> {
    let of = |framework: Framework| {
        let sections = framework.sections().iter();
        sections.flat_map(move |section| section.controls.iter().map(move |one| (framework, one)))
    };
    Framework::ALL.into_iter().flat_map(of).collect()
}

/// Whether a file has a test of this name, and not only a function that a test calls.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let bare = line.strip_prefix("async ").unwrap_or(line);
        bare.strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(begins) else {
        return false;
    };
    let attributes = lines.iter().take(at).rev();
    attributes
        .take_while(|line| line.starts_with("#["))
        .any(|line| line.contains("test"))
}

#[test]
fn every_test_that_is_named_is_in_the_tree() {
    assert!(has_test("#[tokio::test]\nasync fn a() {}", "a"));
    assert!(!has_test("fn a() {}\n#[test]\nfn a_b() {}", "a") && !has_test("", "a"));
    let is_there = |test: &str| match test.split_once("::") {
        Some((file, name)) => fs::read_to_string(root().join("crates").join(file))
            .is_ok_and(|text| has_test(&text, name)),
        None => root().join(test).is_file(),
    };
    let named = measures().into_values();
    let named = named.flat_map(|measure| measure.tests.iter().map(|test| (measure.id, test)));
    let missing: Vec<_> = named.filter(|(_, test)| !is_there(test)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_key_is_a_setting() {
    let reference = config::reference();
    let is_there = |key: &str| reference.contains(&format!("| `{}` |", key.replace(".*", ".NAME")));
    let named = measures().into_values();
    let named = named.flat_map(|measure| measure.keys.iter().map(|key| (measure.id, key)));
    let missing: Vec<_> = named.filter(|(_, key)| !is_there(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_command_line_can_be_said() {
    for measure in measures().values() {
        for query in measure.queries {
            if let Err(error) = Cli::try_parse_from(query.split_whitespace()) {
                panic!("{}: `{query}`: {error}", measure.id);
            }
        }
    }
}

#[test]
fn what_is_on_has_something_that_shows_it() {
    for measure in measures().values() {
        let shows = measure.tests.len() + measure.queries.len() + measure.keys.len();
        assert!(shows > 0, "{} has nothing that shows it", measure.id);
        assert!(measure.does.ends_with('.'), "{}: a sentence", measure.id);
        assert!(
            !measure.title.contains('`'),
            "{}: a title is plain",
            measure.id
        );
    }
}

#[test]
fn every_control_says_who_serves_it_or_why_nobody_does() {
    let mut seen = BTreeSet::new();
    for (framework, control) in controls() {
        assert!(
            seen.insert((framework.name(), control.id)),
            "{} is there twice",
            control.id
        );
        assert!(
            !control.by.is_empty() && !control.only_helps || !control.rest.is_empty(),
            "{}",
            control.id
        );
        let names: BTreeSet<&str> = control.by.iter().map(|measure| measure.id).collect();
        assert_eq!(
            names.len(),
            control.by.len(),
            "{} names a measure twice",
            control.id
        );
    }
    let count = |framework| {
        controls()
            .into_iter()
            .filter(|(of, _)| *of == framework)
            .count()
    };
    assert_eq!((count(Framework::Cosai), count(Framework::NsaMcp)), (12, 9));
}

#[test]
fn a_control_is_on_only_if_all_that_serves_it_is() {
    use Status::{NotCovered, Off, On, Partly};
    for (measures, expected) in [
        (vec![], NotCovered),
        (vec![On], On),
        (vec![On, On], On),
        (vec![On, Partly], Partly),
        (vec![On, Off], Partly),
        (vec![On, NotCovered], Partly),
        (vec![Partly, Off], Partly),
        (vec![Off, Off], Off),
        (vec![Off, NotCovered], Off),
        (vec![NotCovered, NotCovered], NotCovered),
    ] {
        assert_eq!(together(&measures), expected, "{measures:?}");
    }
}

/// What becomes of a config, in a folder with this name.
fn with_report<T>(folder: &str, config: &str, look: impl FnOnce(&Report<'_>) -> T) -> T {
    with_gate(folder, config, None, |gate| {
        look(&Report::new(
            Framework::Soc2,
            gate,
            Some("no `<b>` here".to_owned()),
        ))
    })
}

/// How a measure stands with a config and what a database says.
fn stands(id: &str, config: &str, facts: Option<&Facts>) -> Status {
    let measure = measures()[id];
    let config = format!("data_dir = \"data\"\n{config}");
    with_gate("plain", &config, facts, |gate| (measure.judge)(gate).status)
}

fn with_gate<T>(
    folder: &str,
    config: &str,
    facts: Option<&Facts>,
    look: impl FnOnce(&Gate<'_>) -> T,
) -> T {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join(folder);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("portcullis.toml"), config).unwrap();
    let environment = Environment {
        folder: folder.clone(),
        ..Environment::default()
    };
    let sources = Sources {
        config: Some(folder.join("portcullis.toml")),
        ..Sources::default()
    };
    let (shown, loaded) = config::show(&sources, &environment).unwrap();
    let loaded = loaded.unwrap();
    let gate = Gate {
        loaded: &loaded,
        shown: &shown,
        facts,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    };
    look(&gate)
}

#[test]
fn what_goes_out_in_the_clear_is_told_wherever_it_goes() {
    assert_eq!(stands("tls-services", "", None), Status::On);
    for config in [
        "store = { postgres = \"postgres://gate@db.example.com/gate\", danger_plaintext = true }",
        "shared.redis = { url = \"redis://r.example.com\", danger_plaintext = true }",
        "audit.sinks.siem = { kind = \"syslog\", url = \"tcp://siem.example.com:601\", danger_plaintext = true }",
        "telemetry.traces = { endpoint = \"http://c.example.com\", danger_plaintext = true }",
        "telemetry.metrics = { endpoint = \"http://c.example.com\", danger_plaintext = true }",
        "alerts.receivers.ops = { alertmanager = \"http://a.example.com\", danger_plaintext = true }",
        "mail = { url = \"smtp://m.example.com\", from = \"gate@example.com\", danger_plaintext = true }",
    ] {
        assert_eq!(
            stands("tls-services", config, None),
            Status::Partly,
            "{config}"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_gets_nothing_is_not_on() {
    use store::{Location, SinkHold, SinkStart, Store};
    let folder = tempfile::tempdir().unwrap();
    let place = Location::File(folder.path().join("gate.db"));
    let store = Store::open(place.clone()).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let config = "audit.sinks.one = { kind = \"syslog\", url = \"tls://siem.example.com:6514\" }\n\
                  audit.sinks.two = { kind = \"syslog\", url = \"tls://siem.example.com:6514\" }\n";
    let siem = || {
        let facts = Facts::read(&store, &place, Err("no key".to_owned()), now).unwrap();
        stands("siem", config, Some(&facts))
    };
    assert_eq!(siem(), Status::On);
    // One that the config no longer has says nothing.
    for (name, expected) in [
        ("old", Status::On),
        ("one", Status::Partly),
        ("two", Status::Off),
    ] {
        let hold = SinkHold {
            name: name.to_owned(),
            holder: "gate".to_owned(),
            now,
            until: now + Duration::from_secs(60),
        };
        let held = store.hold_audit_sink(hold.clone(), SinkStart::Now);
        held.await.unwrap();
        let failed = store.fail_audit_sink(hold, "gone".to_owned(), now);
        failed.await.unwrap();
        assert_eq!(siem(), expected, "{name}");
    }
    store.close().await;
}

/// A line of Markdown without its spans of code: each ends at as many backticks as it begins with.
fn without_code(line: &str) -> String {
    let mut left = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('`') {
        left.push_str(before);
        let more = after.len() - after.trim_start_matches('`').len();
        let ticks = "`".repeat(more + 1);
        let body = after.trim_start_matches('`');
        let runs = body.match_indices(&ticks);
        let is_whole = |at: usize| {
            let (before, after) = (body.split_at(at).0, body.split_at(at + ticks.len()).1);
            !before.ends_with('`') && !after.starts_with('`')
        };
        match runs.map(|(at, _)| at).find(|at| is_whole(*at)) {
            Some(end) => rest = body.split_at(end + ticks.len()).1,
            None => {
                left.push_str(&ticks);
                rest = body;
            }
        }
    }
    left + rest
}

#[test]
fn what_a_config_says_is_text_in_every_form() {
    let hostile = "<img src=x onerror=alert(1)>&\"'|`x`";
    let config = r#"
data_dir = "data"
[roles.reader]
allow = ["files.a|b`</td><script>alert(2)</script>"]
"#;
    with_report(hostile, config, |report| {
        let html = report.html().unwrap();
        assert!(
            html.contains("&#60;img src=x onerror=alert(1)&#62;&#38;&#34;&#39;|`x`"),
            "{html}"
        );
        for bad in ["<img", "<script", "alert(2)</script>", "<b>"] {
            assert!(!html.contains(bad), "{bad}");
        }
        let markdown = report.markdown().unwrap();
        assert!(markdown.contains("alert(1)") && markdown.contains("alert(2)"));
        for line in markdown.lines() {
            let read = without_code(line).replace("\\<", "");
            assert!(
                !read.contains("<img") && !read.contains("<script"),
                "{line}"
            );
        }
        for row in markdown
            .lines()
            .filter(|line| line.starts_with("| `") && line.contains("alert"))
        {
            let cells = row.replace("\\|", "").matches('|').count();
            assert_eq!(cells, 4, "{row}");
        }
    });
}

#[test]
fn a_page_has_one_stylesheet_which_its_policy_names_and_nothing_from_elsewhere() {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine as _;
    with_report("plain", "data_dir = \"data\"\n", |report| {
        let html = report.html().unwrap();
        let (_, rest) = html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = digest(&SHA256, style.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        assert!(
            html.contains(&format!("style-src &#39;sha256-{hash}&#39;"))
                || html.contains(&format!("style-src 'sha256-{hash}'"))
        );
        for bad in [
            "href=\"http",
            " src=",
            " style=",
            "javascript:",
            "@import",
            "url(",
        ] {
            assert!(!html.contains(bad), "{bad}");
        }
        assert_eq!(html.matches("<h1").count(), 1);
        assert_eq!(
            html.matches("<table").count(),
            html.matches("<caption").count()
        );
        // Every link leads to something on the page, and no name is there twice.
        let ids: Vec<&str> = html
            .split(" id=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
        for link in html
            .split("href=\"#")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(ids.contains(&link), "{link}");
        }
    });
}

#[test]
fn the_json_form_has_its_shape() {
    with_report("plain", "data_dir = \"data\"\n", |report| {
        let json = serde_json::to_value(report).unwrap();
        let members =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let mut expected = vec![
            "config_files",
            "database",
            "database_unread",
            "framework",
            "generated_at",
            "measures",
            "product",
            "scope",
            "sections",
            "shape",
            "summary",
            "title",
            "version",
        ];
        let mut found = members(&json);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(json["shape"], 1);
        assert_eq!(json["generated_at"], "2027-01-15T08:00:00Z");
        assert_eq!(json["database_unread"], "no `<b>` here");
        let summary = &json["summary"];
        let numbers =
            ["on", "partly", "off", "not_covered"].map(|name| summary[name].as_u64().unwrap());
        assert_eq!(
            summary["controls"].as_u64().unwrap(),
            numbers.iter().sum::<u64>()
        );
        for measure in json["measures"].as_array().unwrap() {
            let mut found = members(measure);
            found.sort_unstable();
            assert_eq!(
                found,
                [
                    "config", "does", "id", "queries", "remedy", "status", "tests", "title", "why"
                ]
            );
            assert!(!measure["why"].as_str().unwrap().is_empty());
            // Whatever could be better says how.
            assert_eq!(
                measure["remedy"].is_null(),
                measure["status"] == "on",
                "{measure}"
            );
        }
    });
}
