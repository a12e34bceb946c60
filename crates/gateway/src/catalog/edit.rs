//! What is different about an entry of a virtual server: its definition as clients see it, and arguments that every
//! call has.
//!
//! What the upstream is sent is its own name, and the client's arguments byte for byte with the server's behind.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use policy::{Memo, Schema, SubjectKind};
use serde_json::{Map, Value};
use wire::json;

use super::Entry;
use crate::dialect;
use crate::schemas::{self, Schemas};
use crate::screening::Shown;
use crate::settings::{CatalogSettings, Edit};

/// Where an entry of a slice comes from.
#[derive(Debug)]
pub(super) struct Origin {
    base: Arc<Entry>,
    edit: Option<Arc<Edit>>,
    /// The arguments that clients neither see nor give.
    hidden: Box<[String]>,
}

impl Entry {
    /// An entry of a slice, made of one of the whole catalog.
    pub(super) fn sliced(
        base: &Arc<Self>,
        key: String,
        edit: Option<&Arc<Edit>>,
        settings: &CatalogSettings,
    ) -> Self {
        let family = settings.dialect.schemas;
        let shown = if base.shown.is_by(&settings.screen) {
            base.shown.clone()
        } else {
            Shown::new(&settings.screen, base.link.id(), base.kind, &base.item)
        };
        let text = shown.item.renamed(&key);
        let text = match edit {
            Some(edit) => edited(&text, base.kind, edit),
            None => text,
        };
        Self {
            kind: base.kind,
            text: match base.kind {
                SubjectKind::Tool => dialect::tool(text, family),
                SubjectKind::Prompt
                | SubjectKind::Resource
                | SubjectKind::Method
                | SubjectKind::Sampling
                | SubjectKind::Admin => text,
            },
            key,
            family,
            item: base.item.clone(),
            link: Arc::clone(&base.link),
            withheld: base.withheld.or(shown.withheld()),
            shown,
            compiled: Arc::clone(&base.compiled),
            template: base.template.clone(),
            traits: base.traits,
            // Rules may speak of the virtual server.
            memo: Memo::default(),
            definition: Arc::clone(&base.definition),
            order: edit.map_or(0, |edit| edit.order),
            origin: Some(Origin {
                base: Arc::clone(base),
                edit: edit.map(Arc::clone),
                hidden: edit
                    .filter(|edit| !edit.defaults_may_change)
                    .map(|edit| edit.defaults.keys().cloned().collect())
                    .unwrap_or_default(),
            }),
            looks: OnceLock::new(),
            words: OnceLock::new(),
        }
    }

    /// Whether it was made of that one in that way.
    pub(super) fn is_slice_of(&self, base: &Arc<Self>, edit: Option<&Arc<Edit>>) -> bool {
        self.origin
            .as_ref()
            .is_some_and(|origin| Arc::ptr_eq(&origin.base, base) && origin.edit.as_ref() == edit)
    }

    /// The arguments that clients neither see nor give.
    pub(crate) fn hidden(&self) -> &[String] {
        let origin = self.origin.as_ref();
        origin.map_or(&[], |origin| &origin.hidden)
    }

    /// The compiled schema of a tool's arguments as clients see it. It is for telling them what is wrong: what may be sent
    /// is said by [`schema`](Self::schema).
    pub(crate) async fn shown_schema(&self, schemas: &Schemas) -> Option<Arc<Schema>> {
        let whole = self.item.member("inputSchema")?;
        let edit = self.origin.as_ref()?.edit.as_ref()?;
        let shown = without_properties(whole, edit);
        let text = || shown.clone().into_owned();
        schemas.get(schemas::hash(&shown), text).await.ok()
    }

