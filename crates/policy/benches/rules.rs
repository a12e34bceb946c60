//! What a decision costs: run with `cargo bench -p policy --bench rules`; a plain test run only sees that it works.
//!
//! With 1,000 rules and 2,000 tools a decision that depends on the roles only is to take less than 300 ns once it was
//! made before, and one with a condition less than 15 µs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use divan::{Bencher, black_box};
use policy::rules::{About, Condition, Rule, Target};
use policy::{
    Credential, Decision, Facts, Memo, Principal, PrincipalId, Role, RoleName, Rules, Scopes,
    Subject, SubjectKind, Traits, UpstreamId, Verb,
};
use serde_json::{Map, Value, json};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler<mimalloc::MiMalloc> =
    divan::AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

const UPSTREAMS: usize = 40;
const TOOLS: usize = 2_000;
const ROLES: usize = 10;
const RULES: usize = 1_000;

struct Tool {
    upstream: UpstreamId,
    name: String,
    memo: Memo,
}

impl Tool {
    fn subject(&self) -> Subject<'_> {
        Subject {
            verb: Verb::Use,
            kind: SubjectKind::Tool,
            server: None,
            upstream: &self.upstream,
            name: &self.name,
            traits: Traits::default(),
            memo: Some(&self.memo),
        }
    }
}

struct World {
    rules: Rules,
    principal: Principal,
    tools: Vec<Tool>,
}

fn rule(text: &str, when: Option<&str>) -> Rule {
    Rule {
        condition: Condition::parse(when, None).expect("the condition is one"),
        ..Rule::from(Target::parse(About::Any, text).expect("the pattern is one"))
    }
}

fn role(name: &str) -> RoleName {
    RoleName::new(name).expect("the name is one")
}

impl World {
    /// Ten roles with a hundred rules each; the principal holds three. One more has a rule for each condition.
    fn new(conditions: &[&str]) -> Self {
        let rules = |number: usize| {
            let rules = (0..RULES / ROLES).map(move |rule| (number * RULES / ROLES + rule) % TOOLS);
            rules.map(|tool| format!("up{}.tool_{}*", tool % UPSTREAMS, tool / UPSTREAMS))
        };
        let roles = (0..ROLES).map(|number| Role {
            name: role(&format!("role{number}")),
            members: BTreeSet::new(),
            allow: rules(number).map(|text| rule(&text, None)).collect(),
            ask: Vec::new(),
            deny: Vec::new(),
        });
        let conditional = Role {
            name: role("careful"),
            members: BTreeSet::new(),
            allow: vec![rule("*", None)],
            ask: Vec::new(),
            deny: conditions
                .iter()
                .map(|when| rule("*", Some(when)))
                .collect(),
        };
        let held = ["role0", "role4", "role9", "careful"].map(role);
        Self {
            rules: Rules::new(roles.chain([conditional]).collect()).expect("the rules are good"),
            principal: Principal {
                id: PrincipalId::new("alice@example.com").expect("the name is one"),
                roles: BTreeSet::from(held),
                credential: Credential::ApiKey("k1".to_owned()),
                client: None,
                scopes: Scopes::CALLS,
                expires_at: None,
                claims: Arc::new(claims()),
            },
            tools: (0..TOOLS)
                .map(|number| Tool {
                    upstream: UpstreamId::parse(&format!("up{}", number % UPSTREAMS))
                        .expect("the name is one"),
                    name: format!("tool_{}", number / UPSTREAMS),
                    memo: Memo::default(),
                })
                .collect(),
        }
    }

    /// Each tool was asked for once.
    fn warm(conditions: &[&str]) -> Self {
        let world = Self::new(conditions);
        for tool in &world.tools {
            black_box(
                world
                    .rules
                    .decide(&world.principal, &tool.subject(), &facts(None)),
            );
        }
        world
    }
}

fn facts(arguments: Option<&Value>) -> Facts<'_> {
    Facts {
        arguments,
        client: "bench/1.0",
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
}

