//! Whether the arguments are what the entry takes, and the structured result what it promised; the last place where
//! arguments may change.

use std::borrow::Cow;

use policy::{Fault, PromptArguments, Schema};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wire::method::Subject;
use wire::{Outcome, Params, json};

use super::{Call, Means, View, Yield, hidden};
use crate::record::CallRecord;
use crate::schemas::SchemaOf;
use crate::settings::OutputCheck;
use crate::{Rejection, translate};

/// Holds the arguments against the tool's schema or the prompt's list. From 2025-11-25 on what does not fit a tool is told
/// as its own failure, so that the model reads it and repairs the call.
pub(super) async fn validate(
    call: &mut Call<'_>,
    view: &View,
    means: &Means<'_>,
    record: &mut CallRecord,
) -> Result<Option<Yield>, Rejection> {
    let arguments = call.params.arguments();
    note_digest(call, record);
    // Read strictly even without a schema: what two readers could understand differently is not passed on.
    call.arguments = json::strict_value(arguments.as_deref().unwrap_or(b"{}"))
        .map_err(|error| Rejection::BadParams(format!("`arguments`: {error}")))?;
    if call.method.subject == Subject::Tool {
        // What the client wrote: what is added below it cannot repeat.
        agrees_with_headers(call)?;
    }
    let refused = fill(call)?;
    note_digest(call, record);
    if !refused.is_empty() {
        return tell(call, &refused, record);
    }
    let is_strict = view.validation().of(call.entry.link.id()).strict;
    match call.method.subject {
        Subject::Tool => tool(call, is_strict, means, record).await,
        Subject::Prompt => prompt(call, is_strict).map(|()| None),
        Subject::Resource
        | Subject::Reference
        | Subject::Task
        | Subject::Method
        | Subject::Gate => Ok(None),
    }
}

async fn tool(
    call: &Call<'_>,
    is_strict: bool,
    means: &Means<'_>,
    record: &mut CallRecord,
) -> Result<Option<Yield>, Rejection> {
    let schema = call.entry.schema(SchemaOf::Arguments, means.schemas).await;
    let schema = schema.map_err(|reason| Rejection::BadSchema {
        tool: call.entry.key.clone(),
        reason: reason.to_string(),
    })?;
    let faults = match &schema {
        Some(schema) => faults(schema, &call.arguments, is_strict),
        None => Vec::new(),
    };
    if faults.is_empty() {
        return Ok(None);
    }
    let faults = match hidden::arguments(&call.entry) {
        [] => faults,
        hidden => hidden::of_tool(call, hidden, is_strict, means).await,
    };
    tell(call, &faults, record)
}

/// Notes the arguments as they are so far: what is sent in the end, or what was refused.
fn note_digest(call: &Call<'_>, record: &mut CallRecord) {
    if let Some(arguments) = call.params.arguments() {
        record.note_arguments(&call.entry, arguments);
    }
}

/// Adds the arguments that a virtual server gives; what of the client's is wrong with that.
fn fill(call: &mut Call<'_>) -> Result<Vec<Fault>, Rejection> {
    let bad = |error: String| Rejection::BadParams(format!("`arguments`: {error}"));
    let with = match call.method.subject {
        Subject::Tool | Subject::Prompt => {
            let given = call.params.arguments().unwrap_or_default();
            call.entry.with_defaults(&given, &call.arguments)
        }
        Subject::Reference => {
            let completion = Completion::read(&call.params)?;
            call.entry
                .with_defaults(&completion.context_text(), &completion.all())
        }
        Subject::Resource | Subject::Task | Subject::Method | Subject::Gate => Ok(None),
    };
    let whole = match with {
        Ok(None) => return Ok(Vec::new()),
        Ok(Some(whole)) => whole,
        // Clients do not see these arguments: they are told what they are told of any other that there is not.
        Err(refused) => {
            let fault = |name: String| Fault {
                path: String::new(),
                message: format!("unknown property `{name}`"),
            };
            return Ok(refused.into_iter().map(fault).collect());
        }
    };
    if call.method.subject == Subject::Reference {
        call.params = Cow::Owned(call.params.with_completed(&whole).map_err(bad)?);
        return Ok(Vec::new());
    }
    call.arguments = json::strict_value(&whole).map_err(|error| bad(error.to_string()))?;
    call.params = Cow::Owned(call.params.with_arguments(&whole).map_err(bad)?);
    Ok(Vec::new())
}

