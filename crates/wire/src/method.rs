//! The table of methods: one row each, and what a row names is what gets checked.

use crate::Era;

/// What a request is about, hence what the rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The gate itself: answered here, no upstream sees it.
    Gate,
    /// One tool, by `params.name`.
    Tool,
    /// One prompt, by `params.name`.
    Prompt,
    /// One resource, by `params.uri`.
    Resource,
    /// A prompt or a resource template, by `params.ref`.
    Reference,
    /// A call that goes on after its answer, by `params.taskId`.
    Task,
    /// A method of an extension that an upstream is known to have.
    Method,
}

/// What a credential must be good for, if it is narrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Tools and what came of them.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources and templates.
    Resources,
    /// That of the prompt or template which `params.ref` names.
    Reference,
}

/// Which part of `params` a modern HTTP request repeats in `Mcp-Name` (2026-07-28, Streamable HTTP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mirror {
    /// `params.name`.
    Name,
    /// `params.uri`.
    Uri,
    /// `params.taskId`.
    TaskId,
}

/// Which rate limit a method counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// `tool_call`.
    ToolCall,
    /// `resource_access`.
    ResourceAccess,
}

impl LimitKey {
    /// The name in config and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToolCall => "tool_call",
            Self::ResourceAccess => "resource_access",
        }
    }
}

/// One method of MCP.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// The era that has it; `None` for both.
    pub era: Option<Era>,
    /// What it is about.
    pub subject: Subject,
    /// What `Mcp-Name` repeats.
    pub mirror: Option<Mirror>,
    /// What it counts against.
    pub limit: Option<LimitKey>,
    /// Whether a modern result must carry `ttlMs` and `cacheScope`.
    pub cacheable: bool,
    /// What the credential must be good for; `None`: being known is enough.
    pub area: Option<Area>,
}

impl Method {
    const fn new(name: &'static str, subject: Subject) -> Self {
        Self {
            name,
            era: None,
            subject,
            mirror: None,
            limit: None,
            cacheable: false,
            area: None,
        }
    }
    const fn within(mut self, area: Area) -> Self {
        self.area = Some(area);
        self
    }
    const fn only(mut self, era: Era) -> Self {
        self.era = Some(era);
        self
    }
    const fn mirrors(mut self, mirror: Mirror) -> Self {
        self.mirror = Some(mirror);
        self
    }
    const fn counts(mut self, limit: LimitKey) -> Self {
        self.limit = Some(limit);
        self
    }
    const fn cacheable(mut self) -> Self {
        self.cacheable = true;
        self
    }

    /// Whether this era has the method.
    #[must_use]
    pub fn is_in(&self, era: Era) -> bool {
        self.era.is_none_or(|only| only == era)
    }
}

/// `tools/call`
pub const TOOLS_CALL: Method = Method::new("tools/call", Subject::Tool)
    .mirrors(Mirror::Name)
    .counts(LimitKey::ToolCall)
    .within(Area::Tools);
/// `tools/list`
pub const TOOLS_LIST: Method = Method::new("tools/list", Subject::Gate)
    .cacheable()
    .within(Area::Tools);
/// `prompts/get`
pub const PROMPTS_GET: Method = Method::new("prompts/get", Subject::Prompt)
    .mirrors(Mirror::Name)
    .within(Area::Prompts);
/// `prompts/list`
pub const PROMPTS_LIST: Method = Method::new("prompts/list", Subject::Gate)
    .cacheable()
    .within(Area::Prompts);
/// `resources/read`
pub const RESOURCES_READ: Method = Method::new("resources/read", Subject::Resource)
    .mirrors(Mirror::Uri)
    .counts(LimitKey::ResourceAccess)
    .cacheable()
    .within(Area::Resources);
/// `resources/list`
pub const RESOURCES_LIST: Method = Method::new("resources/list", Subject::Gate)
    .cacheable()
    .within(Area::Resources);
/// `resources/templates/list`
pub const TEMPLATES_LIST: Method = Method::new("resources/templates/list", Subject::Gate)
    .cacheable()
    .within(Area::Resources);
/// `completion/complete`
pub const COMPLETE: Method =
    Method::new("completion/complete", Subject::Reference).within(Area::Reference);
/// `initialize`
pub const INITIALIZE: Method = Method::new("initialize", Subject::Gate).only(Era::Legacy);
/// `ping`
pub const PING: Method = Method::new("ping", Subject::Gate).only(Era::Legacy);
/// `server/discover`
pub const DISCOVER: Method = Method::new("server/discover", Subject::Gate)
    .only(Era::Modern)
    .cacheable();
