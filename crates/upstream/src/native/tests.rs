//! What all packs share: their tools say truly what goes in and what comes out; and the small packs.

use std::time::{Duration, SystemTime};

use policy::{Instant, Schema};
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Still(pub(super) SystemTime);

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(Duration::ZERO)
    }

    fn wall(&self) -> SystemTime {
        self.0
    }
}

/// A pack, and what it stands on.
pub(super) struct World {
    pub(super) native: Native,
    pub(super) folder: TempDir,
    store: Store,
}

impl World {
    /// A pack over an empty folder; files find it as the root `here`.
    pub(super) fn of(spec: impl FnOnce(PathBuf) -> Spec) -> Self {
        let folder = TempDir::new().expect("a folder");
        let here = folder.path().join("here");
        std::fs::create_dir(&here).expect("a folder");
        let store = Store::open(&folder.path().join("store.db")).expect("a store");
        // 2026-03-28T23:30:00Z: in Berlin it is the next day, hours before the clocks change.
        let clock = Still(SystemTime::UNIX_EPOCH + Duration::from_secs(1_774_740_600));
        let parts = Parts {
            client: net::Client::new(net::Settings::default()),
            store: store.clone(),
            clock: Arc::new(clock),
            status: Arc::new(
                || json!({"version": "0.1.0", "upstreams": {"files": {"state": "ready"}}}),
            ),
        };
        let native = Native::new(spec(here), &parts).expect("a pack");
        Self {
            native,
            folder,
            store,
        }
    }

    /// Calls a tool as `alice`, and checks the answer against the tool's own schemas.
    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        self.call_as("alice", tool, arguments).await
    }

    pub(super) async fn call_as(
        &self,
        principal: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<Value, String> {
        let Value::Object(map) = arguments.clone() else {
            panic!("arguments are an object")
        };
        let answer = self
            .native
            .call(tool, map, Caller { principal })
            .await
            .expect("a known tool");
        let mut answer: Value = serde_json::from_str(answer.get()).expect("JSON");
        assert_eq!(answer["content"][0]["type"], "text");
        let text = answer["content"][0]["text"]
            .as_str()
            .expect("text")
            .to_owned();
        if answer["isError"] == true {
            assert_eq!(answer.get("structuredContent"), None);
            return Err(text);
        }
        let output = answer["structuredContent"].take();
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), output);
        for (schema, value) in [("inputSchema", &arguments), ("outputSchema", &output)] {
            let faults = self.schema(tool, schema).check(value);
            assert!(
                faults.is_empty(),
                "{tool}: {value} does not fit its {schema}: {faults:?}"
            );
        }
        Ok(output)
    }

    fn schema(&self, tool: &str, which: &str) -> Schema {
        let tools = self
            .native
            .tools()
            .iter()
            .map(|tool| serde_json::from_str::<Value>(tool.get()).expect("JSON"));
        let found = tools
            .into_iter()
            .find(|described| described["name"] == tool)
            .expect("the tool");
        Schema::compile(&found[which].to_string()).expect("a schema")
    }

    pub(super) async fn end(self) {
        self.store.close().await;
    }
}

fn every_spec() -> Vec<fn(PathBuf) -> Spec> {
    vec![
        |root| Spec::Files {
            roots: vec![root],
            write: true,
        },
        |_| Spec::Fetch { private: false },
        |_| Spec::Time,
        |_| Spec::Notes,
        |_| Spec::Status,
    ]
}

#[tokio::test]
async fn every_tool_is_described_in_full() {
    for spec in every_spec() {
        let world = World::of(spec);
        for tool in world.native.tools() {
            let tool: Value = serde_json::from_str(tool.get()).expect("JSON");
            let name = tool["name"].as_str().expect("a name");
            for text in ["title", "description"] {
                assert!(
                    tool[text].as_str().is_some_and(|text| text.len() > 3),
                    "{name} has no {text}"
                );
            }
            assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
            assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
            for schema in ["inputSchema", "outputSchema"] {
                assert!(
                    !tool[schema].to_string().contains("$ref"),
                    "{name}: {}",
                    tool[schema]
                );
                let text = tool[schema].to_string();
                assert!(!text.contains("\"format\":\"uint"), "{name}: {text}");
                world.schema(name, schema);
            }
            for hint in [
                "readOnlyHint",
                "destructiveHint",
                "idempotentHint",
                "openWorldHint",
            ] {
                assert!(
                    tool["annotations"][hint].is_boolean(),
                    "{name} has no {hint}"
                );
            }
            for (property, described) in tool["inputSchema"]["properties"]
                .as_object()
                .into_iter()
                .flatten()
            {
                assert!(
                    described["description"].is_string(),
                    "{name}: `{property}` is not described"
                );
            }
        }
        world.end().await;
    }
}

