//! A question is asked once and answered once; a yes holds for what it was said to, and no longer than it says.

use std::time::UNIX_EPOCH;

use super::*;
use crate::trial::Home;

const BOUNDS: RequestBounds = RequestBounds {
    open_max: 2,
    recent_max: 3,
    since: UNIX_EPOCH,
};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn subject() -> ConsentSubject {
    let text = str::to_owned;
    ConsentSubject {
        principal: text("alice"),
        server: String::new(),
        method: text("tools/call"),
        upstream: text("files"),
        entry: text("delete"),
        definition: text("d0"),
        rule: text("role all: ask files.*"),
    }
}

fn asked(id: &str, digest: &str, created: u64) -> ConsentRequestRow {
    ConsentRequestRow {
        id: id.to_owned(),
        subject: subject(),
        digest: digest.to_owned(),
        shown: "{}".to_owned(),
        client: "c/1".to_owned(),
        conversation: None,
        longest: Longest::For(Duration::from_secs(60)),
        approvers: vec!["ops".to_owned()],
        other_person: true,
        created_at: at(created),
        expires_at: at(created + 100),
        state: RequestState::Open,
        decided_at: None,
        decided_by: None,
    }
}

fn given(id: &str, digest: Option<&str>, is_once: bool) -> ConsentRow {
    ConsentRow {
        id: id.to_owned(),
        subject: subject(),
        digest: digest.map(str::to_owned),
        is_once,
        conversation: None,
        given_by: "bob".to_owned(),
        given_at: at(20),
        expires_at: at(1000),
        used_at: None,
        ended_at: None,
        ended_by: None,
    }
}

/// A store in which a question about `a` was asked and answered with this.
async fn agreed(home: &Home, yes: ConsentRow) -> Store {
    let store = home.open();
    let asked = asked(&yes.id, "a", 10);
    store.request_consent(asked, BOUNDS).await.unwrap();
    assert!(store.approve_consent(yes).await.unwrap());
    store
}

#[tokio::test]
async fn the_same_question_is_asked_once_and_questions_are_bounded() {
    for home in Home::both() {
        let store = home.open();
        let ask = async |row| store.request_consent(row, BOUNDS).await.unwrap();
        assert_eq!(ask(asked("1", "a", 10)).await, Requested::New);
        let same = Requested::Same("1".to_owned());
        assert_eq!(ask(asked("2", "a", 11)).await, same);
        assert_eq!(ask(asked("2", "b", 11)).await, Requested::New);
        assert_eq!(ask(asked("3", "c", 12)).await, Requested::Full);
        // What is over is not open, but counts among the recent ones.
        assert_eq!(ask(asked("3", "a", 150)).await, Requested::New);
        assert_eq!(ask(asked("4", "d", 151)).await, Requested::Full);
        let row = store.get_consent_request("3").unwrap();
        assert_eq!(row, Some(asked("3", "a", 150)));
    }
}

#[tokio::test]
async fn a_question_is_answered_once_and_in_time() {
    for home in Home::both() {
        let store = home.open();
        for (id, digest) in [("1", "a"), ("2", "b")] {
            let asked = asked(id, digest, 10);
            store.request_consent(asked, BOUNDS).await.unwrap();
        }
        let consent = given("1", Some("a"), true);
        assert!(store.approve_consent(consent.clone()).await.unwrap());
        assert!(!store.approve_consent(consent).await.unwrap());
        let no = RequestState::Denied;
        assert!(!store.refuse_consent("1", no, "eve", at(21)).await.unwrap());
        assert!(!store.refuse_consent("2", no, "eve", at(110)).await.unwrap());
        assert!(store.refuse_consent("2", no, "eve", at(109)).await.unwrap());
        let refusal = |digest, since| {
            let found = store.find_consent_refusal(&subject(), digest, at(since));
            found.unwrap()
        };
        assert_eq!(refusal("b", 108).as_deref(), Some("2"));
        assert_eq!(refusal("b", 109), None);
        assert_eq!(refusal("a", 0), None);
    }
}

#[tokio::test]
async fn a_yes_for_one_call_is_used_once() {
    for home in Home::both() {
        let store = agreed(&home, given("1", Some("a"), true)).await;
        assert!(!store.use_consent("1", at(1000)).await.unwrap());
        assert!(store.use_consent("1", at(30)).await.unwrap());
        assert!(!store.use_consent("1", at(30)).await.unwrap());
        assert!(!store.end_consent("1", "bob", at(31)).await.unwrap());
    }
}

#[tokio::test]
async fn a_yes_holds_for_what_it_was_said_to() {
    for home in Home::both() {
        let store = agreed(&home, given("1", Some("a"), false)).await;
        let holds = |subject: &ConsentSubject, digest: &str, now| {
            let found = store.find_consents(subject, digest, None, at(now));
            !found.unwrap().is_empty()
        };
        assert!(holds(&subject(), "a", 30));
        assert!(!holds(&subject(), "b", 30));
        assert!(!holds(&subject(), "a", 1000));
        let members: [fn(&mut ConsentSubject) -> &mut String; 7] = [
            |s| &mut s.principal,
            |s| &mut s.server,
            |s| &mut s.method,
            |s| &mut s.upstream,
            |s| &mut s.entry,
            |s| &mut s.definition,
            |s| &mut s.rule,
        ];
        for member in members {
            let mut other = subject();
            member(&mut other).push('x');
            assert!(!holds(&other, "a", 30), "{other:?}");
        }
        assert!(store.end_consent("1", "bob", at(31)).await.unwrap());
        assert!(!holds(&subject(), "a", 32));
        assert_eq!(store.prune_consents(at(31)).await.unwrap(), 1);
        assert_eq!(store.get_given_consent("1").unwrap(), None);
    }
}

#[tokio::test]
async fn a_yes_for_a_session_holds_in_that_session() {
    for home in Home::both() {
        let mut consent = given("1", None, false);
        consent.conversation = Some("s1".to_owned());
        let store = agreed(&home, consent).await;
        let holds = |conversation| {
            let found = store.find_consents(&subject(), "anything", conversation, at(30));
            !found.unwrap().is_empty()
        };
        assert!(holds(Some("s1")));
        assert!(!holds(Some("s2")));
        assert!(!holds(None));
    }
}
