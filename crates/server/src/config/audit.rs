//! `[audit]`: how the audit log is kept.

use observe::AuditMode;
use schemars::JsonSchema;
use serde::Deserialize;

/// How the audit log is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    /// When a record counts as written: `durable`, once it is on the disk, so that no call has an effect and none is answered without its record, whatever becomes of the machine; `relaxed`, once it is on its way there, which is faster and loses the last records in a crash; `danger_off`, never: calls leave no trace, which is of use only for finding out what the log costs. Another one holds from the next start on.
    #[serde(default)]
    pub mode: RawMode,
}

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawMode {
    #[default]
    Durable,
    Relaxed,
    #[serde(rename = "danger_off")]
    Off,
}

impl RawAudit {
    pub(super) fn mode(&self) -> AuditMode {
        match self.mode {
            RawMode::Durable => AuditMode::Durable,
            RawMode::Relaxed => AuditMode::Relaxed,
            RawMode::Off => AuditMode::Off,
        }
    }
}