#[tokio::test]
async fn no_tool_falls_over_whatever_it_is_called_with() {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\0"),
        json!("/"),
        json!("here"),
        json!("here/"),
        json!("../.."),
        json!("é".repeat(5000)),
        json!([]),
        json!({}),
        json!("http://"),
        json!("UTC"),
        json!("24:00"),
        json!("-9999-01-01T00:00"),
        json!("9999-12-31T23:59"),
    ];
    for spec in every_spec() {
        let world = World::of(spec);
        for tool in world.native.tools() {
            let tool: Value = serde_json::from_str(tool.get()).expect("JSON");
            let name = tool["name"].as_str().expect("a name");
            let properties: Vec<String> = tool["inputSchema"]["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect();
            for value in &odd {
                let arguments = properties
                    .iter()
                    .map(|key| (key.clone(), value.clone()))
                    .collect();
                let caller = Caller { principal: "alice" };
                let answer = world
                    .native
                    .call(name, arguments, caller)
                    .await
                    .expect("a known tool");
                assert!(answer.get().contains("isError"), "{name}({value})");
            }
            let unknown = Map::from_iter([("surprise".to_owned(), json!(1))]);
            let answer = world
                .native
                .call(name, unknown, Caller { principal: "alice" })
                .await
                .expect("a known tool");
            assert!(answer.get().contains("\"isError\":true"), "{name}");
        }
        let error = world
            .native
            .call("absent", Map::new(), Caller { principal: "alice" })
            .await;
        assert!(matches!(error, Err(Error::UnknownTool(name)) if name == "absent"));
        world.end().await;
    }
}

#[tokio::test]
async fn status_tells_what_the_gate_tells() {
    let world = World::of(|_| Spec::Status);
    let told = world.call("status", json!({})).await.expect("a status");
    assert_eq!(told["upstreams"]["files"]["state"], "ready");
    world.end().await;
}

#[tokio::test]
async fn now_is_told_on_the_clocks_of_a_zone() {
    let world = World::of(|_| Spec::Time);
    assert_eq!(
        world
            .call("now", json!({"timezone": "Europe/Berlin"}))
            .await
            .expect("a time"),
        json!({
            "timezone": "Europe/Berlin", "time": "2026-03-29T00:30:00+01:00", "weekday": "Sunday",
            "utc_offset": "+01:00", "daylight_saving": false,
        })
    );
    let utc = world.call("now", json!({})).await.expect("a time");
    assert_eq!(
        (&utc["timezone"], &utc["time"]),
        (&json!("UTC"), &json!("2026-03-28T23:30:00+00:00"))
    );
    world.end().await;
}

