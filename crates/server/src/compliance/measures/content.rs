//! What is in definitions, arguments and results: what is let through, and what is not.

use gateway::{ChangedEntry, NewEntry, OutputCheck, Prefix};
use policy::screen::{Action, Place, Settings, Treatment};

use super::super::measure::{Gate, Measure, Verdict, listed};

/// Strict parsing.
pub(in crate::compliance) static STRICT_PARSING: Measure = Measure {
    id: "strict-parsing",
    title: "What two readers could understand differently is refused",
    does: "One strict reader at the edge: duplicate members, broken UTF-8, NUL in names, too much depth, headers that contradict the body. What was checked is what is sent.",
    keys: &["http.body_max"],
    tests: &[
        "wire/src/json/tests.rs::a_member_that_stands_twice_is_refused_at_every_depth",
        "wire/src/frame/tests.rs::no_bytes_whatever_make_it_panic",
        "cases/validate/duplicate-key.md",
        "cases/door/header-mismatch.md",
    ],
    queries: &["portcullis audit search --outcome refused"],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Schemas.
pub(in crate::compliance) static VALIDATION: Measure = Measure {
    id: "validation",
    title: "Arguments and results fit their schemas",
    does: "Arguments are held against the tool's JSON Schema before rules decide, and structured results against its output schema. Schemas that reach outside or cost too much are not used.",
    keys: &[
        "validation.strict",
        "validation.output",
        "upstreams.*.validation.output",
    ],
    tests: &[
        "testkit/tests/it/schemas.rs::the_required_tests_of_2020_12_pass",
        "policy/src/schema/tests/hostile.rs::hostile_schemas_and_values_cost_little",
        "policy/src/schema/tests.rs::a_schema_that_reaches_outside_is_refused",
        "cases/validate/wrong-type.md",
        "cases/validate/output.md",
    ],
    queries: &["portcullis audit search --outcome refused"],
    judge: |gate| {
        let settings = &gate.loaded.gateway.validation;
        let mut lax: Vec<String> = settings
            .of
            .iter()
            .filter(|(_, one)| one.output == OutputCheck::Off)
            .map(|(alias, _)| alias.to_string())
            .collect();
        if settings.default.output == OutputCheck::Off {
            lax = vec!["validation.output".to_owned()];
        }
        match lax.as_slice() {
            [] if settings.default.strict => {
                Verdict::on("arguments and results are checked, and unknown members are refused")
            }
            [] => Verdict::on(
                "arguments and results are checked; members that a schema leaves open pass",
            ),
            lax => Verdict::partly(
                format!("arguments are checked, results are not: {}", listed(lax)),
                "validation.output = \"check\"",
            ),
        }
    },
};

/// Pins.
pub(in crate::compliance) static PINS: Measure = Measure {
    id: "pins",
    title: "A definition that changed is withheld",
    does: "What an upstream offers is held to the definition that was approved: name, description, schemas, instructions, the server's own name. Another one is neither listed nor called until an owner has looked at the difference.",
    keys: &["pins.changed", "upstreams.*.pins.changed"],
    tests: &[
        "testkit/tests/it/pins.rs::a_changed_tool_is_seen_by_nobody_and_reaches_nothing_until_an_owner_agrees",
        "testkit/tests/it/pins.rs::an_older_definition_does_not_come_back_by_itself",
        "testkit/tests/it/pins.rs::another_server_behind_the_same_alias_serves_nothing",
        "cases/pins/changed.md",
    ],
    queries: &["portcullis pin list --withheld"],
    judge: |gate| {
        let pins = &gate.loaded.gateway.pins;
        const REMEDY: &str = "pins.changed = \"withhold\"";
        if pins.default.changed == ChangedEntry::Accept {
            return Verdict::off(
                "a changed definition is taken, with a word in the log",
                REMEDY,
            );
        }
        let lax: Vec<String> = pins
            .of
            .iter()
            .filter(|(_, one)| one.changed == ChangedEntry::Accept)
            .map(|(alias, _)| alias.to_string())
            .collect();
        match (lax.as_slice(), gate.facts) {
            ([], Some(facts)) => Verdict::on(format!(
                "{} definitions are approved, {} wait",
                facts.pins_approved, facts.pins_waiting
            )),
            ([], None) => Verdict::on("it holds for every upstream"),
            (lax, _) => Verdict::partly(format!("changes of {} are taken", listed(lax)), REMEDY),
        }
    },
};

/// Quarantine.
pub(in crate::compliance) static QUARANTINE: Measure = Measure {
    id: "quarantine",
    title: "Nothing is served that nobody has looked at",
    does: "What an upstream offers for the first time can wait for an owner's approval; otherwise it is taken as it is first seen, and held to that.",
    keys: &["pins.new", "upstreams.*.pins.new"],
    tests: &[
        "testkit/tests/it/pins.rs::in_quarantine_nothing_is_served_that_nobody_has_looked_at",
        "cases/pins/quarantine.md",
    ],
    queries: &["portcullis pin list --withheld"],
    judge: |gate| {
        let pins = &gate.loaded.gateway.pins;
        const REMEDY: &str = "pins.new = \"quarantine\"";
        if pins.default.new == NewEntry::Approve {
            return Verdict::off("what is first seen is taken as it is", REMEDY);
        }
        let lax: Vec<String> = pins
            .of
            .iter()
            .filter(|(_, one)| one.new == NewEntry::Approve)
            .map(|(alias, _)| alias.to_string())
            .collect();
        match lax.as_slice() {
            [] => Verdict::on("what is new waits for an owner"),
            lax => Verdict::partly(
                format!("what is new at {} is taken as it is", listed(lax)),
                REMEDY,
            ),
        }
    },
};

/// Names.
pub(in crate::compliance) static NAMES: Measure = Measure {
    id: "names",
    title: "No server passes for another",
    does: "Entries carry their upstream's alias; a name that could be taken for another's is withheld or prefixed, look-alike letters included. Rules match upstream and entry apart.",
    keys: &["catalog.prefix", "upstreams.*.prefix"],
    tests: &[
        "testkit/tests/it/servers.rs::who_looks_like_another_is_withheld",
        "testkit/tests/it/pins.rs::nobody_slips_under_a_name_that_is_withheld",
        "policy/src/confusable/tests.rs::letters_of_other_scripts_pass_for_latin_ones",
        "testkit/tests/it/slices/names.rs::a_bare_name_that_begins_like_anothers_prefixed_ones_gets_its_own_in_front",
    ],
    queries: &[],
    judge: |gate| match gate.loaded.gateway.catalog.prefix {
        Prefix::Always => Verdict::on("every entry carries its upstream's alias"),
        Prefix::OnCollision => {
            Verdict::on("entries carry their upstream's alias where two have a name")
        }
        Prefix::Never => Verdict::partly(
            "names stand alone; of two the first upstream in order keeps it",
            "catalog.prefix = \"always\"",
        ),
    },
};

fn settings<'a>(gate: &Gate<'a>) -> &'a Settings {
    gate.loaded.gateway.catalog.screen.settings()
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Off => "not looked for",
        Action::Flag => "recorded",
        Action::Mend => "taken out",
        Action::Refuse => "refused",
    }
}

