//! `[validation]`, and `validation` of an upstream or a virtual server: how arguments and results are checked.

use std::collections::BTreeMap;

use gateway::{OutputCheck, Validation, ValidationSettings};
use policy::UpstreamId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::RawUpstream;

/// How arguments and results are checked. That they fit the schema of their tool is checked always.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawValidation {
    /// Refuses arguments with members that the schema does not name, also where it would let them pass. Where a schema names no members at all below the outermost level, any are taken.
    pub strict: bool,
    /// What becomes of `structuredContent` that does not fit the tool's output schema: `check` answers with an error in its place, `off` lets it pass.
    pub output: RawOutputCheck,
}

/// What an upstream or a virtual server has in the place of that.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwnValidation {
    /// Replaces `validation.strict`.
    pub strict: Option<bool>,
    /// Replaces `validation.output`.
    pub output: Option<RawOutputCheck>,
}

/// What becomes of results that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawOutputCheck {
    Check,
    Off,
}

impl RawValidation {
    /// What holds for everybody, and for upstreams that have a word of their own.
    pub(super) fn settings(&self, upstreams: &BTreeMap<String, RawUpstream>) -> ValidationSettings {
        let own = |(alias, raw): (&String, &RawUpstream)| {
            // An alias that is none was complained of where upstreams are read.
            let id = UpstreamId::parse(alias).ok()?;
            let own = raw.validation?;
            let strict = own.strict.unwrap_or(self.strict);
            Some((id, validation(strict, own.output.unwrap_or(self.output))))
        };
        ValidationSettings {
            default: validation(self.strict, self.output),
            of: upstreams.iter().filter_map(own).collect(),
        }
    }
}

impl RawOwnValidation {
    /// What holds in a virtual server that says this, for all upstreams; `around`: where it says nothing.
    pub(super) fn settings(self, around: &ValidationSettings) -> ValidationSettings {
        let own = |around: Validation| Validation {
            strict: self.strict.unwrap_or(around.strict),
            output: self.output.map_or(around.output, output_check),
        };
        let of = around.of.iter();
        ValidationSettings {
            default: own(around.default),
            of: of.map(|(id, around)| (id.clone(), own(*around))).collect(),
        }
    }
}

fn validation(strict: bool, output: RawOutputCheck) -> Validation {
    Validation {
        strict,
        output: output_check(output),
    }
}

fn output_check(raw: RawOutputCheck) -> OutputCheck {
    match raw {
        RawOutputCheck::Check => OutputCheck::Check,
        RawOutputCheck::Off => OutputCheck::Off,
    }
}
