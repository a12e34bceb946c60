//! What the rules decide, for whom.

use super::*;
use crate::Credential;

fn role(name: &str, allow: &[&str], deny: &[&str]) -> Role {
    let patterns = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Pattern::parse(text).unwrap())
            .collect()
    };
    Role {
        name: RoleName::new(name).unwrap(),
        members: BTreeSet::new(),
        allow: patterns(allow),
        ask: Vec::new(),
        deny: patterns(deny),
    }
}

fn decide(roles: Vec<Role>, held: &[&str], upstream: &str, name: &str) -> String {
    let principal = Principal {
        id: PrincipalId::new("alice").unwrap(),
        roles: held
            .iter()
            .map(|role| RoleName::new(role).unwrap())
            .collect(),
        credential: Credential::Local,
        client: None,
        scopes: crate::Scopes::EVERY,
        expires_at: None,
    };
    let upstream = UpstreamId::parse(upstream).unwrap();
    let subject = Subject {
        verb: Verb::Use,
        kind: SubjectKind::Tool,
        server: None,
        upstream: &upstream,
        name,
        traits: Traits::default(),
        memo: None,
    };
    let facts = Facts {
        arguments: None,
        client: "test/1",
        now: SystemTime::UNIX_EPOCH,
    };
    let rules = Rules::new(roles).unwrap();
    match rules.decide(&principal, &subject, &facts) {
        Decision::Ask(ask) => format!("ask by {}", ask.rule),
        Decision::Allow(rule) => format!("allow by {rule}"),
        Decision::Deny(rule) => format!("deny by {rule}"),
        Decision::Unseen => "unseen".to_owned(),
    }
}

#[test]
fn an_allowed_entry_names_its_rule() {
    let roles = vec![role("reader", &["web.*", "files.read_*"], &[])];
    assert_eq!(
        decide(roles, &["reader"], "files", "read_text"),
        "allow by role reader: allow files.read_*"
    );
}

#[test]
fn what_no_rule_names_is_unseen() {
    let roles = || {
        vec![
            role("reader", &["files.read_*"], &[]),
            role("writer", &["*"], &[]),
        ]
    };
    assert_eq!(decide(roles(), &["reader"], "files", "delete"), "unseen");
    assert_eq!(decide(roles(), &[], "files", "read_text"), "unseen");
    assert_eq!(decide(roles(), &["gone"], "files", "read_text"), "unseen");
}

#[test]
fn a_denial_of_one_role_beats_the_permission_of_another() {
    let roles = || {
        vec![
            role("a", &["files.*"], &[]),
            role("z", &[], &["files.delete_*"]),
        ]
    };
    assert_eq!(
        decide(roles(), &["a", "z"], "files", "delete_all"),
        "deny by role z: deny files.delete_*"
    );
    assert_eq!(
        decide(roles(), &["a", "z"], "files", "read"),
        "allow by role a: allow files.*"
    );
    assert_eq!(
        decide(roles(), &["owner", "z"], "files", "delete_all"),
        "deny by role z: deny files.delete_*"
    );
}

#[test]
fn the_owner_reaches_everything() {
    assert_eq!(
        decide(vec![], &["owner"], "files", "delete"),
        "allow by role owner: allow *"
    );
}

#[test]
fn the_owner_can_get_members_but_no_other_meaning() {
    assert_eq!(
        Rules::new(vec![role("owner", &["a.*"], &[])]).unwrap_err(),
        RulesError::Owner
    );
    assert_eq!(
        Rules::new(vec![role("owner", &[], &["a.*"])]).unwrap_err(),
        RulesError::Owner
    );
    let twice = Rules::new(vec![role("a", &[], &[]), role("a", &[], &[])]);
    assert!(matches!(twice.unwrap_err(), RulesError::Twice(_)));

    let alice = PrincipalId::new("alice").unwrap();
    let owners = Role {
        members: BTreeSet::from([alice.clone()]),
        ..role("owner", &[], &[])
    };
    let rules = Rules::new(vec![owners, role("reader", &["*"], &[])]).unwrap();
    assert_eq!(
        rules.roles_of(&alice),
        BTreeSet::from([RoleName::new("owner").unwrap()])
    );
}
