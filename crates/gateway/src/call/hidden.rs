//! What clients are told of arguments that do not fit, where a virtual server fixes some that they do not see.
//!
//! A complaint names what is known and what was perhaps meant. The arguments that a server adds are no news to anybody but
//! their operator, so complaints are made anew, of the schema that clients see and of what they gave themselves.

use policy::{Fault, PromptArguments, Schema};
use serde_json::Value;

use super::validate::{faults, prompt_faults};
use super::{Call, Means};
use crate::catalog::Entry;

/// What is said where nothing more can be.
const UNSAID: &str = "they do not fit the schema";

/// The arguments that clients neither see nor give.
pub(super) fn arguments(entry: &Entry) -> &[String] {
    entry.hidden()
}

/// What a client may read about its arguments to a tool.
pub(super) async fn of_tool(
    call: &Call<'_>,
    hidden: &[String],
    is_strict: bool,
    means: &Means<'_>,
) -> Vec<Fault> {
    let shown = call.entry.shown_schema(means.schemas).await;
    let given = given(&call.arguments, hidden);
    let check = |schema: &Schema| faults(schema, &given, is_strict);
    told(shown.as_deref().map(check).unwrap_or_default(), hidden)
}

/// The same of its arguments to a prompt.
pub(super) fn of_prompt(call: &Call<'_>, hidden: &[String], is_strict: bool) -> Vec<Fault> {
    let shown = call.entry.shown_arguments();
    let takes = shown.map(|shown| PromptArguments::read(&shown));
    let given = given(&call.arguments, hidden);
    told(prompt_faults(takes, &given, is_strict), hidden)
}

/// What the client gave itself.
fn given(arguments: &Value, hidden: &[String]) -> Value {
    let mut given = arguments.clone();
    if let Some(members) = given.as_object_mut() {
        members.retain(|name, _| !hidden.contains(name));
    }
    given
}

/// Leaves out what names a hidden argument all the same: a schema may speak of it in other places.
fn told(faults: Vec<Fault>, hidden: &[String]) -> Vec<Fault> {
    let is_named = |fault: &Fault| {
        let mut hidden = hidden.iter();
        hidden.any(|name| fault.message.contains(name.as_str()))
    };
    let told: Vec<Fault> = faults.into_iter().filter(|one| !is_named(one)).collect();
    if told.is_empty() {
        let (path, message) = (String::new(), UNSAID.to_owned());
        return vec![Fault { path, message }];
    }
    told
}
