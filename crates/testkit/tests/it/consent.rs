//! Nothing that a person is asked about reaches an upstream before the answer, and what then reaches it is what was
//! asked about. The upstream keeps every byte that it is told.

mod bound;
mod console;
mod shell;
mod unspent;
mod webhook;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gateway::{ConsentError, Yes};
use policy::{Credential, Principal, PrincipalId, Remember, RoleName, Rules, Scopes};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mcp::{call, headers, modern_with, request, response};
use testkit::world::{Exchange, Reply, Session, World, until};

/// `UNCONSENTED` of `docs/reference/errors.md`.
const UNCONSENTED: i64 = -31008;

/// A gate, and an upstream that keeps what it is told.
struct Scene {
    world: World,
    kept: PathBuf,
    _folder: TempDir,
}

/// The usual roles: `alice` calls, `bob` may answer where a rule says `ops`, `root` owns.
const ROLES: &str = r#"
auth.loopback = "off"
builtins = []
roles.owner = { members = ["root"] }
roles.ops = { members = ["bob"] }
roles.agents = { members = ["alice"], allow = ["s.*"], ask = ["s.write", "s.note"] }
"#;

impl Scene {
    async fn of(config: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-consent-")?;
        let kept = folder.path().join("kept");
        let world = World::of(&whole(config, &kept, "")).await?;
        world.ready("s", 0).await?;
        Ok(Self {
            world,
            kept,
            _folder: folder,
        })
    }

    /// The arguments of each call that reached the upstream, byte for byte.
    fn reached(&self) -> Result<Vec<String>> {
        let kept = fs::read_to_string(&self.kept)?;
        let calls = kept.lines().filter(|line| {
            [
                "tools/call",
                "prompts/get",
                "resources/read",
                "resources/subscribe",
            ]
            .iter()
            .any(|method| line.contains(&format!("\"method\":\"{method}\"")))
        });
        calls
            .map(|line| {
                let params = wire::json::member(line.as_bytes(), "params")?.context("no params")?;
                let arguments = wire::json::member(params.get().as_bytes(), "arguments")?;
                Ok(arguments.map_or_else(String::new, |raw| raw.get().to_owned()))
            })
            .collect()
    }

    fn untouched(&self) -> Result<()> {
        let reached = self.reached()?;
        ensure!(reached.is_empty(), "the upstream was told {reached:?}");
        Ok(())
    }
}

fn whole(config: &str, kept: &std::path::Path, what: &str) -> String {
    let kept = kept.display().to_string();
    format!("upstreams.s = {{ stdio = [\"{{ledger}}\", \"s\", {kept:?}, {what:?}] }}\n{config}")
}

/// What a client can do that shows forms.
fn forms() -> Value {
    json!({ "elicitation": {} })
}

/// A modern call of a client that can do so much.
async fn modern(world: &World, who: &str, message: &Value, can: &Value) -> Result<Reply> {
    let message = modern_with(message, can);
    let body = message.to_string();
    let bytes = world.request("POST", who, &headers(&message), body.as_bytes())?;
    world.whole(world.send_raw(&bytes).await?).await
}

/// The form of an *input required*, and the state that goes with it.
fn form(reply: &Reply) -> Result<(Value, Value)> {
    let result = &reply.answer()?["result"];
    ensure!(result["resultType"] == "input_required", "{result}");
    let asked = &result["inputRequests"]["consent"];
    ensure!(asked["method"] == "elicitation/create", "{result}");
    Ok((asked["params"].clone(), result["requestState"].clone()))
}

/// The call again, with an answer to the form.
fn answered(message: &Value, state: &Value, answer: &Value) -> Value {
    let mut message = message.clone();
    message["id"] = json!("again");
    message["params"]["inputResponses"] = json!({ "consent": answer });
    message["params"]["requestState"] = state.clone();
    message
}

fn yes(word: &str) -> Value {
    json!({ "action": "accept", "content": { "answer": word } })
}

/// The id of the request that an answer names.
fn named(reply: &Reply) -> Result<String> {
    let answer = reply.answer()?;
    if let Some(id) = answer["error"]["data"]["request"].as_str() {
        return Ok(id.to_owned());
    }
    ensure!(answer["result"]["isError"] == true, "{answer}");
    let text = reply.text()?;
    let id = text.split_once("Request ").context("no request")?.1;
    Ok(id.split(' ').next().unwrap_or_default().to_owned())
}