fn of(settings: &Settings, place: Place) -> &Treatment {
    match place {
        Place::Definition => &settings.definitions,
        Place::Instructions => &settings.instructions,
        Place::Arguments => &settings.arguments,
        Place::Result => &settings.results,
    }
}

// What is done about one group in several places: on if it is stopped in each, off if it is looked for in none.
fn screened(
    gate: &Gate<'_>,
    places: &[(Place, &str)],
    group: fn(&Treatment) -> Action,
    remedy: &str,
) -> Verdict {
    let settings = settings(gate);
    let found = places
        .iter()
        .map(|(place, name)| (group(of(settings, *place)), name));
    let why: Vec<String> = found
        .clone()
        .map(|(action, name)| format!("in {name} {}", word(action)))
        .collect();
    let why = why.join(", ");
    let stops = |action| matches!(action, Action::Mend | Action::Refuse);
    if found.clone().all(|(action, _)| stops(action)) {
        Verdict::on(why)
    } else if found.clone().all(|(action, _)| action == Action::Off) {
        Verdict::off(why, remedy)
    } else {
        Verdict::partly(why, remedy)
    }
}

/// Secrets in what passes.
pub(in crate::compliance) static SCREEN_SECRETS: Measure = Measure {
    id: "screen-secrets",
    title: "Secrets do not pass in arguments and results",
    does: "Keys, tokens, passwords and private keys are known by their form and checksums, and are redacted or refused, on the way out to upstreams and back.",
    keys: &[
        "screening.arguments.secrets",
        "screening.results.secrets",
        "screening.ignore",
        "screening.allow",
    ],
    tests: &[
        "policy/src/screen/secrets/tests.rs::what_an_issuer_marks_is_known",
        "policy/src/screen/tests.rs::a_text_is_looked_at_to_its_last_byte_or_refused",
        "cases/screen/secrets.md",
        "cases/screen/arguments.md",
    ],
    queries: &["portcullis audit search --outcome refused --json"],
    judge: |gate| {
        screened(
            gate,
            &[(Place::Arguments, "arguments"), (Place::Result, "results")],
            |treatment| treatment.secrets,
            "screening.arguments.secrets = \"refuse\" and screening.results.secrets = \"redact\"",
        )
    },
};

