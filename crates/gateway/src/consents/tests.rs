//! Who may answer what, which yes still holds, and which texts are the same question.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use policy::{Ask, RoleName, RuleId, Scopes};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A clock that is set by hand.
#[derive(Debug, Default)]
struct Hands(Mutex<Duration>);

impl Clock for Hands {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000) + *self.0.lock()
    }
}

struct Room {
    _folder: TempDir,
    clock: Arc<Hands>,
    consents: Consents,
}

impl Room {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("gate.db")).unwrap();
        let clock = Arc::new(Hands::default());
        let consents = Consents::new(store, Arc::clone(&clock) as Arc<dyn Clock>);
        Self {
            _folder: folder,
            clock,
            consents,
        }
    }

    async fn ask(&self, question: &Question) -> String {
        let settings = ConsentSettings::default();
        match self.consents.ask(question, &settings).await.unwrap() {
            Asking::Open { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn later(&self, by: Duration) {
        *self.clock.0.lock() += by;
    }
}

fn somebody(id: &str, roles: &[&str], credential: Credential) -> Principal {
    Principal {
        id: PrincipalId::new(id).unwrap(),
        roles: roles
            .iter()
            .map(|role| RoleName::new(role).unwrap())
            .collect(),
        credential,
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Arc::default(),
    }
}

fn key(id: &str, roles: &[&str]) -> Principal {
    somebody(id, roles, Credential::ApiKey("k".to_owned()))
}

fn browser(id: &str, roles: &[&str]) -> Principal {
    somebody(id, roles, Credential::Session("s".to_owned()))
}

fn question(terms: Terms, sent: &Value, definition: &str) -> Question {
    let alice = key("alice", &["agents"]);
    let deed = Deed {
        principal: &alice,
        server: None,
        method: "tools/call",
        upstream: "files",
        entry: "delete",
        definition,
        sent,
    };
    let ask = Ask {
        rule: RuleId::new("role agents: ask files.*"),
        terms: Arc::new(terms),
    };
    Question::new(deed, &ask, "client/1", None)
}

fn once() -> Yes {
    Yes {
        hold: Remember::Once,
        any_arguments: false,
    }
}

#[test]
fn a_number_that_readers_could_take_for_another_is_found() {
    for exact in [
        "{}",
        r#"{"a":9223372036854775807,"b":18446744073709551615,"c":-9223372036854775808}"#,
        r#"{"a":0.1,"b":1.50,"c":-0.0,"d":1e2,"e":2.5E-3,"f":0.30000000000000004,"g":1.7976931348623157e308}"#,
        r#"{"99999999999999999999":"99999999999999999999 \" 99999999999999999999","x":"\\"}"#,
    ] {
        assert_eq!(inexact_number(exact), None, "{exact}");
    }
    for (text, number) in [
        (r#"{"a":18446744073709551616}"#, "18446744073709551616"),
        (r#"["\"",-9223372036854775809]"#, "-9223372036854775809"),
        (r#"{"a":9007199254740993.0}"#, "9007199254740993.0"),
        (r#"{"a":0.1000000000000000055}"#, "0.1000000000000000055"),
        (r#"{"a":1e400}"#, "1e400"),
        (r#"{"a":1e-400}"#, "1e-400"),
    ] {
        assert_eq!(inexact_number(text), Some(number), "{text}");
    }
}

#[test]
fn what_means_the_same_is_the_same_question_and_nothing_else() {
    let fingerprint = |text: &str, definition| {
        let sent: Value = serde_json::from_str(text).unwrap();
        question(Terms::default(), &sent, definition).fingerprint()
    };
    let one = fingerprint(r#"{"a":1,"b":[2.0,"é"]}"#, "{\"name\":\"delete\"}");
    assert_eq!(
        one,
        fingerprint(
            r#" { "b" : [ 2, "\u00e9" ], "a": 1e0 } "#,
            "{\"name\":\"delete\"}"
        )
    );
    for (other, definition) in [
        (r#"{"a":1,"b":["é",2]}"#, "{\"name\":\"delete\"}"),
        (r#"{"a":"1","b":[2,"é"]}"#, "{\"name\":\"delete\"}"),
        (r#"{"a":1,"b":[2,"é"],"c":null}"#, "{\"name\":\"delete\"}"),
        (
            r#"{"a":1,"b":[2,"é"]}"#,
            "{\"name\":\"delete\",\"title\":\"x\"}",
        ),
    ] {
        assert_ne!(one, fingerprint(other, definition), "{other} {definition}");
    }
    assert_ne!(
        fingerprint("[9007199254740993]", "{}"),
        fingerprint("[9007199254740992]", "{}")
    );
}

#[tokio::test]
async fn only_those_whom_the_rule_lets_may_answer() {
    let approvers = BTreeSet::from([RoleName::new("ops").unwrap()]);
    let plain = Terms::default();
    let by_role = Terms {
        approvers: approvers.clone(),
        ..Terms::default()
    };
    let by_other = Terms {
        other_person: true,
        ..Terms::default()
    };
    let cases = [
        (&plain, browser("alice", &[]), true),
        (&plain, key("alice", &[]), false),
        (&plain, key("alice", &["owner"]), false),
        (&plain, key("root", &["owner"]), false),
        (&plain, browser("root", &["owner"]), true),
        (&plain, browser("bob", &["ops"]), false),
        (&by_role, browser("alice", &[]), false),
        (&by_role, browser("alice", &["ops"]), true),
        (&by_role, key("bob", &["ops"]), false),
        (&by_role, browser("bob", &["ops"]), true),
        (&by_role, browser("root", &["owner"]), true),
        (&by_other, browser("alice", &["owner"]), false),
        (&by_other, browser("bob", &[]), false),
        (&by_other, key("root", &["owner"]), false),
        (&by_other, browser("root", &["owner"]), true),
    ];
    for (terms, who, may) in cases {
        let room = Room::new();
        let id = room.ask(&question(terms.clone(), &json!({}), "{}")).await;
        let given = room.consents.approve(&id, &who, once()).await;
        assert_eq!(given.is_ok(), may, "{terms:?} {who:?} {given:?}");
    }
}

#[tokio::test]
async fn a_yes_is_void_once_the_rule_names_others() {
    let of = |roles: &[&str]| {
        let approvers = roles.iter().map(|role| RoleName::new(role).unwrap());
        let terms = Terms {
            longest: Remember::For(Duration::from_secs(3600)),
            approvers: approvers.collect(),
            ..Terms::default()
        };
        question(terms, &json!({}), "{}")
    };
    let yes = Yes {
        hold: Remember::For(Duration::from_secs(3600)),
        any_arguments: false,
    };
    let ops = browser("bob", &["ops"]);
    let (nobody, some, more) = (of(&[]), of(&["ops"]), of(&["ops", "security"]));
    let cases = [
        (&nobody, browser("alice", &[]), &nobody, true),
        (&nobody, browser("alice", &[]), &some, false),
        (&nobody, browser("root", &["owner"]), &some, false),
        (&some, ops.clone(), &some, true),
        (&some, ops.clone(), &more, true),
        (&some, ops.clone(), &nobody, true),
        (&more, ops, &some, false),
    ];
    for (asked, who, now, holds) in cases {
        let room = Room::new();
        let id = room.ask(asked).await;
        room.consents.approve(&id, &who, yes).await.unwrap();
        let found = room.consents.find(now).await.unwrap();
        let terms = (&asked.terms, &now.terms);
        assert_eq!(found.is_some(), holds, "{who:?} {terms:?}");
    }
    // An open request is asked anew, and its old form says nothing any more.
    let room = Room::new();
    let id = room.ask(&nobody).await;
    assert_ne!(room.ask(&some).await, id);
    let said = Said::Yes(Remember::Once);
    let settled = room.consents.settle(&nobody, &id, said).await;
    assert_eq!(settled.unwrap(), None);
}

#[tokio::test]
async fn a_call_that_is_not_shown_whole_is_agreed_to_alone() {
    let room = Room::new();
    let terms = Terms {
        longest: Remember::For(Duration::from_secs(3600)),
        ..Terms::default()
    };
    let asked = question(terms, &json!({ "a": "x".repeat(5_000) }), "{}");
    let id = room.ask(&asked).await;
    let alice = browser("alice", &[]);
    let any = Yes {
        any_arguments: true,
        ..once()
    };
    let given = room.consents.approve(&id, &alice, any).await;
    assert!(matches!(given, Err(ConsentError::NotShown)), "{given:?}");
    let long = Yes {
        hold: Remember::For(Duration::from_secs(60)),
        any_arguments: false,
    };
    let given = room.consents.approve(&id, &alice, long).await;
    assert!(matches!(given, Err(ConsentError::TooLong(_))), "{given:?}");
    room.consents.approve(&id, &alice, once()).await.unwrap();
}

#[tokio::test]
async fn a_yes_holds_no_longer_than_its_rule_lets_it() {
    let room = Room::new();
    let hour = Duration::from_secs(3600);
    let day = |longest| {
        question(
            Terms {
                longest,
                ..Terms::default()
            },
            &json!({}),
            "{}",
        )
    };
    let asked = day(Remember::For(2 * hour));
    let id = room.ask(&asked).await;
    let root = browser("root", &["owner"]);
    let yes = |span| Yes {
        hold: Remember::For(span),
        any_arguments: false,
    };
    let late = room.consents.approve(&id, &root, yes(3 * hour)).await;
    assert!(matches!(late, Err(ConsentError::TooLong(_))), "{late:?}");
    let session = Yes {
        hold: Remember::Session,
        any_arguments: false,
    };
    let nowhere = room.consents.approve(&id, &root, session).await;
    assert!(
        matches!(nowhere, Err(ConsentError::NoSession)),
        "{nowhere:?}"
    );
    room.consents
        .approve(&id, &root, yes(2 * hour))
        .await
        .unwrap();
    let holds = async |question: &Question| {
        let found = room.consents.find(question).await;
        found.unwrap().is_some()
    };
    room.later(hour);
    assert!(holds(&asked).await);
    // The rule became stricter since.
    assert!(!holds(&day(Remember::For(hour))).await);
    assert!(!holds(&day(Remember::Once)).await);
    room.later(hour);
    assert!(!holds(&asked).await);
}

#[tokio::test]
async fn what_one_principal_asks_is_no_business_of_another() {
    let room = Room::new();
    let id = room
        .ask(&question(Terms::default(), &json!({}), "{}"))
        .await;
    let bob = browser("bob", &["ops"]);
    assert!(room.consents.requests(&bob).unwrap().is_empty());
    let denied = room.consents.deny(&id, &bob).await;
    assert!(
        matches!(denied, Err(ConsentError::Unknown(_))),
        "{denied:?}"
    );
    let alice = browser("alice", &[]);
    assert_eq!(room.consents.requests(&alice).unwrap().len(), 1);
    room.consents.approve(&id, &alice, once()).await.unwrap();
    let ended = room.consents.revoke(&id, &bob).await;
    assert!(matches!(ended, Err(ConsentError::Unknown(_))), "{ended:?}");
    room.consents.revoke(&id, &alice).await.unwrap();
    let again = room.consents.revoke(&id, &alice).await;
    assert!(matches!(again, Err(ConsentError::Over(_))), "{again:?}");
}

#[tokio::test]
async fn a_no_stands_for_a_while() {
    let room = Room::new();
    let asked = question(Terms::default(), &json!({}), "{}");
    let settings = ConsentSettings::default();
    let id = room.ask(&asked).await;
    room.consents
        .deny(&id, &browser("alice", &[]))
        .await
        .unwrap();
    let again = room.consents.ask(&asked, &settings).await.unwrap();
    assert_eq!(again, Asking::Refused(id.clone()));
    room.later(settings.expires);
    assert_ne!(room.ask(&asked).await, id);
}

#[tokio::test]
async fn a_yes_for_one_call_is_used_up_by_the_first_that_is_made() {
    let room = Room::new();
    let asked = question(Terms::default(), &json!({}), "{}");
    let id = room.ask(&asked).await;
    let alice = browser("alice", &[]);
    room.consents.approve(&id, &alice, once()).await.unwrap();
    let find = async || room.consents.find(&asked).await.unwrap();
    let (one, other) = (find().await.unwrap(), find().await.unwrap());
    assert!(room.consents.spend(&one).await.unwrap());
    assert!(!room.consents.spend(&other).await.unwrap());
    assert_eq!(find().await, None);

    // Nor is one made with a yes that was taken back while it waited.
    let id = room.ask(&asked).await;
    room.consents.approve(&id, &alice, once()).await.unwrap();
    let found = find().await.unwrap();
    room.consents.revoke(&id, &alice).await.unwrap();
    assert!(!room.consents.spend(&found).await.unwrap());
}

#[tokio::test]
async fn the_yes_of_a_form_is_for_one_call_and_not_lost_before_it_is_made() {
    let room = Room::new();
    let asked = question(Terms::default(), &json!({}), "{}");
    let id = room.ask(&asked).await;
    let said = Said::Yes(Remember::Once);
    let settled = room.consents.settle(&asked, &id, said).await.unwrap();
    let agreed = settled.unwrap().unwrap();
    // The call found no place; made again, it is allowed still.
    let again = room.consents.find(&asked).await.unwrap().unwrap();
    assert_eq!(again, agreed);
    assert!(room.consents.spend(&again).await.unwrap());
    assert!(!room.consents.spend(&agreed).await.unwrap());
}

#[tokio::test]
async fn a_call_goes_on_once_with_the_state_it_was_given() {
    let room = Room::new();
    let agreed = Agreed {
        consent: "c".to_owned(),
        fingerprint: "f".to_owned(),
        spends: Spends::Consent,
    };
    let continued = |state, fingerprint| room.consents.continued(state, fingerprint);
    room.consents.continue_with("state", &agreed);
    assert_eq!(continued("state", "other"), None);
    assert_eq!(continued("other", "f"), None);
    let (one, other) = (continued("state", "f"), continued("state", "f"));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((&*one.consent, &*one.fingerprint), ("c", "f"));
    assert!(room.consents.spend(&one).await.unwrap());
    assert!(!room.consents.spend(&other).await.unwrap());
    assert_eq!(continued("state", "f"), None);
    room.consents.continue_with("state", &agreed);
    room.later(CONTINUING_AGE);
    assert_eq!(continued("state", "f"), None);
}

#[test]
fn a_form_offers_what_the_rule_lets_it_and_reads_no_other_answer() {
    let hours = |hours: u64| Terms {
        longest: Remember::For(Duration::from_secs(hours * 3600)),
        ..Terms::default()
    };
    let asked = question(hours(30), &json!({ "path": "/x" }), "{}");
    let shown: Value = serde_json::from_str(&form(&asked)).unwrap();
    assert_eq!(
        shown["requestedSchema"]["properties"]["answer"]["enum"],
        json!(["no", "once", "for 1 hour", "for 1 day"])
    );
    let message = shown["message"].as_str().unwrap();
    for part in ["`delete`", "`files`", "/x", "role agents: ask files.*"] {
        assert!(message.contains(part), "{message}");
    }
    let read = |result: Value| said(&asked, result.to_string().as_bytes());
    let accept = |word| json!({ "action": "accept", "content": { "answer": word } });
    assert_eq!(read(accept("once")), Some(Said::Yes(Remember::Once)));
    assert_eq!(read(accept("no")), Some(Said::No));
    assert_eq!(read(accept("for 7 days")), None);
    assert_eq!(read(json!({ "action": "accept" })), None);
    assert_eq!(read(json!({ "action": "decline" })), Some(Said::No));
    assert_eq!(read(json!({ "action": "cancel" })), Some(Said::Nothing));
    assert_eq!(read(json!({})), None);
    assert_eq!(form::choices(hours(0).longest, false).len(), 2);
    assert_eq!(words(Duration::from_secs(90 * 60)), "90 minutes");
}