/// An owner's yes, said in a browser: no key says it.
pub(crate) async fn owner_agrees(world: &World, id: &str, yes: Yes) -> Result<(), ConsentError> {
    let owner = Principal {
        id: PrincipalId::new("root").expect("a name"),
        roles: BTreeSet::from([RoleName::new(Rules::OWNER).expect("a name")]),
        credential: Credential::Session("browser".to_owned()),
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Arc::default(),
    };
    let given = world.gate().consents().approve(id, &owner, yes).await;
    given.map(|_| ())
}

async fn agree(world: &World, id: &str) -> Result<()> {
    let once = Yes {
        hold: Remember::Once,
        any_arguments: false,
    };
    Ok(owner_agrees(world, id, once).await?)
}

fn long(hours: u64) -> Yes {
    Yes {
        hold: Remember::For(Duration::from_secs(hours * 3600)),
        any_arguments: false,
    }
}

async fn answer(world: &World, who: &str, id: &str, body: &Value) -> Result<u16> {
    let path = format!("/v1/approvals/{id}");
    let (status, _) = world.admin(who, "POST", &path, Some(body)).await?;
    Ok(status)
}

fn write(path: &str) -> Value {
    call(1, "s.write", &json!({ "path": path }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_is_handed_the_question_and_its_retry_brings_the_answer() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let reply = modern(world, "alice", &write("/a"), &forms()).await?;
    let (asked, state) = form(&reply)?;
    scene.untouched()?;
    let message = asked["message"].as_str().context("no message")?;
    for part in ["`write`", "`s`", "/a", "role agents: ask s.write"] {
        ensure!(message.contains(part), "{message}");
    }

    // Nobody else, and nothing else, with that answer.
    let bad: [(&str, Value, Value); 4] = [
        ("alice", write("/b"), state.clone()),
        (
            "alice",
            call(1, "s.read", &json!({ "path": "/a" })),
            json!("forged"),
        ),
        ("root", write("/a"), state.clone()),
        ("alice", write("/a"), json!("forged")),
    ];
    for (who, message, state) in bad {
        let message = answered(&message, &state, &yes("once"));
        let reply = modern(world, who, &message, &forms()).await?;
        let is_refused = reply.code().ok() == Some(-32602);
        let is_owner_s = who == "root" && reply.text().is_ok();
        ensure!(is_refused || is_owner_s, "{who}: {:?}", reply.messages);
    }
    let before = scene.reached()?.len();
    let good = answered(&write("/a"), &state, &yes("once"));
    let reply = modern(world, "alice", &good, &forms()).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    ensure!(scene.reached()?.get(before..) == Some(&["{\"path\":\"/a\"}".to_owned()][..]));

    // Once is once: neither the answer nor the call again.
    let reply = modern(world, "alice", &good, &forms()).await?;
    ensure!(reply.code()? == -32602, "{:?}", reply.messages);
    form(&modern(world, "alice", &write("/a"), &forms()).await?)?;
    ensure!(scene.reached()?.len() == before + 1);

    let records = world.records().await?;
    let of_calls: Vec<_> = records
        .iter()
        .filter(|one| one.row.entry.as_deref() == Some("s.write") && one.row.decision == "ask")
        .collect();
    ensure!(
        of_calls.iter().all(|one| one.row.rule.is_some()),
        "{of_calls:?}"
    );
    let sent = of_calls
        .iter()
        .find(|one| one.row.outcome == store::Outcome::Ok && one.row.reason.is_none());
    let sent = sent.context("no record of the call that was sent")?;
    ensure!(
        sent.row.consent.is_some() && sent.row.definition.is_some(),
        "{sent:?}"
    );
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_for_a_time_holds_for_that_very_call_until_then_or_until_it_is_taken_back()
-> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let agree = async |path: &str, word: &str| {
        let reply = modern(world, "alice", &write(path), &forms()).await?;
        let (_, state) = form(&reply)?;
        let message = answered(&write(path), &state, &yes(word));
        let reply = modern(world, "alice", &message, &forms()).await?;
        ensure!(reply.text()? == "write", "{:?}", reply.messages);
        anyhow::Ok(())
    };
    agree("/a", "for 1 hour").await?;
    // The same, however it is written, by a client that shows no forms.
    let reply = modern(world, "alice", &write("/a"), &json!({})).await?;
    ensure!(reply.text()? == "write");
    form(&modern(world, "alice", &write("/b"), &forms()).await?)?;
    world.advance(Duration::from_secs(3600));
    form(&modern(world, "alice", &write("/a"), &forms()).await?)?;

    agree("/c", "for 30 days").await?;
    let (_, listed) = world.admin("root", "GET", "/v1/consents", None).await?;
    let consents = listed["items"].as_array().context("no list")?;
    let holds = consents.iter().find(|one| one["holds"] == true);
    let id = holds.context("none holds")?["id"]
        .as_str()
        .unwrap_or_default();
    let path = format!("/v1/consents/{id}");
    ensure!(world.admin("bob", "DELETE", &path, None).await?.0 == 404);
    ensure!(world.admin("alice", "DELETE", &path, None).await?.0 == 204);
    ensure!(world.admin("alice", "DELETE", &path, None).await?.0 == 409);
    form(&modern(world, "alice", &write("/c"), &forms()).await?)?;
    ensure!(scene.reached()?.len() == 3);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_and_a_closed_form_send_nothing() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let answers = [
        ("/a", json!({ "action": "decline" }), "said no"),
        ("/b", yes("no"), "said no"),
        ("/c", json!({ "action": "cancel" }), "nobody agreed"),
    ];
    for (path, answer, told) in answers {
        let reply = modern(world, "alice", &write(path), &forms()).await?;
        let (_, state) = form(&reply)?;
        let message = answered(&write(path), &state, &answer);
        let reply = modern(world, "alice", &message, &forms()).await?;
        ensure!(reply.text()?.contains(told), "{:?}", reply.messages);
    }
    // Who said no is not asked the same again at once.
    let reply = modern(world, "alice", &write("/a"), &forms()).await?;
    ensure!(reply.text()?.contains("said no"), "{:?}", reply.messages);
    form(&modern(world, "alice", &write("/c"), &forms()).await?)?;
    let reply = modern(world, "alice", &write("/d"), &forms()).await?;
    let (_, state) = form(&reply)?;
    let odd = answered(&write("/d"), &state, &yes("for ever"));
    ensure!(modern(world, "alice", &odd, &forms()).await?.code()? == -32602);
    world.advance(Duration::from_secs(15 * 60));
    let late = answered(&write("/d"), &state, &yes("once"));
    ensure!(modern(world, "alice", &late, &forms()).await?.code()? == -32602);
    scene.untouched()?;
    scene.world.end().await
}

/// The next message of a stream, which must be a question for a person.
async fn question(stream: &mut Exchange) -> Result<Value> {
    let question = stream.event().await?.context("the stream ended")?;
    ensure!(question["method"] == "elicitation/create", "{question}");
    Ok(question)
}

async fn say(world: &World, session: &Session, question: &Value, answer: &Value) -> Result<()> {
    let reply = world
        .post_in(session, &response(&question["id"], answer))
        .await?;
    ensure!(reply.status == 202, "status {}", reply.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_is_asked_on_its_stream_while_the_call_waits() -> Result<()> {
    for revision in ["2025-06-18", "2025-11-25"] {
        let scene = Scene::of(ROLES).await?;
        let world = &scene.world;
        let session = world.open_with("alice", revision, &forms()).await?;
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s.write","arguments":{ "pages" : 1.0e1, "path":"\u002fa" }}}"#;
        let bytes = world.request("POST", "alice", &session.headers(), text.as_bytes())?;
        let mut stream = world.send_raw(&bytes).await?;
        let asked = question(&mut stream).await?;
        scene.untouched()?;
        say(world, &session, &asked, &yes("this session")).await?;
        let reply = world.whole(stream).await?;
        ensure!(reply.text()? == "write", "{:?}", reply.messages);
        // What was asked about is what was sent, to the byte.
        let sent = r#"{ "pages" : 1.0e1, "path":"\u002fa" }"#;
        ensure!(scene.reached()? == [sent], "{:?}", scene.reached()?);

        // In this session it holds, in another it does not.
        let again = call(2, "s.write", &json!({ "pages": 10, "path": "/a" }));
        let reply = world.post_in(&session, &again).await?;
        ensure!(reply.text()? == "write", "{:?}", reply.messages);
        let other = world.open_with("alice", revision, &forms()).await?;
        let mut stream = world.begin_in(&other, &again).await?;
        let asked = question(&mut stream).await?;
        say(world, &other, &asked, &json!({ "action": "decline" })).await?;
        ensure!(world.whole(stream).await?.text()?.contains("said no"));
        ensure!(scene.reached()?.len() == 2);
        scene.world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_first_has_said_it() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let session = world.open_with("alice", "2025-11-25", &forms()).await?;
    let mut stream = world.begin_in(&session, &write("/a")).await?;
    question(&mut stream).await?;
    let (_, listed) = world.admin("root", "GET", "/v1/approvals", None).await?;
    let id = listed["items"][0]["id"].as_str().context("nothing waits")?;
    ensure!(listed["items"][0]["state"] == "open", "{listed}");
    agree(world, id).await?;
    let reply = world.whole(stream).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    ensure!(answer(world, "root", id, &json!({ "answer": "deny" })).await? == 409);
    ensure!(scene.reached()?.len() == 1);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_forms_is_told_the_request_and_calls_again_once_it_is_approved()
-> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let none = json!({});
    let session = world.open("alice", "2025-03-26").await?;
    let reply = modern(world, "alice", &write("/a"), &none).await?;
    let id = named(&reply)?;
    // The same question is one request, whoever of its clients asks it.
    ensure!(named(&modern(world, "alice", &write("/a"), &none).await?)? == id);
    let in_session = named(&world.post_in(&session, &write("/a")).await?)?;
    ensure!(in_session != id);
    scene.untouched()?;

    // What an agent holds is no person; nor is anybody whom it does not concern.
    let approve = json!({ "answer": "approve" });
    ensure!(answer(world, "alice", &id, &approve).await? == 403);
    ensure!(answer(world, "bob", &id, &approve).await? == 404);
    ensure!(answer(world, "root", "0123456789ab", &approve).await? == 404);
    // Not even an owner's key: with it an agent would make itself somebody who may.
    ensure!(answer(world, "root", &id, &approve).await? == 403);
    let too_long = owner_agrees(world, &id, long(365 * 24)).await;
    ensure!(
        matches!(too_long, Err(ConsentError::TooLong(_))),
        "{too_long:?}"
    );
    let (status, shown) = world
        .admin("alice", "GET", &format!("/v1/approvals/{id}"), None)
        .await?;
    ensure!(status == 200 && shown["state"] == "open", "{shown}");
    ensure!(
        shown["arguments"]
            .as_str()
            .unwrap_or_default()
            .contains("/a"),
        "{shown}"
    );
    scene.untouched()?;

    agree(world, &id).await?;
    ensure!(modern(world, "alice", &write("/a"), &none).await?.text()? == "write");
    named(&modern(world, "alice", &write("/a"), &none).await?)?;
    ensure!(scene.reached()?.len() == 1);

    // With any arguments, until it is taken back.
    let id = named(&modern(world, "alice", &write("/b"), &none).await?)?;
    let any = Yes {
        any_arguments: true,
        ..long(1)
    };
    owner_agrees(world, &id, any).await?;
    for path in ["/b", "/c"] {
        ensure!(modern(world, "alice", &write(path), &none).await?.text()? == "write");
    }
    let path = format!("/v1/consents/{id}");
    ensure!(world.admin("root", "DELETE", &path, None).await?.0 == 204);
    named(&modern(world, "alice", &write("/c"), &none).await?)?;
    ensure!(scene.reached()?.len() == 3);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_and_resources_are_asked_about_too() -> Result<()> {
    let private = "[consent]\nprivate = [\"s.s://open\"]\n";
    let scene = Scene::of(&format!("{ROLES}{private}")).await?;
    let world = &scene.world;
    let none = json!({});
    let prompt = request(
        1,
        "prompts/get",
        &json!({ "name": "s.note", "arguments": { "to": "Ada" } }),
    );
    let read = request(1, "resources/read", &json!({ "uri": "s://open" }));
    for message in [&prompt, &read] {
        let reply = modern(world, "alice", message, &none).await?;
        ensure!(reply.code()? == UNCONSENTED, "{:?}", reply.messages);
        scene.untouched()?;
        let id = named(&reply)?;
        ensure!(answer(world, "root", &id, &json!({ "answer": "deny" })).await? == 200);
        let reply = modern(world, "alice", message, &forms()).await?;
        ensure!(reply.code()? == UNCONSENTED, "{:?}", reply.messages);
    }
    world.advance(Duration::from_secs(15 * 60));
    for message in [&prompt, &read] {
        let (_, state) = form(&modern(world, "alice", message, &forms()).await?)?;
        let again = answered(message, &state, &yes("once"));
        let reply = modern(world, "alice", &again, &forms()).await?;
        ensure!(
            reply.answer()?["result"].is_object(),
            "{:?}",
            reply.messages
        );
    }
    ensure!(scene.reached()?.len() == 2);
    let session = world.open("alice", "2025-11-25").await?;
    let watch = request(3, "resources/subscribe", &json!({ "uri": "s://open" }));
    let reply = world.post_in(&session, &watch).await?;
    ensure!(reply.code()? == UNCONSENTED, "{:?}", reply.messages);
    ensure!(scene.reached()?.len() == 2);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_calls_destructive_is_asked_about_unless_the_config_says_otherwise()
-> Result<()> {
    let free = "roles.free = { members = [\"carol\"], allow = [\"s.*\"] }\n";
    let scene = Scene::of(&format!("{ROLES}{free}")).await?;
    let world = &scene.world;
    let none = json!({});
    let erase = call(1, "s.erase", &json!({ "path": "/a" }));
    let reply = modern(world, "carol", &erase, &none).await?;
    named(&reply)?;
    let (asked, _) = form(&modern(world, "carol", &erase, &forms()).await?)?;
    ensure!(
        asked.to_string().contains("consent: destructive"),
        "{asked}"
    );
    scene.untouched()?;
    ensure!(modern(world, "carol", &write("/a"), &none).await?.text()? == "write");
    let other = format!("{ROLES}{free}[consent]\ndestructive = \"allow\"\n");
    world.reload(&whole(&other, &scene.kept, ""))?;
    ensure!(modern(world, "carol", &erase, &none).await?.text()? == "erase");
    ensure!(scene.reached()?.len() == 2);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_definition_is_another_question() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let none = json!({});
    let world = &scene.world;
    let id = named(&modern(world, "alice", &write("/a"), &none).await?)?;
    owner_agrees(world, &id, long(24)).await?;
    ensure!(modern(world, "alice", &write("/a"), &none).await?.text()? == "write");
    let reached = scene.reached()?.len();
    let Scene {
        world,
        kept,
        _folder,
    } = scene;
    // The yes outlives the gate; the upstream's new words do not have it.
    let world = world.restart(&whole(ROLES, &kept, "")).await?;
    world.ready("s", 0).await?;
    ensure!(modern(&world, "alice", &write("/a"), &none).await?.text()? == "write");
    let world = world
        .restart(&whole(
            ROLES,
            &kept,
            "It also sends what it writes elsewhere",
        ))
        .await?;
    world.ready("s", 0).await?;
    let scene = Scene {
        world,
        kept,
        _folder,
    };
    let reply = modern(&scene.world, "alice", &write("/a"), &none).await?;
    ensure!(reply.text().ok() != Some("write"), "{:?}", reply.messages);
    ensure!(scene.reached()?.len() == reached + 1);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_outlives_the_gate_that_made_it() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let none = json!({});
    let id = named(&modern(&scene.world, "alice", &write("/a"), &none).await?)?;
    let Scene {
        world,
        kept,
        _folder,
    } = scene;
    let world = world.restart(&whole(ROLES, &kept, "")).await?;
    world.ready("s", 0).await?;
    let scene = Scene {
        world,
        kept,
        _folder,
    };
    let world = &scene.world;
    agree(world, &id).await?;
    ensure!(modern(world, "alice", &write("/a"), &none).await?.text()? == "write");
    ensure!(scene.reached()? == ["{\"path\":\"/a\"}"]);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_says_it_can_wait_goes_on_when_somebody_approves() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let mut message = write("/a");
    message["params"]["_meta"] = json!({ "progressToken": "p" });
    let mut stream = world.begin("alice", &message).await?;
    let told = stream.event().await?.context("the stream ended")?;
    ensure!(told["params"]["progressToken"] == "p", "{told}");
    scene.untouched()?;
    let (_, listed) = world.admin("root", "GET", "/v1/approvals", None).await?;
    let id = listed["items"][0]["id"].as_str().context("nothing waits")?;
    agree(world, id).await?;
    let reply = world.whole(stream).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    ensure!(scene.reached()?.len() == 1);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_is_cut_off() -> Result<()> {
    let scene = Scene::of(&format!("{ROLES}[consent]\nopen_max = 3\nper_hour = 5\n")).await?;
    let world = &scene.world;
    let none = json!({});
    let mut ids = Vec::new();
    for nth in 0..3 {
        ids.push(named(
            &modern(world, "alice", &write(&format!("/{nth}")), &none).await?,
        )?);
    }
    for can in [none.clone(), forms()] {
        let reply = modern(world, "alice", &write("/more"), &can).await?;
        ensure!(
            reply.text()?.contains("too much was asked"),
            "{:?}",
            reply.messages
        );
    }
    // What is open already is asked once more.
    ensure!(named(&modern(world, "alice", &write("/0"), &none).await?)? == ids[0]);
    for id in &ids {
        ensure!(answer(world, "root", id, &json!({ "answer": "deny" })).await? == 200);
    }
    for nth in 3..5 {
        named(&modern(world, "alice", &write(&format!("/{nth}")), &none).await?)?;
    }
    let reply = modern(world, "alice", &write("/more"), &none).await?;
    ensure!(
        reply.text()?.contains("too much was asked"),
        "{:?}",
        reply.messages
    );
    world.advance(Duration::from_secs(3600));
    named(&modern(world, "alice", &write("/more"), &none).await?)?;
    scene.untouched()?;
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_readers_take_differently_are_not_asked_about() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let session = world.open("alice", "2025-11-25").await?;
    for number in ["18446744073709551616", "9007199254740993.0"] {
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"s.write\",\"arguments\":{{\"x\":{number}}}}}}}"
        );
        let bytes = world.request("POST", "alice", &session.headers(), text.as_bytes())?;
        let reply = world.whole(world.send_raw(&bytes).await?).await?;
        ensure!(reply.code()? == -32602, "{:?}", reply.messages);
    }
    scene.untouched()?;
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_agreed_to_goes_on_when_the_upstream_wants_to_know_something() -> Result<()> {
    let config = r#"
builtins = []
upstreams.q = { stdio = ["{scripted}"] }
roles.agents = { members = ["alice"], ask = ["q.*"] }
"#;
    let world = World::of(config).await?;
    world.ready("q", 0).await?;
    let ask = call(1, "q.ask_form", &json!({}));
    let (_, state) = form(&modern(&world, "alice", &ask, &forms()).await?)?;
    let agreed = answered(&ask, &state, &yes("once"));
    let reply = modern(&world, "alice", &agreed, &forms()).await?;
    let result = reply.answer()?["result"].clone();
    ensure!(result["resultType"] == "input_required", "{result}");
    let requests = result["inputRequests"].as_object().context("no requests")?;
    let (key, theirs) = requests.iter().next().context("nothing is asked")?;
    ensure!(theirs["params"]["message"] == "Who are you?", "{theirs}");
    let mut again = ask.clone();
    let ada = json!({ "action": "accept", "content": { "name": "Ada" } });
    again["params"]["inputResponses"] = json!({ key.as_str(): ada });
    again["params"]["requestState"] = result["requestState"].clone();
    let reply = modern(&world, "alice", &again, &forms()).await?;
    ensure!(reply.text()?.contains("Ada"), "{:?}", reply.messages);
    // Not once more.
    let reply = modern(&world, "alice", &again, &forms()).await?;
    ensure!(reply.code()? == -32602, "{:?}", reply.messages);
    until("the call is over", async || {
        Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
    })
    .await?;
    world.end().await
}