/// One decision after the other, tool by tool.
fn one_by_one(bencher: Bencher<'_, '_>, conditions: &[&str]) {
    let (world, arguments) = (World::warm(conditions), arguments());
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 7) % TOOLS;
        let decision = world.rules.decide(
            &world.principal,
            &world.tools[next].subject(),
            &facts(Some(&arguments)),
        );
        assert!(matches!(decision, Decision::Allow(_)), "{decision:?}");
    });
}

/// The arguments of a call with ten members.
fn arguments() -> Value {
    json!({
        "id": 4711, "title": "printer on fire", "priority": "p2", "assignee": "bob",
        "labels": ["office", "urgent"], "watchers": [], "estimate": 1.5, "notify": true,
        "body": "It is smoking again. ".repeat(200), "due": "2026-12-01",
    })
}

/// What an identity provider says of somebody.
fn claims() -> Map<String, Value> {
    let claims = json!({
        "iss": "https://login.example.com", "email": "alice@example.com", "email_verified": true,
        "department": "support", "level": 3, "groups": ["support", "oncall", "emea", "staff"],
    });
    serde_json::from_value(claims).expect("it is an object")
}

const ON_ARGUMENTS: &str =
    "context.args.priority == \"p0\" && !(context.args.assignee like \"bob*\")";
const ON_CLAIMS: &str =
    "principal.claims.department == \"sales\" || principal.claims.groups.contains(\"interns\")";
const ON_TIME: &str = "context.now < datetime(\"2026-01-01\")";
const ON_CLIENT: &str = "context.client like \"cursor*\"";

#[divan::bench(sample_size = 200)]
fn without_condition(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &[]);
}

#[divan::bench(sample_size = 200)]
fn with_a_condition_on_arguments(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &[ON_ARGUMENTS]);
}

#[divan::bench(sample_size = 200)]
fn with_a_condition_on_the_principal(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &["principal.id == \"root\""]);
}

#[divan::bench(sample_size = 200)]
fn with_a_condition_on_claims(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &[ON_CLAIMS]);
}

#[divan::bench(sample_size = 200)]
fn with_a_condition_on_the_time(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &[ON_TIME]);
}

#[divan::bench(sample_size = 200)]
fn with_a_condition_on_the_client(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &[ON_CLIENT]);
}

/// One rule that looks at all of these.
#[divan::bench(sample_size = 200)]
fn with_a_condition_on_everything(bencher: Bencher<'_, '_>) {
    let when = "context.args.estimate.greaterThan(decimal(\"8.0\")) && principal.id != \"root\" \
                && context.now > datetime(\"2026-01-01\") && context.client like \"cursor*\"";
    one_by_one(bencher, &[when]);
}

/// Four rules, and nothing that one of them looks at is looked at by another.
#[divan::bench(sample_size = 200)]
fn with_four_conditions(bencher: Bencher<'_, '_>) {
    one_by_one(bencher, &[ON_ARGUMENTS, ON_CLAIMS, ON_TIME, ON_CLIENT]);
}

/// What a list of all tools costs once it was asked for.
#[divan::bench]
fn a_list_of_2000_tools(bencher: Bencher<'_, '_>) {
    let world = World::warm(&[]);
    bencher.bench_local(|| {
        let seen = world.tools.iter().filter(|tool| {
            world
                .rules
                .may_see(&world.principal, &tool.subject(), &facts(None))
        });
        assert_eq!(black_box(seen.count()), TOOLS);
    });
}

/// The same for the first who holds these roles.
#[divan::bench(sample_count = 10)]
fn the_first_list_of_2000_tools(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| World::new(&[]))
        .bench_local_values(|world| {
            let seen = world.tools.iter().filter(|tool| {
                world
                    .rules
                    .may_see(&world.principal, &tool.subject(), &facts(None))
            });
            assert_eq!(black_box(seen.count()), TOOLS);
        });
}

/// Reading a config.
#[divan::bench(sample_count = 5)]
fn compiling_1000_rules() {
    black_box(World::new(&[ON_ARGUMENTS]));
}