    /// A prompt's list of arguments as clients see it, in JSON.
    pub(crate) fn shown_arguments(&self) -> Option<Cow<'_, str>> {
        let whole = self.item.member("arguments")?;
        let edit = self.origin.as_ref().and_then(|origin| origin.edit.as_ref());
        Some(edit.map_or(Cow::Borrowed(whole), |edit| without_arguments(whole, edit)))
    }

    /// The arguments of a call with those that the virtual server gives; `None`: they are sent as they are. `given` is
    /// what `text` says.
    ///
    /// # Errors
    /// The arguments that the client gave and must not.
    pub(crate) fn with_defaults(
        &self,
        text: &[u8],
        given: &Value,
    ) -> Result<Option<Bytes>, Vec<String>> {
        let Some(edit) = self.origin.as_ref().and_then(|origin| origin.edit.as_ref()) else {
            return Ok(None);
        };
        let is_given = |name: &str| given.get(name).is_some();
        if !edit.defaults_may_change {
            // `Path` is `path` to who reads upper and lower case alike.
            let is_fixed = |name: &&String| {
                let mut fixed = edit.defaults.keys();
                fixed.any(|one| one == *name || json::is_same_but_for_case(one, name))
            };
            let names = given.as_object().into_iter().flat_map(Map::keys);
            let refused: Vec<String> = names.filter(is_fixed).cloned().collect();
            if !refused.is_empty() {
                return Err(refused);
            }
        }
        let added = edit.defaults.iter().filter(|(name, _)| !is_given(name));
        let added: Vec<String> = added
            .map(|(name, value)| format!("{}:{value}", json::string(name)))
            .collect();
        if added.is_empty() {
            return Ok(None);
        }
        let text = if text.is_empty() { b"{}" } else { text };
        Ok(Some(
            json::with_members_behind(text, &added.join(",")).into(),
        ))
    }
}

/// A definition as the config wants it, everything else byte for byte.
fn edited(definition: &Bytes, kind: SubjectKind, edit: &Edit) -> Bytes {
    let Ok(members) = json::members(definition) else {
        return definition.clone();
    };
    let mut out: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(members.len() + 2);
    let others = [("title", &edit.title), ("description", &edit.description)];
    let others = others
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.as_ref()?)));
    for (name, raw) in &members {
        let own = others.clone().find(|(other, _)| other == name);
        let text = match (own, kind, name.as_ref()) {
            (Some((_, text)), _, _) => Cow::Owned(json::string(text)),
            (None, SubjectKind::Tool, "inputSchema") => without_properties(raw.get(), edit),
            (None, SubjectKind::Prompt, "arguments") => without_arguments(raw.get(), edit),
            (None, _, _) => Cow::Borrowed(raw.get()),
        };
        out.push((Cow::Borrowed(name.as_ref()), text));
    }
    for (name, text) in others {
        if !members.iter().any(|(known, _)| known == name) {
            out.push((name.into(), json::string(text).into()));
        }
    }
    json::object(out).into()
}

/// A tool's schema without the arguments that clients do not give; those that they may give are not required.
fn without_properties<'a>(schema: &'a str, edit: &Edit) -> Cow<'a, str> {
    let Ok(members) = json::members(schema.as_bytes()) else {
        return schema.into();
    };
    if edit.defaults.is_empty() {
        return schema.into();
    }
    let is_default = |name: &str| edit.defaults.contains_key(name);
    let rewritten = members.iter().map(|(name, raw)| {
        let text = match name.as_ref() {
            "properties" if !edit.defaults_may_change => {
                let properties = json::members(raw.get().as_bytes()).unwrap_or_default();
                let kept = properties.iter().filter(|(name, _)| !is_default(name));
                Cow::Owned(json::object(kept.map(|(name, raw)| (name, raw.get()))))
            }
            "required" => {
                let names: Vec<String> = serde_json::from_str(raw.get()).unwrap_or_default();
                let kept = names.iter().filter(|name| !is_default(name));
                let kept: Vec<String> = kept.map(|name| json::string(name)).collect();
                Cow::Owned(format!("[{}]", kept.join(",")))
            }
            _ => Cow::Borrowed(raw.get()),
        };
        (name, text)
    });
    json::object(rewritten).into()
}

/// The same for a prompt's list of arguments.
fn without_arguments<'a>(arguments: &'a str, edit: &Edit) -> Cow<'a, str> {
    let Ok(mut list) = serde_json::from_str::<Vec<Map<String, Value>>>(arguments) else {
        return arguments.into();
    };
    if edit.defaults.is_empty() {
        return arguments.into();
    }
    let is_default = |argument: &Map<String, Value>| {
        let name = argument.get("name").and_then(Value::as_str);
        name.is_some_and(|name| edit.defaults.contains_key(name))
    };
    if edit.defaults_may_change {
        for argument in list.iter_mut().filter(|argument| is_default(argument)) {
            argument.remove("required");
        }
    } else {
        list.retain(|argument| !is_default(argument));
    }
    let list = list.into_iter().map(Value::Object).collect();
    Value::Array(list).to_string().into()
}