/// What conditions know as arguments of exactly what will be sent; `None`: nothing that they could judge by. A member
/// `arguments` says something of tools and prompts alone: elsewhere nobody but the gate would read it.
pub(super) fn known<'c>(call: &'c Call<'_>) -> Result<Option<Cow<'c, Value>>, Rejection> {
    Ok(match call.method.subject {
        Subject::Tool | Subject::Prompt => Some(Cow::Borrowed(&call.arguments)),
        Subject::Method => {
            let mut whole = strictly(&call.params)?;
            whole.remove("_meta");
            Some(Cow::Owned(Value::Object(whole)))
        }
        Subject::Reference => {
            let completion = Completion::read(&call.params)?;
            completion.is_plain().then(|| Cow::Owned(completion.all()))
        }
        Subject::Resource | Subject::Task | Subject::Gate => None,
    })
}

fn strictly(params: &Params) -> Result<Map<String, Value>, Rejection> {
    match json::strict_value(params.text()) {
        Ok(Value::Object(whole)) => Ok(whole),
        Ok(_) => Err(Rejection::BadParams("`params` must be an object".into())),
        Err(error) => Err(Rejection::BadParams(format!("`params`: {error}"))),
    }
}

/// What a completion says of arguments.
struct Completion {
    /// `argument`: what is completed, and what there is of it.
    argument: Option<(String, Value)>,
    /// `context.arguments`: what is known of the others.
    context: Map<String, Value>,
}

impl Completion {
    fn read(params: &Params) -> Result<Self, Rejection> {
        let mut whole = strictly(params)?;
        let mut take = |name: &str, members: &[&str]| match whole.remove(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(object)) => {
                let is_odd = |key: &String| {
                    let mut members = members.iter();
                    members.any(|one| json::is_same_but_for_case(one, key))
                };
                match object.keys().any(is_odd) {
                    true => Err(Rejection::BadParams(format!(
                        "`{name}` has a member whose name differs in case"
                    ))),
                    false => Ok(object),
                }
            }
            Some(_) => Err(Rejection::BadParams(format!("`{name}` must be an object"))),
        };
        let mut argument = take("argument", &["name", "value"])?;
        let mut context = take("context", &["arguments"])?;
        let argument = match (argument.remove("name"), argument.remove("value")) {
            (Some(Value::String(name)), value) => Some((name, value.unwrap_or_default())),
            (None, None) => None,
            _ => {
                return Err(Rejection::BadParams(
                    "`argument.name` must be a string".into(),
                ));
            }
        };
        let context = match context.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(_) => {
                let why = "`context.arguments` must be an object";
                return Err(Rejection::BadParams(why.into()));
            }
        };
        Ok(Self { argument, context })
    }

    /// Whether it says one thing of each argument.
    fn is_plain(&self) -> bool {
        self.argument.as_ref().is_some_and(|(name, value)| {
            let known = self.context.get(name);
            known.is_none_or(|known| known == value)
        })
    }

    /// All arguments of which it speaks.
    fn all(&self) -> Value {
        let mut all = self.context.clone();
        if let Some((name, value)) = &self.argument {
            all.insert(name.clone(), value.clone());
        }
        Value::Object(all)
    }

    fn context_text(&self) -> Vec<u8> {
        serde_json::to_vec(&self.context).unwrap_or_default()
    }
}

/// What is wrong with the arguments, for the model where its revision has it so.
fn tell(
    call: &Call<'_>,
    faults: &[Fault],
    record: &mut CallRecord,
) -> Result<Option<Yield>, Rejection> {
    let why = policy::schema::explain(faults);
    if call.method.subject != Subject::Tool
        || !call.asked.revision.tells_bad_arguments_to_the_model()
    {
        return Err(Rejection::BadArguments(why));
    }
    // What is wrong is for the model; the words of the client are not for the record.
    record.note(|row| row.reason = Some("arguments do not fit the schema".to_owned()));
    let text = json::string(&format!(
        "Invalid arguments for `{}`: {why}",
        call.entry.key
    ));
    let text = format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}");
    let text = translate::result(call.asked.revision.era(), call.method, text.into());
    Ok(Some(Yield::Result {
        text,
        is_tool_error: true,
    }))
}

/// What a client repeats of the arguments in headers must be what they are.
fn agrees_with_headers(call: &Call<'_>) -> Result<(), Rejection> {
    let Some(said) = &call.asked.mirrored else {
        return Ok(());
    };
    if !call.entry.is_faithful() {
        return Ok(());
    }
    let look_up = |name: &str| {
        let mut found = said
            .iter()
            .filter(|(said, _)| said.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => value.clone().map(Some),
            (Some(_), Some(_)) => Err(()),
        }
    };
    let disagrees = |name: &str| Rejection::HeaderMismatch(format!("Mcp-Param-{name}").into());
    let mirrored = call.entry.mirrored();
    mirrored.check(&call.arguments, look_up).map_err(disagrees)
}