/// Personal data in what passes.
pub(in crate::compliance) static SCREEN_PERSONAL: Measure = Measure {
    id: "screen-personal",
    title: "Personal data do not pass in arguments and results",
    does: "E-mail addresses, account and card numbers with the right check digits, telephone numbers are redacted or refused. Names and addresses in prose are not known.",
    keys: &[
        "screening.arguments.personal",
        "screening.results.personal",
        "screening.allow",
    ],
    tests: &[
        "policy/src/screen/personal/tests.rs::addresses_of_people",
        "policy/src/screen/personal/tests.rs::accounts_with_the_right_check_digits",
        "policy/src/screen/tests.rs::names_that_are_redacted_stay_apart",
    ],
    queries: &["portcullis audit search --json"],
    judge: |gate| {
        screened(
            gate,
            &[(Place::Arguments, "arguments"), (Place::Result, "results")],
            |treatment| treatment.personal,
            "screening.arguments.personal and screening.results.personal = \"redact\"",
        )
    },
};

/// Orders to models.
pub(in crate::compliance) static SCREEN_INJECTION: Measure = Measure {
    id: "screen-injection",
    title: "Texts that give a model orders are noticed",
    does: "Definitions, instructions and results are searched for phrases that give a model orders, also when invisible characters split them: recorded, framed as data, or refused. It is a heuristic: what it does not know passes.",
    keys: &[
        "screening.definitions.injection",
        "screening.instructions.injection",
        "screening.results.injection",
        "screening.threshold",
    ],
    tests: &[
        "policy/src/screen/injection/tests.rs::orders_are_known_however_they_are_broken_up",
        "policy/src/screen/injection/tests.rs::a_poisoned_description_weighs_enough_together",
        "policy/src/screen/tests.rs::orders_are_framed_and_cannot_leave_the_frame",
        "cases/screen/injection.md",
    ],
    queries: &["portcullis audit search --json"],
    judge: |gate| {
        screened(
            gate,
            &[
                (Place::Definition, "definitions"),
                (Place::Instructions, "instructions"),
                (Place::Result, "results"),
            ],
            |treatment| treatment.injection,
            "screening.definitions.injection = \"block\", screening.instructions.injection = \"block\" and screening.results.injection = \"wrap\"",
        )
    },
};

/// The invisible.
pub(in crate::compliance) static SCREEN_INVISIBLE: Measure = Measure {
    id: "screen-invisible",
    title: "What people cannot see does not reach a model",
    does: "Control characters, terminal sequences, bidirectional overrides, tags, characters without width and for private use are taken out of definitions, instructions and results, or all of it is refused.",
    keys: &[
        "screening.definitions.invisible",
        "screening.instructions.invisible",
        "screening.results.invisible",
    ],
    tests: &[
        "policy/src/screen/invisible/tests.rs::what_nobody_sees_is_found",
        "policy/src/screen/tests.rs::words_that_the_invisible_splits_are_read_as_one",
        "cases/screen/invisible.md",
    ],
    queries: &["portcullis audit search --json"],
    judge: |gate| {
        screened(
            gate,
            &[
                (Place::Definition, "definitions"),
                (Place::Instructions, "instructions"),
                (Place::Result, "results"),
            ],
            |treatment| treatment.invisible,
            "screening.definitions.invisible, screening.instructions.invisible and screening.results.invisible = \"strip\"",
        )
    },
};

/// Flows.
pub(in crate::compliance) static FLOWS: Measure = Measure {
    id: "flows",
    title: "Private data do not leave through what strangers wrote",
    does: "Who has seen both private data and what strangers wrote within a window has a person asked before each call that can carry data out.",
    keys: &[
        "flows.private",
        "flows.untrusted",
        "flows.sends",
        "flows.open_world",
        "flows.window",
    ],
    tests: &[
        "gateway/src/flows/tests.rs::both_in_one_window_are_toxic_in_whatever_order",
        "gateway/src/flows/tests.rs::a_full_table_makes_nobody_look_harmless",
        "testkit/tests/it/slices/flows.rs::what_was_seen_outlives_a_session_and_counts_in_the_next_until_its_time_is_over",
        "cases/screen/flows.md",
    ],
    queries: &["portcullis consent list --all"],
    judge: |gate| {
        let flows = &gate.loaded.gateway.flows;
        match (flows.sends.is_empty(), flows.private.is_empty()) {
            (false, false) => {
                Verdict::on("what is private and what can carry data out is labelled")
            }
            (true, _) => Verdict::off(
                "no entry is labelled as one that can carry data out",
                "flows.private = [\"mail.*\"] and flows.sends = [\"mail.send\"]",
            ),
            (false, true) => Verdict::off(
                "no entry is labelled as one that yields private data",
                "flows.private = [\"mail.*\"]",
            ),
        }
    },
};
