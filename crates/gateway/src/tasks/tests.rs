//! What stands in ids, and how a task looks on the other side.

use std::time::Duration;

use bytes::Bytes;
use upstream::Reply;
use wire::{Abilities, Era, Outcome};

use super::form::{Seen, Status, related, renamed, renamed_error};
use super::*;

fn task(principal: &str, id: &str) -> Task {
    Task {
        principal: principal.to_owned(),
        upstream: "lab".to_owned(),
        tool: "research".to_owned(),
        id: id.to_owned(),
        era: Era::Legacy,
        caller: (
            Era::Modern,
            Abilities {
                form: true,
                roots: true,
                ..Abilities::default()
            },
        ),
    }
}

fn principal(id: &str) -> PrincipalId {
    PrincipalId::new(id).expect("a principal")
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn an_id_opens_for_its_principal_alone_and_after_a_restart() {
    let tasks = Tasks::new(&[7; KEY_LEN]).expect("a key");
    let id = tasks.id(&task("alice", "t-1")).expect("sealed");
    let again = Tasks::new(&[7; KEY_LEN]).expect("a key");
    assert_eq!(
        again.open(&id, &principal("alice")),
        Some(task("alice", "t-1"))
    );
    assert_eq!(again.open(&id, &principal("bob")), None);
    assert_eq!(again.open("t-1", &principal("alice")), None);
    let elsewhere = Tasks::new(&[8; KEY_LEN]).expect("a key");
    assert_eq!(elsewhere.open(&id, &principal("alice")), None);
    assert_eq!(again.id(&task("alice", "t-1")).expect("sealed"), id);
}

#[test]
fn everything_in_a_task_is_in_its_id() {
    for bits in 0_u8..128 {
        let content = format!(r#"["p","u","t","i",{bits}]"#);
        let read = Task::read(content.as_bytes()).expect("a task");
        assert_eq!(read.write(), content.as_bytes(), "{bits}");
    }
}

#[test]
fn the_oldest_of_a_principal_leaves_its_list_first() {
    let tasks = Tasks::new(&[7; KEY_LEN]).expect("a key");
    tasks.list("bobs".to_owned(), task("bob", "b"));
    for nth in 0..=LISTED_OF_ONE_MAX {
        tasks.list(format!("alices-{nth}"), task("alice", &nth.to_string()));
    }
    let listed = tasks.listed_of(&principal("alice"));
    assert_eq!(listed.len(), LISTED_OF_ONE_MAX);
    assert_eq!(listed[0].0, "alices-1");
    assert_eq!(tasks.listed_of(&principal("bob")).len(), 1);
    tasks.unlist("bobs");
    assert!(tasks.listed_of(&principal("bob")).is_empty());
}

#[test]
fn a_task_is_told_in_the_words_of_either_era() {
    let legacy = Bytes::from_static(
        br#"{"taskId":"t","status":"working","createdAt":"c","lastUpdatedAt":"l","ttl":60000,"pollInterval":20}"#,
    );
    let seen = Seen::read(&legacy).expect("a task");
    assert_eq!(
        seen.modern("ours", seen.status, ""),
        r#"{"taskId":"ours","status":"working","createdAt":"c","lastUpdatedAt":"l","ttlMs":60000,"pollIntervalMs":20}"#
    );
    // Nobody is looked at more often than this.
    assert_eq!(seen.poll_interval(), Duration::from_millis(50));
    let modern = Bytes::from_static(
        br#"{"resultType":"complete","taskId":"t","status":"completed","createdAt":"c","lastUpdatedAt":"l","ttlMs":null,
            "result":{"content":[],"isError":true}}"#,
    );
    let seen = Seen::read(&modern).expect("a task");
    assert_eq!(
        seen.legacy("ours"),
        r#"{"taskId":"ours","status":"failed","createdAt":"c","lastUpdatedAt":"l","ttl":null}"#
    );
    assert_eq!(seen.status, Status::Completed);
    assert!(Seen::read(&Bytes::from_static(br#"{"taskId":"t","status":"odd"}"#)).is_err());
}

#[test]
fn only_what_is_a_task_is_taken_for_one() {
    let created = |era, text: &'static str| {
        let outcome = Outcome::Result(Bytes::from_static(text.as_bytes()));
        Seen::created(&Reply { outcome, era }).map(|created| created.map(|(seen, _)| seen.id))
    };
    let legacy = r#"{"task":{"taskId":"t","status":"working"}}"#;
    let modern = r#"{"resultType":"task","taskId":"t","status":"working"}"#;
    assert_eq!(created(Era::Legacy, legacy), Some(Ok("t".to_owned())));
    assert_eq!(created(Era::Modern, modern), Some(Ok("t".to_owned())));
    assert_eq!(created(Era::Modern, legacy), None);
    assert_eq!(
        created(Era::Legacy, r#"{"content":[],"task":"laundry"}"#),
        None
    );
    assert_eq!(
        created(Era::Modern, r#"{"taskId":"t","status":"working"}"#),
        None
    );
    assert!(matches!(
        created(Era::Modern, r#"{"resultType":"task","taskId":"t"}"#),
        Some(Err(_))
    ));
}

#[test]
fn ids_are_exchanged_and_nothing_else() {
    let said = Bytes::from_static(
        br#"{ "taskId" : "t", "note":"t", "_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"},"x":1.0} }"#,
    );
    assert_eq!(
        text(&renamed(&said, "t", "ours")),
        r#"{ "taskId" : "ours", "note":"t", "_meta":{"io.modelcontextprotocol/related-task":{"taskId":"ours"},"x":1.0} }"#
    );
    assert_eq!(renamed(&said, "other", "ours"), said);
    let error = Bytes::from_static(br#"{"code":-32602,"message":"no task 786512e2-9e0d"}"#);
    assert_eq!(
        text(&renamed_error(&error, "786512e2-9e0d", "ours")),
        r#"{"code":-32602,"message":"no task ours"}"#
    );
    assert_eq!(renamed_error(&error, "3260", "ours"), error);
}

#[test]
fn a_message_says_which_task_it_belongs_to() {
    let told = |said: &'static str| {
        let said = Bytes::from_static(said.as_bytes());
        text(&related(&said, "ours")).to_owned()
    };
    let task = r#""io.modelcontextprotocol/related-task":{"taskId":"ours"}"#;
    assert_eq!(told("{}"), format!(r#"{{"_meta":{{{task}}}}}"#));
    assert_eq!(
        told(r#"{"content":[],"_meta":{"a":1}}"#),
        format!(r#"{{"_meta":{{{task},"a":1}},"content":[]}}"#)
    );
}

#[test]
fn tasks_are_welcome_beside_whatever_else_a_client_can() {
    let welcomed = |said: Option<&str>| {
        let mut caller = Caller {
            capabilities: said.map(str::to_owned),
            ..Caller::default()
        };
        welcome(&mut caller);
        caller.capabilities.expect("capabilities")
    };
    let tasks = r#""io.modelcontextprotocol/tasks":{}"#;
    assert_eq!(welcomed(None), format!(r#"{{"extensions":{{{tasks}}}}}"#));
    assert_eq!(
        welcomed(Some(r#"{"roots":{},"extensions":{"x/y":{"z":1}}}"#)),
        format!(r#"{{"extensions":{{{tasks},"x/y":{{"z":1}}}},"roots":{{}}}}"#)
    );
}