/// `subscriptions/listen`
pub const LISTEN: Method = Method::new("subscriptions/listen", Subject::Gate).only(Era::Modern);

/// `logging/setLevel`
pub const SET_LEVEL: Method = Method::new("logging/setLevel", Subject::Gate).only(Era::Legacy);
/// `resources/subscribe`
pub const SUBSCRIBE: Method = Method::new("resources/subscribe", Subject::Resource)
    .only(Era::Legacy)
    .within(Area::Resources);
/// `resources/unsubscribe`
pub const UNSUBSCRIBE: Method = Method::new("resources/unsubscribe", Subject::Gate)
    .only(Era::Legacy)
    .within(Area::Resources);
/// `tasks/get`: core in 2025-11-25, an extension from 2026-07-28 on.
pub const TASKS_GET: Method = Method::new("tasks/get", Subject::Task)
    .mirrors(Mirror::TaskId)
    .within(Area::Tools);
/// `tasks/cancel`
pub const TASKS_CANCEL: Method = Method::new("tasks/cancel", Subject::Task)
    .mirrors(Mirror::TaskId)
    .within(Area::Tools);
/// `tasks/result`
pub const TASKS_RESULT: Method = Method::new("tasks/result", Subject::Task)
    .only(Era::Legacy)
    .within(Area::Tools);
/// `tasks/list`
pub const TASKS_LIST: Method = Method::new("tasks/list", Subject::Gate)
    .only(Era::Legacy)
    .within(Area::Tools);
/// `tasks/update`
pub const TASKS_UPDATE: Method = Method::new("tasks/update", Subject::Task)
    .only(Era::Modern)
    .mirrors(Mirror::TaskId)
    .within(Area::Tools);

/// Stands for every method that no revision has and the config routes to an upstream.
pub static EXTENSION: Method = Method::new("extension", Subject::Method)
    .counts(LimitKey::ToolCall)
    .within(Area::Tools);

/// Every request we serve.
pub static METHODS: [Method; 20] = [
    TOOLS_CALL,
    TOOLS_LIST,
    PROMPTS_GET,
    PROMPTS_LIST,
    RESOURCES_READ,
    RESOURCES_LIST,
    TEMPLATES_LIST,
    COMPLETE,
    INITIALIZE,
    PING,
    DISCOVER,
    LISTEN,
    SET_LEVEL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    TASKS_GET,
    TASKS_CANCEL,
    TASKS_RESULT,
    TASKS_LIST,
    TASKS_UPDATE,
];

/// What a server asks of a client: a request of its own in the legacy era, an *input request* inside a result in the
/// modern one.
pub mod ask {
    /// Have the client's model write something.
    pub const SAMPLING: &str = "sampling/createMessage";
    /// Have the person fill in a form or open a page.
    pub const ELICITATION: &str = "elicitation/create";
    /// Which folders the client works on.
    pub const ROOTS: &str = "roots/list";
}

/// The row of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Names of notifications.
pub mod notification {
    /// Client to server: the handshake is done.
    pub const INITIALIZED: &str = "notifications/initialized";
    /// Either way: a request is no longer wanted.
    pub const CANCELLED: &str = "notifications/cancelled";
    /// Either way: how far a request is.
    pub const PROGRESS: &str = "notifications/progress";
    /// Server to client: a log message.
    pub const MESSAGE: &str = "notifications/message";
    /// The list of tools changed.
    pub const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
    /// The list of prompts changed.
    pub const PROMPTS_CHANGED: &str = "notifications/prompts/list_changed";
    /// The list of resources changed.
    pub const RESOURCES_CHANGED: &str = "notifications/resources/list_changed";
    /// A resource changed that somebody subscribed to.
    pub const RESOURCE_UPDATED: &str = "notifications/resources/updated";
    /// What a person was sent to a page for is done (2025-11-25).
    pub const ELICITATION_COMPLETE: &str = "notifications/elicitation/complete";
    /// How a task is doing (2025-11-25).
    pub const TASK_STATUS: &str = "notifications/tasks/status";
    /// How a task is doing (Tasks extension of 2026-07-28).
    pub const TASKS: &str = "notifications/tasks";
    /// Client to server: the folders it works on changed.
    pub const ROOTS_CHANGED: &str = "notifications/roots/list_changed";
    /// First on a `subscriptions/listen` stream.
    pub const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
}
