//! Conditions: what they see, what they come to where they cannot be judged, and which texts are none.

use super::*;

/// The decision for a call of `bank.pay` under `allow bank.*` and one more rule.
fn pay(effect: Effect, when: &str, arguments: Value) -> String {
    let rules = Rules::new(vec![role(
        "a",
        &[
            (Effect::Allow, About::Any, "bank.*", None),
            (effect, About::Tool, "bank.pay", Some(when)),
        ],
    )])
    .unwrap();
    Case::tool(&rules, &["a"], "bank", "pay")
        .with(arguments)
        .word()
}

/// The decision where only that rule allows anything.
fn alone(when: &str, change: impl FnOnce(&mut Case<'_>)) -> String {
    let rules = Rules::new(vec![role(
        "a",
        &[(Effect::Allow, About::Tool, "bank.pay", Some(when))],
    )])
    .unwrap();
    let mut case = Case::tool(&rules, &["a"], "bank", "pay");
    change(&mut case);
    let word = case.word();
    if word == "allow" {
        assert!(case.sees(), "what may be called may be seen");
    }
    word
}

#[test]
fn a_denial_looks_at_the_arguments() {
    let when = "context.args.amount > 100";
    assert_eq!(pay(Effect::Deny, when, json!({"amount": 101})), "deny");
    assert_eq!(pay(Effect::Deny, when, json!({"amount": 100})), "allow");
    assert_eq!(pay(Effect::Deny, when, json!({"amount": 1e3})), "deny");
}

#[test]
fn a_condition_that_cannot_be_judged_loosens_nothing() {
    let when = "context.args.amount > 100";
    for odd in [
        json!({}),
        json!({"amount": "50"}),
        json!({"amount": null}),
        json!({"amount": 50.5}),
        json!({"amount": 1e300}),
        json!({"amount": u64::MAX}),
        json!({"amount": [50]}),
        json!({"amount": {"__extn": {"fn": "decimal", "arg": "1.0"}}}),
    ] {
        assert_eq!(pay(Effect::Deny, when, odd.clone()), "deny", "{odd}");
        assert_eq!(pay(Effect::Ask, when, odd.clone()), "ask", "{odd}");
        assert_eq!(
            alone(when, |case| case.arguments = Some(odd.clone())),
            "unseen",
            "{odd}"
        );
        assert_eq!(
            alone("!(context.args.amount > 100)", |case| case.arguments =
                Some(odd.clone())),
            "unseen",
            "{odd}"
        );
    }
}

#[test]
fn a_question_that_cannot_be_judged_permits_nothing_by_itself() {
    let rules = Rules::new(vec![role(
        "a",
        &[(
            Effect::Ask,
            About::Tool,
            "bank.pay",
            Some("context.args.amount > 100"),
        )],
    )])
    .unwrap();
    let case = Case::tool(&rules, &["a"], "bank", "pay");
    assert_eq!(case.clone().word(), "unseen");
    assert_eq!(case.with(json!({"amount": 101})).word(), "ask");
}

#[test]
fn the_record_says_that_a_condition_could_not_be_judged_and_nothing_of_what_was_sent() {
    let rules = Rules::new(vec![role(
        "a",
        &[
            (Effect::Allow, About::Any, "*", None),
            (
                Effect::Deny,
                About::Tool,
                "bank.pay",
                Some("context.args.amount + 1 > 5"),
            ),
        ],
    )])
    .unwrap();
    for (arguments, why) in [
        (
            json!({"secret": 1}),
            "it looks at a member that is not there",
        ),
        (
            json!({"amount": "hunter2"}),
            "a value is not of the type that it wants",
        ),
        (json!({"amount": i64::MAX}), "a number gets too large"),
    ] {
        let told = Case::tool(&rules, &["a"], "bank", "pay")
            .with(arguments)
            .told();
        assert_eq!(
            told,
            format!(
                "deny by role a: deny tool bank.pay when context.args.amount + 1 > 5; \
                 its condition could not be judged: {why}"
            )
        );
    }
}

#[test]
fn null_is_read_both_ways_and_the_stricter_counts() {
    let has = "context.args has force";
    assert_eq!(pay(Effect::Deny, has, json!({"force": null})), "deny");
    assert_eq!(
        pay(
            Effect::Deny,
            "!(context.args has reason)",
            json!({"reason": null})
        ),
        "deny"
    );
    assert_eq!(pay(Effect::Deny, has, json!({"other": null})), "allow");
    assert_eq!(
        pay(
            Effect::Deny,
            "context.args.to.bank == \"x\"",
            json!({"to": {"bank": "y", "z": null}})
        ),
        "allow"
    );
}

#[test]
fn arguments_that_are_too_many_are_not_let_through_unseen() {
    let many = json!({"list": vec![0; 20_000], "amount": 1});
    assert_eq!(
        pay(Effect::Deny, "context.args.list.contains(7)", many.clone()),
        "deny"
    );
    // What is not looked at does not matter, however large.
    assert_eq!(
        pay(Effect::Deny, "context.args.amount > 100", many.clone()),
        "allow"
    );
    assert_eq!(
        alone("!context.args.list.contains(7)", |case| case.arguments =
            Some(many)),
        "unseen"
    );
}

#[test]
fn conditions_see_who_when_with_what_and_through_what() {
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + 12 * 3600);
    for (when, expected) in [
        ("principal.id == \"alice\"", "allow"),
        ("principal == Principal::\"alice\"", "allow"),
        ("principal in Role::\"a\"", "allow"),
        ("principal in Role::\"b\"", "unseen"),
        ("principal.roles.contains(\"a\")", "allow"),
        ("principal.claims.department == \"finance\"", "allow"),
        ("principal.claims.nothing == \"finance\"", "unseen"),
        (
            "principal.claims has nothing && principal.claims.nothing == 1",
            "unseen",
        ),
        ("principal.credential == \"local\"", "allow"),
        ("principal.scopes.contains(\"mcp:tools\")", "allow"),
        ("context.client like \"test/*\"", "allow"),
        ("context.now > datetime(\"2024-01-01\")", "allow"),
        ("context.now.toTime() == duration(\"12h\")", "allow"),
        ("context.now.toTime() < duration(\"8h\")", "unseen"),
        ("context has server", "unseen"),
        ("context has server && context.server == \"x\"", "unseen"),
        (
            "resource.upstream == \"bank\" && resource.name == \"pay\"",
            "allow",
        ),
        ("resource.kind == \"tool\" && resource is Tool", "allow"),
        ("action == Action::\"use\"", "allow"),
        ("action == Action::\"task\"", "unseen"),
        ("resource.read_only", "unseen"),
        (
            "resource.destructive && resource.open_world && !resource.idempotent",
            "allow",
        ),
        ("resource.private", "unseen"),
    ] {
        assert_eq!(alone(when, |case| case.now = noon), expected, "{when}");
    }
}

