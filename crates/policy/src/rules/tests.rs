//! What the rules decide, for whom.

mod conditions;

use serde_json::{Map, json};

use super::*;
use crate::Credential;

/// The rules of a role, as effect, kind, pattern and `when`.
type Written<'a> = (Effect, About, &'a str, Option<&'a str>);

fn rule(about: About, pattern: &str, when: Option<&str>) -> Rule {
    Rule {
        condition: Condition::parse(when, None).unwrap(),
        ..Rule::from(Target::parse(about, pattern).unwrap())
    }
}

fn role(name: &str, rules: &[Written<'_>]) -> Role {
    let list = |wanted: Effect| {
        let rules = rules.iter().filter(|(effect, ..)| *effect == wanted);
        rules
            .map(|(_, about, pattern, when)| rule(*about, pattern, *when))
            .collect()
    };
    Role {
        name: RoleName::new(name).unwrap(),
        members: BTreeSet::new(),
        allow: list(Effect::Allow),
        ask: list(Effect::Ask),
        deny: list(Effect::Deny),
    }
}

/// A role of patterns.
fn plain(name: &str, allow: &[&str], deny: &[&str]) -> Role {
    let mut rules: Vec<Written<'_>> = Vec::new();
    rules.extend(
        allow
            .iter()
            .map(|pattern| (Effect::Allow, About::Any, *pattern, None)),
    );
    rules.extend(
        deny.iter()
            .map(|pattern| (Effect::Deny, About::Any, *pattern, None)),
    );
    role(name, &rules)
}

fn principal(held: &[&str]) -> Principal {
    Principal {
        id: PrincipalId::new("alice").unwrap(),
        roles: held
            .iter()
            .map(|role| RoleName::new(role).unwrap())
            .collect(),
        credential: Credential::Local,
        client: None,
        scopes: crate::Scopes::EVERY,
        expires_at: None,
        claims: Arc::new(Map::from_iter([(
            "department".to_owned(),
            json!("finance"),
        )])),
    }
}

/// One question; what is not set is a tool call without arguments.
#[derive(Clone)]
struct Case<'a> {
    rules: &'a Rules,
    principal: Principal,
    verb: Verb,
    kind: SubjectKind,
    server: Option<ServerName>,
    upstream: UpstreamId,
    name: &'a str,
    traits: Traits,
    arguments: Option<Value>,
    client: &'a str,
    now: SystemTime,
}

impl<'a> Case<'a> {
    fn tool(rules: &'a Rules, held: &[&str], upstream: &str, name: &'a str) -> Self {
        Self {
            rules,
            principal: principal(held),
            verb: Verb::Use,
            kind: SubjectKind::Tool,
            server: None,
            upstream: UpstreamId::parse(upstream).unwrap(),
            name,
            traits: Traits::default(),
            arguments: Some(json!({})),
            client: "test/1",
            now: SystemTime::UNIX_EPOCH,
        }
    }

    fn with(mut self, arguments: Value) -> Self {
        self.arguments = Some(arguments);
        self
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            verb: self.verb,
            kind: self.kind,
            server: self.server.as_ref(),
            upstream: &self.upstream,
            name: self.name,
            traits: self.traits,
            memo: None,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            arguments: self.arguments.as_ref(),
            client: self.client,
            now: self.now,
        }
    }

    fn decide(&self) -> Decision {
        self.rules
            .decide(&self.principal, &self.subject(), &self.facts())
    }

    fn sees(&self) -> bool {
        let facts = Facts {
            arguments: None,
            ..self.facts()
        };
        self.rules.may_see(&self.principal, &self.subject(), &facts)
    }

    fn told(&self) -> String {
        match self.decide() {
            Decision::Ask(ask) => format!("ask by {}", ask.rule),
            Decision::Allow(rule) => format!("allow by {rule}"),
            Decision::Deny(rule) => format!("deny by {rule}"),
            Decision::Unseen => "unseen".to_owned(),
        }
    }

    /// The first word of what is told.
    fn word(&self) -> String {
        self.told().split(' ').next().unwrap().to_owned()
    }
}

fn decide(roles: Vec<Role>, held: &[&str], upstream: &str, name: &str) -> String {
    let rules = Rules::new(roles).unwrap();
    Case::tool(&rules, held, upstream, name).told()
}

#[test]
fn an_allowed_entry_names_its_rule() {
    let roles = vec![plain("reader", &["web.*", "files.read_*"], &[])];
    assert_eq!(
        decide(roles, &["reader"], "files", "read_text"),
        "allow by role reader: allow files.read_*"
    );
}

