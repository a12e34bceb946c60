//! `docs/reference/audit.md`: every field of a record, and everything that records are about.

use std::fmt::Write as _;

use store::Outcome;

use super::acts::ACTS;

/// A field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it can be erased: then the record holds a salted hash over it.
    pub is_personal: bool,
    /// What it is.
    pub meaning: &'static str,
}

/// All of them, in the order of their names. `personal` is none: it is what stands for all that can be erased.
pub const FIELDS: &[Field] = &[
    own(
        "actor",
        "the OAuth client that acted for the principal, if one did",
    ),
    own(
        "address",
        "the address that it came from: the connection's, or what a proxy in `http.trusted_proxies` says",
    ),
    own(
        "arguments",
        "the arguments, if `audit.arguments` keeps any: redacted, or sealed for the auditor",
    ),
    own(
        "arguments_digest",
        "SHA-256 over the arguments as they were sent, hex",
    ),
    field("at_us", "when it came in: microseconds since 1970"),
    field("bytes_in", "size of the request"),
    field("bytes_out", "size of the answer"),
    field(
        "call_id",
        "the id that the caller was told, a UUID; what was begun and what came of it share one",
    ),
    own(
        "client",
        "name and version of the client, as it says; 120 characters",
    ),
    field("code", "of the JSON-RPC error, if it was one"),
    field(
        "consent",
        "the id of the consent that let it through, or of the request for one that it made",
    ),
    own(
        "credential",
        "how the principal proved who it is, and by which key, token or certificate",
    ),
    field(
        "decision",
        "what the rules said: `allow`, `ask`, `deny`, `unseen`; `withheld`; or `-`",
    ),
    field(
        "definition",
        "SHA-256 over the canonical form of the entry's definition, or of the config, hex",
    ),
    field("duration_us", "from the first byte in to the last byte out"),
    field(
        "entry",
        "which tool, prompt or resource; or what an act is about, if that is no person; 1,000 characters",
    ),
    field("method", "what was asked for, or what happened: see below"),
    field("outcome", "how it ended: see below"),
    own(
        "principal",
        "who: `-` is nobody who is known, `system` the gate itself",
    ),
    own("reason", "why, in the operator's words; 1,000 characters"),
    field("revision", "of the protocol"),
    field("rule", "which rule said so"),
    field("screened", "what screening found and did: kinds and counts"),
    field("seq", "the record's number; grows by one"),
    field("server", "the virtual server that was asked"),
    own("subject", "whom an act is about, if that is a person"),
    field(
        "trace_id",
        "of the W3C trace context that it belongs to, 32 hex digits",
    ),
    field(
        "transport",
        "how it came in: `http`, `sse`, `websocket`, `stdio`, `local`, `cli`; or `-`",
    ),
    field("upstream", "whose entry it was"),
];

const fn field(name: &'static str, meaning: &'static str) -> Field {
    Field {
        name,
        is_personal: false,
        meaning,
    }
}

const fn own(name: &'static str, meaning: &'static str) -> Field {
    Field {
        name,
        is_personal: true,
        meaning,
    }
}

/// The page. `methods` are those of the protocol.
#[must_use]
pub fn reference<'m>(methods: impl Iterator<Item = &'m str>) -> String {
    let mut page = String::from(
        "# The audit log\n\nMade from `crates/observe/src/audit` by `cargo xtask bless`; do not edit.\n\n\
         ## Fields\n\nIn `portcullis audit export` a record has what cannot be erased as `record`, and the rest as \
         `personal`; what is not known is left out. `record.personal` is the salted hash over the other part: it stays when \
         that is erased, and with it what the log proves.\n\n\
         | field | can be erased | what it is |\n|---|---|---|\n",
    );
    for field in FIELDS {
        let erased = if field.is_personal { "yes" } else { "" };
        row(&mut page, &[&code(field.name), erased, field.meaning]);
    }
    page.push_str("\n## Outcomes\n\n| outcome | how it ended |\n|---|---|\n");
    for outcome in Outcome::ALL {
        row(&mut page, &[&code(outcome.as_str()), outcome.meaning()]);
    }
    page.push_str(
        "\n## Methods\n\nThose of the protocol, each with one record, and one before its upstream sees it where it can have an \
         effect; `extension` stands for what the config routes to an upstream by name.\n\n",
    );
    let methods: Vec<String> = methods.map(code).collect();
    page.push_str(&methods.join(", "));
    page.push_str(".\n\nAnd what else is recorded:\n\n| method | when |\n|---|---|\n");
    for act in ACTS {
        row(&mut page, &[&code(act.name), act.meaning]);
    }
    page
}

fn code(text: &str) -> String {
    ["`", text, "`"].concat()
}

fn row(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    // Writing to a String cannot fail.
    let _written = writeln!(page, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Map, Value};
    use store::audit::merkle::Hash;
    use store::audit::text;

    use super::super::tests::row;
    use super::*;

    /// A record of which everything is known.
    fn whole() -> store::AuditRow {
        let known = || Some("x".to_owned());
        store::AuditRow {
            upstream: known(),
            entry: known(),
            arguments_digest: known(),
            rule: known(),
            server: known(),
            definition: known(),
            consent: known(),
            screened: known(),
            trace_id: known(),
            arguments: known(),
            address: known(),
            actor: known(),
            subject: known(),
            code: Some(1),
            reason: known(),
            ..row()
        }
    }

    #[test]
    fn the_page_has_every_field_of_a_record_and_no_other() {
        let row = whole();
        let names = |text: String| -> BTreeSet<String> {
            let members: Map<String, Value> = serde_json::from_str(&text).unwrap();
            members.keys().cloned().collect()
        };
        let listed = |is_personal| -> BTreeSet<String> {
            let fields = FIELDS
                .iter()
                .filter(|field| field.is_personal == is_personal);
            fields.map(|field| field.name.to_owned()).collect()
        };
        assert_eq!(names(text::personal(&row.fields())), listed(true));
        let mut record = names(text::record(1, &row.fields(), &Hash::default()));
        assert!(record.remove("personal"));
        assert_eq!(record, listed(false));
    }

    #[test]
    fn nothing_is_listed_twice() {
        let acts: BTreeSet<&str> = ACTS.iter().map(|act| act.name).collect();
        assert_eq!(acts.len(), ACTS.len());
        let page = reference(std::iter::once("tools/call"));
        assert!(page.contains("| `audit/pruned` |") && page.contains("`tools/call`."));
    }
}
