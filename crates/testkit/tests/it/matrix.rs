//! Every kind of rule with everything that rules speak of, for every kind of caller: a file each under `cases/rules`.
//!
//! A file has the rules of three callers, and requests with what each of five gets. All of them ask the same from
//! outside; what comes back, what lists show, what the record says and what reached an upstream must agree with it.
//! What there must be files for is `cells`, what stands in them `page`, and who is asked `scene`.

mod cells;
mod page;
mod scene;

use anyhow::{Context as _, Result, ensure};
use policy::rules::{About, Effect};
use serde_json::{Map, Value};

use self::cells::{Caller, Kind, Subject, uncovered};
use self::page::{Ask, Outcome};
use self::scene::{Scene, Seen};

/// `DENIED` and `UNCONSENTED` of `docs/reference/errors.md`.
const DENIED: i64 = -31007;
const UNCONSENTED: i64 = -31008;
/// What stands in the place of a name that exists nowhere.
const NOWHERE: &str = "nowhere";

/// All files of one kind of rule, in one gate.
async fn run(kind: Kind) -> Result<()> {
    let mut scene = Scene::open().await?;
    let mut faults = Vec::new();
    for &subject in Subject::ALL {
        let Some(page) = page::read(kind, subject)? else {
            continue;
        };
        let place = format!("cases/rules/{}/{}.toml", kind.word(), subject.word());
        ensure!(!page.about.is_empty(), "{place} says nothing");
        if page.takes_time() {
            // Time does not go back.
            scene.close().await?;
            scene = Scene::open().await?;
        }
        scene.set(subject, &page).await.context(place.clone())?;
        for (number, ask) in page.asks.iter().enumerate() {
            scene.wait(ask)?;
            let subject = ask.subject.unwrap_or(subject);
            for (&caller, &expected) in &ask.expect {
                let seen = scene.ask(caller, subject, ask).await?;
                let held = hold(&mut scene, caller, subject, ask, expected, &seen).await;
                let shown = shown(&mut scene, caller, subject, ask, expected).await;
                // All of them, so that one run tells everything.
                for error in [held, shown].into_iter().filter_map(Result::err) {
                    let (number, who) = (number + 1, caller.word());
                    faults.push(format!(
                        "{place}: request {number}, {who}: {error:#}\n{seen:?}"
                    ));
                }
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n\n"));
    scene.close().await
}

/// Holds what came against what was expected.
async fn hold(
    scene: &mut Scene,
    caller: Caller,
    subject: Subject,
    ask: &Ask,
    expected: Outcome,
    seen: &Seen,
) -> Result<()> {
    let is_admin = subject == Subject::Admin;
    let code = seen.answer["error"]["code"].as_i64();
    let decision = seen.decision.as_deref();
    match expected {
        Outcome::Unauthenticated => ensure!(seen.status == 401, "somebody is known"),
        Outcome::NoServer => {
            let other = Ask {
                server: Some(NOWHERE.to_owned()),
                ..ask.clone()
            };
            let there = scene.ask(caller, subject, &other).await?;
            let words = |seen: &Seen| (seen.status, seen.answer["error"]["message"].clone());
            ensure!(
                seen.status == 404 && words(seen) == words(&there),
                "the server shows"
            );
        }
        Outcome::Unknown | Outcome::Hidden => {
            let said = if expected == Outcome::Hidden {
                "deny"
            } else {
                "unseen"
            };
            ensure!(decision == Some(said), "the decision is not `{said}`");
            ensure!(!is_admin, "what the admin API has is no secret");
            let other = nowhere(ask);
            let there = scene.ask(caller, subject, &other).await?;
            let words = |seen: &Seen, ask: &Ask| {
                let mut answer = seen.answer.clone();
                answer["error"]["data"]["call"] = Value::Null;
                let mut text = answer.to_string();
                for name in names(&ask.params) {
                    text = text.replace(name.as_str().unwrap_or_default(), "NAME");
                }
                (seen.status, text)
            };
            let (here, there) = (words(seen, ask), words(&there, &other));
            ensure!(
                code.is_some() && here == there,
                "it shows: {here:?}, but {there:?}"
            );
        }
        Outcome::Refused => {
            // Who has no rule for any of the admin API is refused before one is looked for.
            let is_decided = match decision {
                Some("deny" | "unseen") => true,
                Some("allow" | "ask") => false,
                _ => is_admin,
            };
            ensure!(is_decided, "not decided");
            let is_refused = if is_admin {
                seen.status == 403
            } else {
                code == Some(DENIED)
            };
            ensure!(is_refused, "not refused");
        }
        Outcome::Asked => {
            ensure!(decision == Some("ask"), "nobody is asked");
            let is_asked = match subject {
                Subject::Admin => seen.status == 403,
                Subject::Tool => text(seen).is_some_and(|text| text.contains("agree first")),
                _ => code == Some(UNCONSENTED),
            };
            ensure!(is_asked, "not put off");
        }
        Outcome::Answered => {
            ensure!(decision == Some("allow"), "not allowed");
            let is_answered = if is_admin {
                seen.status == 200
            } else {
                seen.answer["result"].is_object() && seen.answer["result"]["isError"] != true
            };
            ensure!(is_answered, "no answer");
        }
    }
    let reached: &[&str] = match expected {
        Outcome::Answered if !is_admin => &[&ask.method],
        _ => &[],
    };
    ensure!(
        seen.reached == reached,
        "not what should reach the upstream"
    );
    Ok(())
}

/// That a list shows it just where it may be seen.
async fn shown(
    scene: &mut Scene,
    caller: Caller,
    subject: Subject,
    ask: &Ask,
    expected: Outcome,
) -> Result<()> {
    let may_see = match expected {
        Outcome::Unauthenticated | Outcome::NoServer => return Ok(()),
        Outcome::Unknown | Outcome::Hidden => false,
        Outcome::Refused | Outcome::Asked | Outcome::Answered => true,
    };
    let Some(listed) = scene.list(caller, subject, ask).await? else {
        return Ok(());
    };
    let name = match subject {
        Subject::Template => match names(&ask.params).next().and_then(Value::as_str) {
            Some(uri) if uri.starts_with("ledger://shelf/") => "ledger://shelf/{number}",
            Some(uri) if uri.starts_with("papers://page/") => "papers://page/{number}",
            _ => "ledger://page/{number}",
        },
        _ => names(&ask.params)
            .next()
            .and_then(Value::as_str)
            .context("no name")?,
    };
    let is_shown = listed.iter().any(|entry| entry == name);
    ensure!(
        is_shown == may_see,
        "`{name}` is listed: {is_shown}, in {listed:?}"
    );
    Ok(())
}

/// What a tool's own failure says.
fn text(seen: &Seen) -> Option<&str> {
    let result = &seen.answer["result"];
    let text = result["content"][0]["text"].as_str();
    text.filter(|_| result["isError"] == true)
}

/// The members by which a request says what it is about.
fn names(params: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let inner = params.get("ref").and_then(Value::as_object);
    let members = [Some(params), inner].into_iter().flatten();
    members.flat_map(|members| {
        ["name", "uri", "taskId"]
            .map(|key| members.get(key))
            .into_iter()
            .flatten()
    })
}

/// The same request for something that is nowhere.
fn nowhere(ask: &Ask) -> Ask {
    let mut ask = ask.clone();
    let renamed = |members: &mut Map<String, Value>| {
        for (key, mark) in [("name", "."), ("uri", "://"), ("taskId", "")] {
            if let Some(name) = members.get_mut(key) {
                let text = name.as_str().unwrap_or_default();
                let rest = text.split_once(mark).map_or("", |(_, rest)| rest);
                *name = [NOWHERE, mark, rest].concat().into();
            }
        }
    };
    renamed(&mut ask.params);
    if let Some(Value::Object(inner)) = ask.params.get_mut("ref") {
        renamed(inner);
    }
    ask
}

macro_rules! kinds {
    ($($test:ident: $kind:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() -> Result<()> {
                run(Kind::$kind).await
            }
        )*
        /// The kinds of rules that a test runs: no other than there are, and all.
        const RUN: &[Kind] = &[$(Kind::$kind,)*];
    };
}

kinds! {
    a_pattern_decides: Pattern,
    a_pattern_of_a_virtual_server_decides: Server,
    a_table_speaks_of_one_kind_of_thing: Table,
    a_condition_over_arguments_decides: Arguments,
    a_condition_over_claims_decides: Claims,
    a_condition_over_the_client_decides: Client,
    a_condition_over_time_decides: Time,
    a_condition_over_annotations_decides: Annotations,
    a_condition_over_the_upstream_decides: Upstream,
}

#[test]
fn no_kind_of_rule_is_without_a_file_for_everything_it_can_speak_of() -> Result<()> {
    let missing = uncovered(&page::read_all()?);
    assert!(missing.is_empty(), "no file covers {missing:#?}");
    let strays = page::strays()?;
    assert!(strays.is_empty(), "nobody reads {strays:?}");
    assert_eq!(RUN, Kind::ALL);
    // What rules can be about, and what they can do, is in the matrix.
    let covered: Vec<&Subject> = About::ALL.into_iter().flat_map(cells::subjects).collect();
    assert!(
        Subject::ALL
            .iter()
            .all(|subject| covered.contains(&subject))
    );
    let callers = [Effect::Allow, Effect::Ask, Effect::Deny].map(cells::caller);
    assert!(callers.iter().all(|caller| Caller::ALL.contains(caller)));
    Ok(())
}

/// A cell that nobody wrote down is noticed.
#[test]
fn a_cell_without_a_file_is_named() -> Result<()> {
    let mut pages = page::read_all()?;
    pages.remove(&(Kind::Pattern, Subject::Tool));
    if let Some(page) = pages.get_mut(&(Kind::Pattern, Subject::Prompt)) {
        for ask in &mut page.asks {
            ask.expect.remove(&Caller::Stranger);
        }
    }
    let missing = uncovered(&pages);
    assert_eq!(missing.len(), Caller::ALL.len() + 1);
    assert!(missing.contains("pattern prompt stranger"), "{missing:?}");
    assert!(missing.contains("pattern tool denied"), "{missing:?}");
    Ok(())
}
