//! List changes, told to whoever listens: a legacy GET stream, a pipe, a modern `subscriptions/listen`.

use bytes::Bytes;
use tokio::sync::watch;
use wire::method::notification;
use wire::{json, meta};

use crate::Gate;
use crate::Rejection;

/// Which lists somebody wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
}

impl Filter {
    /// What a legacy client gets: the lists that `initialize` declared as changing.
    pub(crate) const ALL: Self = Self {
        tools: true,
        prompts: true,
        resources: true,
    };

    /// The filter of a `subscriptions/listen` request, as far as it is honoured.
    pub(crate) fn read(params: &[u8]) -> Result<Self, Rejection> {
        let bad = |why: &str| Rejection::BadParams(format!("`notifications` {why}"));
        let filter = json::member(params, "notifications")
            .map_err(|error| bad(&error.to_string()))?
            .ok_or_else(|| bad("is missing"))?;
        let members = json::members(filter.get().as_bytes())
            .map_err(|_not_an_object| bad("must be an object"))?;
        let wants = |name: &str| {
            members
                .iter()
                .any(|(key, raw)| key == name && raw.get() == "true")
        };
        Ok(Self {
            tools: wants("toolsListChanged"),
            prompts: wants("promptsListChanged"),
            resources: wants("resourcesListChanged"),
        })
    }

    pub(crate) fn is_empty(self) -> bool {
        !(self.tools || self.prompts || self.resources)
    }

    /// The honoured subset as JSON text.
    fn text(self) -> String {
        let named = [
            (self.tools, "toolsListChanged"),
            (self.prompts, "promptsListChanged"),
            (self.resources, "resourcesListChanged"),
        ];
        json::object(
            named
                .into_iter()
                .filter(|(wanted, _)| *wanted)
                .map(|(_, name)| (name, "true")),
        )
    }
}

/// Somebody who hears of list changes.
#[derive(Debug)]
pub(crate) struct Listener {
    filter: Filter,
    changes: watch::Receiver<u64>,
    seen: [u64; 4],
}

impl Listener {
    /// Hears of every change from now on.
    pub(crate) fn new(gate: &Gate, filter: Filter) -> Self {
        let changes = gate.changes();
        Self {
            filter,
            changes,
            seen: stamps(gate),
        }
    }

    /// The next changes, as notification names; at least one. Safe to drop while it waits.
    pub(crate) async fn next(&mut self, gate: &Gate) -> Vec<&'static str> {
        loop {
            if self.changes.changed().await.is_err() {
                // The gate is gone; whoever asks is ended by its stop.
                std::future::pending::<()>().await;
            }
            let now = stamps(gate);
            let [tools, prompts, resources, templates] =
                std::array::from_fn(|at| now.get(at) != self.seen.get(at));
            self.seen = now;
            let told: Vec<&'static str> = [
                (self.filter.tools && tools, notification::TOOLS_CHANGED),
                (
                    self.filter.prompts && prompts,
                    notification::PROMPTS_CHANGED,
                ),
                (
                    self.filter.resources && (resources || templates),
                    notification::RESOURCES_CHANGED,
                ),
            ]
            .into_iter()
            .filter_map(|(changed, name)| changed.then_some(name))
            .collect();
            if !told.is_empty() {
                return told;
            }
        }
    }
}

fn stamps(gate: &Gate) -> [u64; 4] {
    let view = gate.view();
    let catalog = &view.catalog;
    [
        catalog.tools.stamp,
        catalog.prompts.stamp,
        catalog.resources.stamp,
        catalog.templates.stamp,
    ]
}

/// The messages of one `subscriptions/listen`, each tagged with the raw id of the request that opened it.
#[derive(Debug)]
pub(crate) struct Subscription {
    raw_id: String,
    filter: Filter,
}

impl Subscription {
    pub(crate) fn new(raw_id: &str, filter: Filter) -> Self {
        Self {
            raw_id: raw_id.to_owned(),
            filter,
        }
    }

    fn tag(&self) -> String {
        format!(
            "\"_meta\":{{\"{}\":{}}}",
            meta::SUBSCRIPTION_ID,
            self.raw_id
        )
    }

    /// The first message: what is honoured.
    pub(crate) fn acknowledged(&self) -> Bytes {
        let params = format!(
            "{{{},\"notifications\":{}}}",
            self.tag(),
            self.filter.text()
        );
        wire::encode::notification(notification::ACKNOWLEDGED, params.as_bytes()).into()
    }

    /// One change.
    pub(crate) fn changed(&self, name: &str) -> Bytes {
        wire::encode::notification(name, format!("{{{}}}", self.tag()).as_bytes()).into()
    }

    /// The last message: the subscription ended in good order.
    pub(crate) fn ended(&self) -> Bytes {
        let result = format!("{{\"resultType\":\"complete\",{}}}", self.tag());
        wire::encode::response(&self.raw_id, result.as_bytes()).into()
    }
}