#[test]
fn what_no_rule_names_is_unseen() {
    let roles = || {
        vec![
            plain("reader", &["files.read_*"], &[]),
            plain("writer", &["*"], &[]),
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
            plain("a", &["files.*"], &[]),
            plain("z", &[], &["files.delete_*"]),
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
fn a_question_beats_a_permission_and_is_beaten_by_a_denial() {
    let asks = role("b", &[(Effect::Ask, About::Tool, "files.*", None)]);
    let roles = || {
        vec![
            plain("a", &["*"], &[]),
            asks.clone(),
            plain("c", &[], &["files.delete"]),
        ]
    };
    assert_eq!(
        decide(roles(), &["a", "b"], "files", "delete"),
        "ask by role b: ask tool files.*"
    );
    assert_eq!(
        decide(roles(), &["b"], "files", "delete"),
        "ask by role b: ask tool files.*"
    );
    assert_eq!(
        decide(roles(), &["a", "b", "c"], "files", "delete"),
        "deny by role c: deny files.delete"
    );
    assert_eq!(
        decide(roles(), &["owner", "b"], "files", "x"),
        "ask by role b: ask tool files.*"
    );
}

#[test]
fn of_several_questions_the_strictest_is_asked() {
    let ask = |terms: Terms| Rule {
        terms,
        ..rule(About::Tool, "files.*", None)
    };
    let role = Role {
        ask: vec![
            ask(Terms::default()),
            ask(Terms {
                longest: Remember::Once,
                ..Terms::default()
            }),
            ask(Terms {
                other_person: true,
                ..Terms::default()
            }),
        ],
        ..plain("a", &[], &[])
    };
    let rules = Rules::new(vec![role]).unwrap();
    let Decision::Ask(ask) = Case::tool(&rules, &["a"], "files", "read").decide() else {
        panic!("no question");
    };
    assert!(ask.terms.other_person);
}

#[test]
fn of_two_readings_the_one_that_is_asked_on_stricter_terms_counts() {
    let ask = |rule: &str, terms: Terms| {
        Decision::Ask(Ask {
            rule: RuleId::new(rule),
            terms: Arc::new(terms),
        })
    };
    let once = Terms {
        longest: Remember::Once,
        ..Terms::default()
    };
    let approved = Terms {
        approvers: [RoleName::new("boss").unwrap()].into(),
        ..Terms::default()
    };
    let other = Terms {
        other_person: true,
        ..Terms::default()
    };
    let all = [Terms::default(), once, approved, other];
    for (at, strict) in all.iter().enumerate() {
        for lenient in all.iter().take(at) {
            let (lenient, strict) = (ask("l", lenient.clone()), ask("s", strict.clone()));
            assert_eq!(lenient.clone().stricter(strict.clone()), strict);
            assert_eq!(strict.clone().stricter(lenient), strict);
        }
    }
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
        Rules::new(vec![plain("owner", &["a.*"], &[])]).unwrap_err(),
        RulesError::Owner
    );
    assert_eq!(
        Rules::new(vec![plain("owner", &[], &["a.*"])]).unwrap_err(),
        RulesError::Owner
    );
    let twice = Rules::new(vec![plain("a", &[], &[]), plain("a", &[], &[])]);
    assert!(matches!(twice.unwrap_err(), RulesError::Twice(_)));

    let alice = PrincipalId::new("alice").unwrap();
    let owners = Role {
        members: BTreeSet::from([alice.clone()]),
        ..plain("owner", &[], &[])
    };
    let rules = Rules::new(vec![owners, plain("reader", &["*"], &[])]).unwrap();
    assert_eq!(
        rules.roles_of(&alice),
        BTreeSet::from([RoleName::new("owner").unwrap()])
    );
}

#[test]
fn a_rule_speaks_of_its_kind_and_what_goes_with_it() {
    const ENTRIES: [(SubjectKind, Verb); 9] = [
        (SubjectKind::Tool, Verb::Use),
        (SubjectKind::Tool, Verb::Task),
        (SubjectKind::Prompt, Verb::Use),
        (SubjectKind::Prompt, Verb::Complete),
        (SubjectKind::Resource, Verb::Use),
        (SubjectKind::Resource, Verb::Complete),
        (SubjectKind::Resource, Verb::Subscribe),
        (SubjectKind::Method, Verb::Use),
        (SubjectKind::Admin, Verb::Administer),
    ];
    let reached = |about: About| -> Vec<(SubjectKind, Verb)> {
        let rules = Rules::new(vec![role("a", &[(Effect::Allow, about, "*", None)])]).unwrap();
        let may = |(kind, verb): &(SubjectKind, Verb)| {
            let case = Case {
                kind: *kind,
                verb: *verb,
                ..Case::tool(&rules, &["a"], "files", "x")
            };
            let may = matches!(case.decide(), Decision::Allow(_));
            assert_eq!(may, case.sees());
            may
        };
        ENTRIES.into_iter().filter(may).collect()
    };
    let rows = |range: &[usize]| range.iter().map(|row| ENTRIES[*row]).collect::<Vec<_>>();
    assert_eq!(reached(About::Any), rows(&[0, 1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(reached(About::Tool), rows(&[0, 1]));
    assert_eq!(reached(About::Prompt), rows(&[2, 3]));
    assert_eq!(reached(About::Resource), rows(&[4, 5, 6]));
    assert_eq!(reached(About::Completion), rows(&[3, 5]));
    assert_eq!(reached(About::Subscription), rows(&[6]));
    assert_eq!(reached(About::Task), rows(&[1]));
    assert_eq!(reached(About::Method), rows(&[7]));
    assert_eq!(reached(About::Sampling), rows(&[]));
    assert_eq!(reached(About::Admin), rows(&[8]));
}

#[test]
fn the_admin_api_is_the_owners_unless_a_rule_names_it() {
    let rules = Rules::new(vec![
        plain("all", &["*"], &[]),
        role("keys", &[(Effect::Allow, About::Admin, "keys.*", None)]),
    ])
    .unwrap();
    let case = |held: &[&str], area: &str, action| Case {
        kind: SubjectKind::Admin,
        verb: Verb::Administer,
        ..Case::tool(&rules, held, area, action)
    };
    assert_eq!(case(&["all"], "keys", "create").told(), "unseen");
    assert_eq!(
        case(&["owner"], "keys", "create").told(),
        "allow by role owner: allow *"
    );
    assert_eq!(
        case(&["keys"], "keys", "create").told(),
        "allow by role keys: allow admin keys.*"
    );
    assert_eq!(case(&["keys"], "users", "create").told(), "unseen");
    let may = |held: &[&str]| rules.may_administer(&principal(held));
    assert!(may(&["owner"]) && may(&["keys", "all"]) && !may(&["all"]) && !may(&[]));
    // An area of the admin API is no upstream.
    let keys = UpstreamId::parse("keys").unwrap();
    assert!(!rules.names(&principal(&["keys"]), &keys) && rules.names(&principal(&["all"]), &keys));
}

#[test]
fn sampling_is_allowed_where_the_upstream_is_unless_a_rule_says_otherwise() {
    let rules = Rules::new(vec![
        plain("reader", &["files.*"], &[]),
        role("careful", &[(Effect::Ask, About::Sampling, "*", None)]),
        role("never", &[(Effect::Deny, About::Sampling, "files.*", None)]),
    ])
    .unwrap();
    let case = |held: &[&str], upstream| {
        Case {
            kind: SubjectKind::Sampling,
            verb: Verb::Sample,
            ..Case::tool(&rules, held, upstream, "sampling")
        }
        .word()
    };
    assert_eq!(case(&["reader"], "files"), "allow");
    assert_eq!(case(&["reader"], "web"), "unseen");
    assert_eq!(case(&["reader", "careful"], "files"), "ask");
    assert_eq!(case(&["reader", "never"], "files"), "deny");
    assert_eq!(case(&["owner"], "web"), "allow");
}

#[test]
fn a_rule_behind_a_virtual_server_holds_there_only() {
    let rules = Rules::new(vec![plain("a", &["support/tickets.*"], &["public/*"])]).unwrap();
    let through = |server: Option<&str>| Case {
        server: server.map(|server| ServerName::new(server).unwrap()),
        ..Case::tool(&rules, &["a"], "tickets", "read")
    };
    assert_eq!(through(None).told(), "unseen");
    assert_eq!(
        through(Some("support")).told(),
        "allow by role a: allow support/tickets.*"
    );
    assert_eq!(through(Some("other")).told(), "unseen");
    assert_eq!(
        through(Some("public")).told(),
        "deny by role a: deny public/*"
    );
}

#[test]
fn a_slash_behind_the_dot_belongs_to_the_entry() {
    let read = |text: &str| {
        let target = Target::parse(About::Any, text).unwrap();
        (
            target.server.map(|server| server.to_string()),
            target.pattern.to_string(),
        )
    };
    assert_eq!(read("support/*"), (Some("support".into()), "*".into()));
    assert_eq!(
        read("files.file:///srv/*"),
        (None, "files.file:///srv/*".into())
    );
    assert_eq!(
        read("support/files.file:///srv/*"),
        (Some("support".into()), "files.file:///srv/*".into())
    );
    assert!(matches!(
        Target::parse(About::Any, "*/x.y"),
        Err(TargetError::Server { .. })
    ));
    assert_eq!(
        Target::parse(About::Admin, "support/keys.*"),
        Err(TargetError::Everywhere("admin"))
    );
}

#[test]
fn what_a_memo_keeps_is_the_same_as_what_is_found_out() {
    let rules = Rules::new(vec![
        plain("a", &["files.*"], &["files.delete"]),
        role(
            "b",
            &[(
                Effect::Deny,
                About::Tool,
                "files.write",
                Some("context.args.path like \"/etc*\""),
            )],
        ),
    ])
    .unwrap();
    let memo = Memo::default();
    let names = ["read", "delete", "write", "other"];
    let paths = [
        json!({}),
        json!({"path": "/etc/x"}),
        json!({"path": "/srv/x"}),
    ];
    for held in [&["a"][..], &["a", "b"], &["b"], &[]] {
        for name in names {
            for arguments in &paths {
                let case = Case::tool(&rules, held, "files", name).with(arguments.clone());
                for _ in 0..2 {
                    let subject = Subject {
                        memo: Some(&memo),
                        ..case.subject()
                    };
                    let kept = rules.decide(&case.principal, &subject, &case.facts());
                    assert_eq!(kept, case.decide(), "{held:?} {name} {arguments}");
                }
            }
        }
    }
}

#[test]
fn what_a_memo_keeps_ends_with_the_rules() {
    let memo = Memo::default();
    let before = Rules::new(vec![plain("a", &["files.*"], &[])]).unwrap();
    let after = Rules::new(vec![plain("a", &[], &[])]).unwrap();
    for (rules, expected) in [(&before, "allow"), (&after, "unseen"), (&before, "allow")] {
        let case = Case::tool(rules, &["a"], "files", "read");
        let subject = Subject {
            memo: Some(&memo),
            ..case.subject()
        };
        let decision = rules.decide(&case.principal, &subject, &case.facts());
        assert_eq!(matches!(decision, Decision::Allow(_)), expected == "allow");
    }
}

#[test]
fn an_explanation_names_every_rule_and_why_it_did_not_hold() {
    let rules = Rules::new(vec![role(
        "support",
        &[
            (Effect::Allow, About::Any, "tickets.*", None),
            (Effect::Ask, About::Tool, "tickets.delete_*", None),
            (
                Effect::Deny,
                About::Tool,
                "tickets.update",
                Some("context.args.priority == \"p0\""),
            ),
            (Effect::Deny, About::Prompt, "tickets.*", None),
            (Effect::Allow, About::Any, "vip/tickets.*", None),
        ],
    )])
    .unwrap();
    let case = Case::tool(&rules, &["support", "gone"], "tickets", "update");
    let told = |arguments: Value| {
        let case = case.clone().with(arguments);
        let told = rules.explain(&case.principal, &case.subject(), &case.facts());
        assert_eq!(told.decision, case.decide());
        assert_eq!(told.undefined, [RoleName::new("gone").unwrap()]);
        told
    };
    let said = |told: &Explanation| -> Vec<(String, bool)> {
        let lines = told.rules.iter();
        lines
            .map(|line| (format!("{} – {}", line.rule, line.said), line.won))
            .collect()
    };
    let p0 = told(json!({"priority": "p0"}));
    let deny = "role support: deny tool tickets.update when context.args.priority == \"p0\"";
    assert_eq!(
        said(&p0),
        [
            ("role support: allow tickets.* – holds".to_owned(), false),
            (
                "role support: allow vip/tickets.* – about another virtual server".to_owned(),
                false
            ),
            (
                "role support: ask tool tickets.delete_* – about other entries".to_owned(),
                false
            ),
            (format!("{deny} – holds"), true),
            (
                "role support: deny prompt tickets.* – about another kind of thing".to_owned(),
                false
            ),
        ]
    );
    assert!(p0.is_seen);
    let p1 = said(&told(json!({"priority": "p1"})));
    assert_eq!(
        p1[0],
        ("role support: allow tickets.* – holds".to_owned(), true)
    );
    assert_eq!(p1[3], (format!("{deny} – its condition is not met"), false));
    let none = said(&told(json!({})));
    let unclear = "its condition could not be judged: it looks at a member that is not there";
    assert_eq!(none[3], (format!("{deny} – {unclear}"), true));
    assert!(
        p0.rules[3].cedar.contains("forbid"),
        "{}",
        p0.rules[3].cedar
    );
}