#[tokio::test]
async fn a_time_is_converted_as_clocks_go() {
    let world = World::of(|_| Spec::Time);
    for (time, from, to, expect) in [
        (
            "2026-07-01T15:30",
            "Europe/Berlin",
            "Asia/Tokyo",
            "2026-07-01T22:30:00+09:00",
        ),
        // Today in Berlin is already the 29th.
        ("15:30", "Europe/Berlin", "UTC", "2026-03-29T13:30:00+00:00"),
        (
            "2026-03-29T12:00:00Z",
            "Asia/Tokyo",
            "America/New_York",
            "2026-03-29T08:00:00-04:00",
        ),
        (
            "2026-07-01",
            "UTC",
            "Asia/Kolkata",
            "2026-07-01T05:30:00+05:30",
        ),
    ] {
        let converted = world
            .call("convert", json!({"time": time, "from": from, "to": to}))
            .await
            .expect("a time");
        assert_eq!(converted["to"]["time"], expect, "{time} {from} {to}");
        assert_eq!(converted.get("note"), None, "{time}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_time_that_the_clocks_skip_or_repeat_is_pointed_out() {
    let world = World::of(|_| Spec::Time);
    for (time, expect) in [
        ("2026-03-29T02:30", "2026-03-29T03:30:00+02:00"),
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),
    ] {
        let arguments = json!({"time": time, "from": "Europe/Berlin", "to": "UTC"});
        let converted = world.call("convert", arguments).await.expect("a time");
        assert_eq!(converted["from"]["time"], expect);
        assert!(converted["note"].is_string(), "{time}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_unknown_zone_gets_a_suggestion() {
    let world = World::of(|_| Spec::Time);
    for (wrong, meant) in [
        ("Europe/Berln", "Europe/Berlin"),
        ("berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("Tokio", "Asia/Tokyo"),
    ] {
        let error = world
            .call("now", json!({"timezone": wrong}))
            .await
            .expect_err("no such zone");
        assert!(error.contains(&format!("`{meant}`")), "{wrong}: {error}");
    }
    let error = world
        .call("now", json!({"timezone": "Middle Earth/The Shire"}))
        .await
        .expect_err("no such zone");
    assert!(error.contains("IANA"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn a_note_is_kept_found_replaced_and_deleted() {
    let world = World::of(|_| Spec::Notes);
    let save = json!({"title": "Release plan", "text": "Ship on Friday.", "tags": ["work"]});
    world.call("save", save).await.expect("saved");
    world
        .call("save", json!({"title": "Shopping", "text": "Milk"}))
        .await
        .expect("saved");

    let found = world
        .call("search", json!({"query": "friday"}))
        .await
        .expect("found");
    assert_eq!(found["notes"][0]["title"], "Release plan");
    assert_eq!(found["notes"].as_array().map(Vec::len), Some(1));

    world
        .call(
            "save",
            json!({"title": "Release plan", "text": "Ship on Monday."}),
        )
        .await
        .expect("saved");
    let note = world
        .call("read", json!({"title": "Release plan"}))
        .await
        .expect("a note");
    assert_eq!(
        (&note["text"], &note["tags"]),
        (&json!("Ship on Monday."), &json!([]))
    );
    assert_eq!(note["updated_at"], "2026-03-28T23:30:00Z");
    let listed = world
        .call("list", json!({"limit": 1}))
        .await
        .expect("a list");
    assert_eq!(listed["notes"].as_array().map(Vec::len), Some(1));

    for deleted in [true, false] {
        let answer = world
            .call("delete", json!({"title": "Release plan"}))
            .await
            .expect("an answer");
        assert_eq!(answer["deleted"], deleted);
    }
    let error = world
        .call("read", json!({"title": "Release plan"}))
        .await
        .expect_err("gone");
    assert!(error.contains("`search`"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn a_note_is_its_principals_alone() {
    let world = World::of(|_| Spec::Notes);
    world
        .call("save", json!({"title": "Secret", "text": "only for alice"}))
        .await
        .expect("saved");
    world
        .call_as("bob", "read", json!({"title": "Secret"}))
        .await
        .expect_err("not bob's");
    for (tool, arguments) in [("search", json!({"query": "alice"})), ("list", json!({}))] {
        let found = world
            .call_as("bob", tool, arguments)
            .await
            .expect("an answer");
        assert_eq!(found["notes"], json!([]), "{tool}");
    }
    let deleted = world
        .call_as("bob", "delete", json!({"title": "Secret"}))
        .await
        .expect("an answer");
    assert_eq!(deleted["deleted"], false);
    world
        .call("read", json!({"title": "Secret"}))
        .await
        .expect("still alice's");
    world.end().await;
}

#[tokio::test]
async fn a_note_has_bounds() {
    let world = World::of(|_| Spec::Notes);
    for arguments in [
        json!({"title": " ", "text": ""}),
        json!({"title": "x".repeat(201), "text": ""}),
        json!({"title": "x", "text": "x".repeat(256 * 1024 + 1)}),
        json!({"title": "x", "text": "", "tags": vec!["x"; 33]}),
    ] {
        world.call("save", arguments).await.expect_err("too much");
    }
    world.end().await;
}