#[test]
fn hints_hold_where_the_server_gives_them() {
    let reads = |case: &mut Case<'_>| case.traits.read_only = Some(true);
    assert_eq!(alone("resource.read_only", reads), "allow");
    assert_eq!(
        alone("!resource.destructive && resource.idempotent", reads),
        "allow"
    );
    assert_eq!(
        alone("resource.open_world", |case| case.traits.open_world =
            Some(false)),
        "unseen"
    );
}

#[test]
fn what_can_never_be_let_through_is_hidden_and_what_could_be_is_not() {
    let sees = |rules: &[Written<'_>]| {
        let rules = Rules::new(vec![role("a", rules)]).unwrap();
        Case::tool(&rules, &["a"], "bank", "pay").sees()
    };
    let all = (Effect::Allow, About::Any, "*", None);
    let deny = |when| (Effect::Deny, About::Tool, "bank.pay", when);
    let allow = |when| (Effect::Allow, About::Tool, "bank.pay", when);
    assert!(!sees(&[all, deny(None)]));
    assert!(sees(&[all, deny(Some("context.args.amount > 1"))]));
    assert!(!sees(&[all, deny(Some("resource.destructive"))]));
    assert!(!sees(&[all, deny(Some("principal.id == \"alice\""))]));
    assert!(sees(&[all, deny(Some("principal.id == \"bob\""))]));
    assert!(!sees(&[all, deny(Some("context.client like \"test*\""))]));
    assert!(sees(&[allow(Some("context.args.amount < 1"))]));
    assert!(sees(&[(
        Effect::Ask,
        About::Tool,
        "bank.pay",
        Some("context.args.amount < 1")
    )]));
    assert!(!sees(&[allow(Some(
        "resource.read_only && context.args.amount < 1"
    ))]));
    assert!(!sees(&[allow(Some(
        "context.args.amount < 1 && principal.id == \"bob\""
    ))]));
    assert!(!sees(&[allow(Some("principal.id == \"bob\""))]));
    assert!(!sees(&[]));
}

