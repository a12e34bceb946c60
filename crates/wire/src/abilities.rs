//! What a client can be asked, read from the capabilities it declares.

use crate::json;
use crate::method::ask;

/// What may be asked of a client. Legacy clients declare it in their handshake, modern ones with every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are MCP's capabilities, each for itself"
)]
pub struct Abilities {
    /// `sampling`: has a model write something.
    pub sampling: bool,
    /// `sampling.tools`: and lets it use tools (from 2025-11-25 on).
    pub sampling_tools: bool,
    /// `elicitation`, or `elicitation.form`: has the person fill in a form.
    pub form: bool,
    /// `elicitation.url`: has the person open a page (from 2025-11-25 on).
    pub url: bool,
    /// `roots`: tells which folders it works on.
    pub roots: bool,
    /// The Tasks extension, or the core tasks of 2025-11-25 for what the client is asked.
    pub tasks: bool,
}

impl Abilities {
    /// The id of the Tasks extension.
    pub const TASKS: &str = "io.modelcontextprotocol/tasks";

    /// Reads a `ClientCapabilities` object of any revision. What cannot be read is not there.
    #[must_use]
    pub fn read(capabilities: &[u8]) -> Self {
        let Some(all) = Object::read(capabilities) else {
            return Self::default();
        };
        let elicitation = all.object("elicitation");
        let url = elicitation.as_ref().is_some_and(|modes| modes.has("url"));
        Self {
            sampling: all.has("sampling"),
            sampling_tools: all
                .object("sampling")
                .is_some_and(|sampling| sampling.has("tools")),
            // An empty object is the form alone: before 2025-11-25 there was nothing else.
            form: elicitation
                .as_ref()
                .is_some_and(|modes| modes.has("form") || !url),
            url,
            roots: all.has("roots"),
            tasks: all
                .object("extensions")
                .is_some_and(|extensions| extensions.has(Self::TASKS)),
        }
    }

    /// Whether anything can be asked at all.
    #[must_use]
    pub fn any(self) -> bool {
        self.sampling || self.form || self.url || self.roots
    }

    /// What both can.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            sampling: self.sampling && other.sampling,
            sampling_tools: self.sampling_tools && other.sampling_tools,
            form: self.form && other.form,
            url: self.url && other.url,
            roots: self.roots && other.roots,
            tasks: self.tasks && other.tasks,
        }
    }

    /// Whether the client may be asked this.
    #[must_use]
    pub fn allow(self, method: &str, params: &[u8]) -> bool {
        let params = Object::read(params);
        let has = |name: &str| params.as_ref().is_some_and(|params| params.has(name));
        match method {
            ask::SAMPLING => {
                self.sampling && (self.sampling_tools || !(has("tools") || has("toolChoice")))
            }
            ask::ROOTS => self.roots,
            ask::ELICITATION => {
                let mode = params
                    .as_ref()
                    .and_then(|params| json::text(params.0, "mode"));
                let is_url = mode.as_deref() == Some("url");
                if is_url { self.url } else { self.form }
            }
            _ => false,
        }
    }

    /// The capabilities that a handshake declares for a client that can do this, as JSON text.
    #[must_use]
    pub fn declare(self) -> String {
        let mut parts = Vec::new();
        if self.sampling {
            let tools = if self.sampling_tools {
                "\"tools\":{}"
            } else {
                ""
            };
            parts.push(format!("\"sampling\":{{{tools}}}"));
        }
        match (self.form, self.url) {
            (true, true) => parts.push("\"elicitation\":{\"form\":{},\"url\":{}}".to_owned()),
            (true, false) => parts.push("\"elicitation\":{}".to_owned()),
            (false, true) => parts.push("\"elicitation\":{\"url\":{}}".to_owned()),
            (false, false) => {}
        }
        if self.roots {
            parts.push("\"roots\":{}".to_owned());
        }
        format!("{{{}}}", parts.join(","))
    }
}

/// The text of an object, whose members are looked up.
struct Object<'a>(&'a [u8]);

impl<'a> Object<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        json::members(text).is_ok().then_some(Self(text))
    }

    fn member(&self, name: &str) -> Option<&'a str> {
        let raw = json::member(self.0, name).ok().flatten()?.get();
        (raw != "null").then_some(raw)
    }

    fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    fn object(&self, name: &str) -> Option<Self> {
        self.member(name)
            .and_then(|raw| Object::read(raw.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_every_revision_are_read() {
        let read = |text: &str| Abilities::read(text.as_bytes());
        assert_eq!(read("{}"), Abilities::default());
        assert_eq!(read("[]"), Abilities::default());
        let form = Abilities {
            form: true,
            ..Abilities::default()
        };
        assert_eq!(read(r#"{"elicitation":{}}"#), form);
        assert_eq!(read(r#"{"elicitation":{"form":{}}}"#), form);
        let url = Abilities {
            url: true,
            ..Abilities::default()
        };
        assert_eq!(read(r#"{"elicitation":{"url":{}}}"#), url);
        let all = read(
            r#"{"sampling":{"tools":{}},"roots":{"listChanged":true},"elicitation":{"form":{},"url":{}},
                "extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        );
        assert!(
            all.sampling && all.sampling_tools && all.roots && all.form && all.url && all.tasks
        );
    }

    #[test]
    fn what_was_declared_is_read_again() {
        for bits in 0_u8..32 {
            let bit = |at: u8| bits & (1 << at) != 0;
            let abilities = Abilities {
                sampling: bit(0),
                sampling_tools: bit(0) && bit(1),
                form: bit(2),
                url: bit(3),
                roots: bit(4),
                tasks: false,
            };
            assert_eq!(Abilities::read(abilities.declare().as_bytes()), abilities);
        }
    }

    #[test]
    fn nobody_is_asked_what_it_cannot() {
        let form = Abilities {
            form: true,
            ..Abilities::default()
        };
        assert!(form.allow(ask::ELICITATION, br#"{"message":"?"}"#));
        assert!(!form.allow(ask::ELICITATION, br#"{"mode":"url"}"#));
        assert!(!form.allow(ask::SAMPLING, b"{}"));
        let sampling = Abilities {
            sampling: true,
            ..Abilities::default()
        };
        assert!(sampling.allow(ask::SAMPLING, b"{}"));
        assert!(!sampling.allow(ask::SAMPLING, br#"{"tools":[]}"#));
    }
}
