//! Which entry of the catalog a request is about, looked for only among what its principal may see.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use policy::{Decision, Scope};
use serde_json::Value;
use wire::method::{Area, Subject};
use wire::{Method, MethodName, Params, Reference};

use super::authorize::{decide, sees, subject_name, verb};
use super::{Asked, Call, View};
use crate::catalog::Entry;
use crate::exchange::Desk;
use crate::record::CallRecord;
use crate::{Rejection, translate};

/// Whether the credential may be used for this at all; what its holder may do is the rules' business.
pub(super) fn within_scope(
    asked: &Asked,
    method: &Method,
    params: &Params,
) -> Result<(), Rejection> {
    let held = asked.principal.scopes;
    let needed = match method.area {
        None => return Ok(()),
        Some(Area::Tools) => Scope::Tools,
        Some(Area::Prompts) => Scope::Prompts,
        Some(Area::Resources) => Scope::Resources,
        Some(Area::Reference) if matches!(params.reference, Some(Reference::Prompt(_))) => {
            Scope::Prompts
        }
        Some(Area::Reference) => Scope::Resources,
    };
    if held.contains(needed) {
        return Ok(());
    }
    let needed = needed.into();
    Err(Rejection::Unscoped { needed, held })
}

/// The row of the table, if this era has it; or the one that stands for what the config routes to an upstream.
pub(super) fn find_method(asked: &Asked, view: &View) -> Result<&'static Method, Rejection> {
    match &asked.request.method {
        MethodName::Known(method) if method.is_in(asked.revision.era()) => Ok(method),
        MethodName::Known(method) => Err(Rejection::UnknownMethod(method.name.to_owned())),
        MethodName::Unknown(name) if view.catalog.methods.get(name).is_some() => {
            Ok(&wire::method::EXTENSION)
        }
        MethodName::Unknown(name) => Err(Rejection::UnknownMethod(name.clone())),
    }
}

/// The whole of a result of which this principal got the beginning, if that is what it reads.
pub(super) fn kept(
    asked: &Asked,
    method: &'static Method,
    params: &Params,
    desk: &Desk,
    record: &mut CallRecord,
) -> Option<Bytes> {
    if method.name != wire::method::RESOURCES_READ.name {
        return None;
    }
    let (uri, reader) = (params.uri.as_deref()?, &asked.principal.id);
    let whole = desk.results.read(uri, reader, record.opened())?;
    record.note(|row| (row.entry, row.decision) = (Some(uri.to_owned()), "allow".into()));
    let era = asked.revision.era();
    Some(translate::result(era, method, whole))
}

/// Finds the catalog entry, only among what this principal may see.
pub(super) fn resolve<'a>(
    asked: &'a Asked,
    method: &'static Method,
    params: &'a Params,
    view: &View,
    desk: &Desk,
    record: &mut CallRecord,
) -> Result<Call<'a>, Rejection> {
    let catalog = &view.catalog;
    let mut task = None;
    let need = |member: &Option<String>, name: &str| {
        member
            .clone()
            .ok_or_else(|| Rejection::BadParams(format!("`{name}` is missing")))
    };
    let may = |entry: &Entry| {
        let name = subject_name(method, params, entry);
        let facts = asked.facts(None);
        sees(&asked.principal, verb(method), entry, name, &facts, view)
    };
    type Found<'c> = (String, Option<&'c Arc<Entry>>, fn(String) -> Rejection);
    let (key, entry, unknown): Found<'_> = match method.subject {
        Subject::Tool => {
            let name = need(&params.name, "name")?;
            let entry = catalog.tools.pick(&name, may);
            (name, entry, Rejection::UnknownTool)
        }
        Subject::Prompt => {
            let name = need(&params.name, "name")?;
            let entry = catalog.prompts.pick(&name, may);
            (name, entry, Rejection::UnknownPrompt)
        }
        Subject::Resource => {
            let uri = need(&params.uri, "uri")?;
            let entry = catalog.serving(&uri, may);
            (uri, entry, Rejection::UnknownResource)
        }
        Subject::Reference => match &params.reference {
            Some(Reference::Prompt(name)) => (
                name.clone(),
                catalog.prompts.pick(name, may),
                Rejection::UnknownPrompt,
            ),
            Some(Reference::Resource(uri)) => {
                let entry = catalog
                    .templates
                    .pick(uri, may)
                    .or_else(|| catalog.resources.pick(uri, may));
                (uri.clone(), entry, Rejection::UnknownResource)
            }
            None => return Err(Rejection::BadParams("`ref` is missing".to_owned())),
        },
        Subject::Task => {
            let id = need(&params.task_id, "taskId")?;
            task = desk.tasks.open(&id, &asked.principal.id);
            let entry = task
                .as_ref()
                .and_then(|task| catalog.tools.served(&task.upstream, &task.tool));
            // The record names the tool: an id of a task says nothing to its reader.
            let key = entry.map_or_else(|| "(task)".to_owned(), |entry| entry.key.clone());
            (key, entry, |_| Rejection::UnknownTask)
        }
        Subject::Method => {
            let name = asked.request.method.as_str().to_owned();
            let entry = catalog.methods.pick(&name, may);
            (name, entry, Rejection::UnknownMethod)
        }
        Subject::Gate => {
            return Err(Rejection::UnknownMethod(method.name.to_owned()));
        }
    };
    let Some(entry) = entry.filter(|entry| may(entry)) else {
        let denied = entry.and_then(|entry| {
            let name = subject_name(method, params, entry);
            let facts = asked.facts(None);
            match decide(&asked.principal, verb(method), entry, name, &facts, view) {
                Decision::Deny(rule) => Some(rule.to_string()),
                Decision::Allow(_) | Decision::Ask(_) | Decision::Unseen => None,
            }
        });
        record.note(|row| {
            (row.entry, row.decision) = (Some(key.clone()), "unseen".into());
            row.upstream = entry.map(|entry| entry.link.id().to_string());
            if denied.is_some() {
                (row.decision, row.rule) = ("deny".into(), denied);
            }
        });
        // Unknown, not forbidden: "forbidden" would confirm to a stranger that it exists.
        return Err(unknown(key));
    };
    record.note(|row| {
        (row.upstream, row.entry) = (Some(entry.link.id().to_string()), Some(key));
        row.definition = Some(entry.definition.to_string());
    });
    // A task that was begun before may still be ended.
    if let Some(why) = entry.withheld
        && method.name != wire::method::TASKS_CANCEL.name
    {
        record.note(|row| row.decision = "withheld".into());
        let entry = entry.key.clone();
        return Err(Rejection::Withheld { entry, why });
    }
    let entry = Arc::clone(entry);
    Ok(Call {
        asked,
        method,
        params: Cow::Borrowed(params),
        arguments: Value::Null,
        entry,
        task,
        heard: Mutex::default(),
    })
}