#[test]
fn arguments_that_are_not_known_make_nothing_looser() {
    let rules = Rules::new(vec![role(
        "a",
        &[
            (Effect::Allow, About::Any, "*", None),
            (
                Effect::Deny,
                About::Tool,
                "bank.pay",
                Some("context.args has amount"),
            ),
        ],
    )])
    .unwrap();
    let mut case = Case::tool(&rules, &["a"], "bank", "pay");
    assert_eq!(case.word(), "allow");
    for unknown in [None, Some(json!(["amount"])), Some(json!(null))] {
        case.arguments = unknown;
        assert_eq!(case.word(), "deny");
    }
    assert!(case.sees());
}

#[test]
fn a_text_that_is_no_condition_is_refused_with_the_place() {
    let refused = |text: &str| Condition::parse(Some(text), None).unwrap_err().to_string();
    for (text, said) in [
        ("", "there is no expression"),
        ("context.args.x ==", "unexpected end of input"),
        (
            "context.args.x === 1",
            "at character 18: unexpected token `=`",
        ),
        (
            "context.agrs.x == 1",
            "there is no `context.agrs`; did you mean `args`?",
        ),
        (
            "context.args.x == 1 } unless { false",
            "at character 21: unexpected token `}`",
        ),
        ("context == {}", "`context` is looked at by its members"),
        ("principal.name == \"x\"", "there is no `principal.name`"),
        ("resource.readonly", "did you mean `read_only`?"),
        (
            "resource.read_only == \"yes\"",
            "the types Bool and String are not compatible",
        ),
        ("context.server == \"x\"", "optional attribute `server`"),
        ("context.now > \"2026-01-01\"", "cannot be less or greater"),
        (
            "context.args.x > \"100\"",
            "\"100\" cannot be less or greater",
        ),
        (
            "context.now > datetime(\"yesterday\")",
            "`yesterday` is no datetime",
        ),
        (
            "context.args.x == decimal(\"1.23456\")",
            "`1.23456` is no decimal",
        ),
        (
            "action == Action::\"call\"",
            "there is no `Action::\"call\"`",
        ),
        ("principal in Group::\"x\"", "there is no `Group`"),
        ("context.args.x.frobnicate(1)", "frobnicate"),
        ("?principal == principal", ""),
    ] {
        let error = refused(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(refused(&"(".repeat(5000)).contains("at most"));
    assert!(refused(&"(".repeat(100)).contains("at character 65"));
}

#[test]
fn unless_is_the_reverse() {
    let rule = Rule {
        condition: Condition::parse(
            None,
            Some("context.args has approved && context.args.approved"),
        )
        .unwrap(),
        reason: Some("change control".into()),
        ..rule(About::Tool, "bank.pay", None)
    };
    let role = Role {
        deny: vec![rule],
        ..plain("a", &["bank.*"], &[])
    };
    let rules = Rules::new(vec![role]).unwrap();
    let case = Case::tool(&rules, &["a"], "bank", "pay");
    assert_eq!(
        case.told(),
        "deny by role a: deny tool bank.pay unless context.args has approved && \
         context.args.approved (change control)"
    );
    assert_eq!(case.with(json!({"approved": true})).word(), "allow");
}
