//! `docs/reference/spans.md`: what is in a span, from the list that spans are made of.

use std::fmt::Write as _;

use super::span::{Attribute, Source};
use crate::Stage;

/// `docs/reference/spans.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Spans\n\nGenerated from `crates/observe/src/trace/span.rs` by `cargo xtask bless`; do not edit.\n\n\
         What a call's span says, once `telemetry.traces` names a collector; [Traces](../concepts/traces.md) tells the \
         rest. A span is of kind SERVER and is named by method and tool or prompt, `tools/call files.read`; by the method \
         alone where there is neither, or the caller may not see it. Its status is ERROR if and only if there is an \
         `error.type`. It never holds arguments, results, credentials, URIs of resources or names that a client made \
         up.\n\n\
         ## Attributes\n\n\
         | attribute | type | when | what | source |\n|---|---|---|---|---|\n",
    );
    for attribute in Attribute::ALL {
        let about = attribute.about();
        let source = match about.source {
            Source::OpenTelemetry => "OpenTelemetry",
            Source::Ours => "Portcullis",
        };
        // Writing to a String cannot fail.
        let _written = writeln!(
            page,
            "| `{}` | {} | {} | {} | {source} |",
            about.name, about.kind, about.when, about.what
        );
    }
    page.push_str(
        "\n## Events\n\nOne for each stage that the call went through, at the time at which it was entered first.\n\n\
         | event |\n|---|\n",
    );
    for stage in Stage::ALL {
        let _written = writeln!(page, "| `{}` |", stage.as_str());
    }
    page.push_str(
        "\n## Resource\n\n\
         | attribute | what |\n|---|---|\n\
         | `service.name` | `portcullis` |\n\
         | `service.version` | the program's version |\n\
         | `service.instance.id` | another after each start |\n\n\
         `telemetry.resource` adds others, and replaces these.\n",
    );
    page
}
