//! From a pack's outcome to an MCP `CallToolResult`, and from arguments to a pack's input.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Why a tool could not do it, in words that tell the model what to do next. No path, address or cause
/// of ours: those are for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure(pub(super) String);

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallToolResult<'a, O> {
    content: [TextContent<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<&'a O>,
    is_error: bool,
}

#[derive(Serialize)]
struct TextContent<'a> {
    r#type: &'a str,
    text: &'a str,
}

/// Reads the arguments. The schema was checked before; this is where the type says so too.
pub(super) fn input<I: DeserializeOwned>(arguments: Map<String, Value>) -> Result<I, Failure> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        Failure::new(format!(
            "The arguments do not fit: {error}. Correct them and call again."
        ))
    })
}

/// The result to send: structured and as text, or the failure.
pub(super) fn reply<O: Serialize>(outcome: Result<O, Failure>) -> Box<RawValue> {
    match outcome {
        Ok(output) => {
            let text = serde_json::to_string(&output).expect("an output has a JSON form");
            result(&text, Some(&output))
        }
        Err(Failure(message)) => result::<()>(&message, None),
    }
}

fn result<O: Serialize>(text: &str, structured: Option<&O>) -> Box<RawValue> {
    let result = CallToolResult {
        content: [TextContent {
            r#type: "text",
            text,
        }],
        structured_content: structured,
        is_error: structured.is_none(),
    };
    to_raw_value(&result).expect("strings and an output have a JSON form")
}

/// Runs what blocks where blocking is allowed.
pub(super) async fn blocking<O: Send + 'static>(
    work: impl FnOnce() -> Result<O, Failure> + Send + 'static,
) -> Result<O, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new("The tool was interrupted. Call it again.")),
    }
}