/// What is wrong with arguments. Where they fit once `null` counts as "left out", as many clients write it, nothing is. Sent
/// on is what was written: what the tool makes of it is its own affair.
pub(super) fn faults(schema: &Schema, arguments: &Value, is_strict: bool) -> Vec<Fault> {
    let check = |arguments: &Value| match is_strict {
        true => schema.check_strictly(arguments),
        false => schema.check(arguments),
    };
    let faults = check(arguments);
    if faults.is_empty() {
        return faults;
    }
    let mut without_nulls = arguments.clone();
    if drop_nulls(&mut without_nulls) && check(&without_nulls).is_empty() {
        return Vec::new();
    }
    faults
}

/// Takes out members that are `null`; whether there was one.
fn drop_nulls(value: &mut Value) -> bool {
    let mut dropped = false;
    match value {
        Value::Object(members) => {
            let before = members.len();
            members.retain(|_, value| !value.is_null());
            dropped = members.len() < before;
            for value in members.values_mut() {
                dropped |= drop_nulls(value);
            }
        }
        Value::Array(items) => {
            for item in items {
                dropped |= drop_nulls(item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    dropped
}

fn prompt(call: &Call<'_>, is_strict: bool) -> Result<(), Rejection> {
    let takes = call.entry.item.member("arguments");
    let takes = takes.map(PromptArguments::read);
    let faults = prompt_faults(takes, &call.arguments, is_strict);
    if faults.is_empty() {
        return Ok(());
    }
    let faults = match hidden::arguments(&call.entry) {
        [] => faults,
        hidden => hidden::of_prompt(call, hidden, is_strict),
    };
    Err(Rejection::BadArguments(policy::schema::explain(&faults)))
}

/// A prompt that lists no arguments may take any, unless the config is strict; they are texts anyhow.
pub(super) fn prompt_faults(
    takes: Option<Result<PromptArguments, serde_json::Error>>,
    arguments: &Value,
    is_strict: bool,
) -> Vec<Fault> {
    match takes {
        Some(Ok(takes)) => takes.check(arguments),
        Some(Err(_)) | None if is_strict => PromptArguments::default().check(arguments),
        Some(Err(_)) | None => PromptArguments::check_texts(arguments),
    }
}

/// Holds a tool's structured result against its output schema. What does not fit is the upstream's error: it promised.
pub(super) async fn result(
    call: &Call<'_>,
    reply: &upstream::Reply,
    view: &View,
    means: &Means<'_>,
) -> Result<(), Rejection> {
    let Outcome::Result(text) = &reply.outcome else {
        return Ok(());
    };
    let settings = view.validation().of(call.entry.link.id());
    if settings.output == OutputCheck::Off {
        return Ok(());
    }
    let schema = call.entry.schema(SchemaOf::Results, means.schemas).await;
    let unfit = |reason: &str| Rejection::BadOutput {
        tool: call.entry.key.clone(),
        reason: reason.to_owned(),
    };
    let Some(schema) = schema.map_err(|reason| unfit(&reason))? else {
        return Ok(());
    };
    let Promised::Here(structured) = promised(call, text) else {
        return Ok(());
    };
    let Some(structured) = structured else {
        return Err(unfit("it has no structured content"));
    };
    let Ok(value) = json::strict_value(structured.as_bytes()) else {
        return Err(unfit("it can be read in several ways"));
    };
    match &schema.check(&value)[..] {
        [] => Ok(()),
        [_] => Err(unfit("one fault")),
        faults => Err(unfit(&format!("{} faults", faults.len()))),
    }
}

/// What a tool owes: structured content, once it is done and did not fail.
enum Promised {
    /// Not with this answer.
    NotNow,
    /// Here it is, or should be.
    Here(Option<String>),
}

/// Looks in the answer itself, or in that of a task about which somebody asks.
fn promised(call: &Call<'_>, text: &[u8]) -> Promised {
    // What is no object with members that differ is refused by the next stage.
    let Ok(outer) = json::members(text) else {
        return Promised::NotNow;
    };
    let inner = match call.method.subject {
        Subject::Tool => None,
        Subject::Task => member(&outer, "result"),
        Subject::Prompt
        | Subject::Resource
        | Subject::Reference
        | Subject::Method
        | Subject::Gate => return Promised::NotNow,
    };
    let members = match &inner {
        None => outer,
        Some(inner) => match json::members(inner.as_bytes()) {
            Ok(members) => members,
            Err(_) => return Promised::NotNow,
        },
    };
    let structured = member(&members, "structuredContent");
    let has_failed = member(&members, "isError").as_deref() == Some("true");
    let is_whole = member(&members, "content").is_some();
    if has_failed || (structured.is_none() && !is_whole) {
        return Promised::NotNow;
    }
    Promised::Here(structured)
}

fn member(members: &[(Cow<'_, str>, &RawValue)], name: &str) -> Option<String> {
    let found = members.iter().find(|(key, _)| key == name);
    found.map(|(_, raw)| raw.get().to_owned())
}
