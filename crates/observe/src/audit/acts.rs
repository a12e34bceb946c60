//! What records can be about besides the methods of the protocol, each with its name: one table, which
//! `docs/reference/audit.md` is made of, and outside of which nothing is recorded.

/// Something that is recorded and no method of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// What stands in a record's `method`.
    pub name: &'static str,
    /// When there is such a record.
    pub meaning: &'static str,
    /// Whether it is about a person, whose name can be erased: `subject`, not `entry`.
    pub is_about_person: bool,
}

/// Who stands in the records of what the gate finds out by itself: nobody asked for it.
pub const SYSTEM: &str = "system";
/// A method that the protocol does not have; the client's word is not recorded.
pub const OTHER: &str = "other";

/// Which records were erased: what `verify` compares those with that have no personal part any more.
pub(super) const ERASED: &str = "admin/audit.erased";

/// All of them, in the order of the page.
pub const ACTS: &[Act] = &[
    act(
        OTHER,
        "a method that the protocol does not have, or a message that is none; what a stranger sends is this too, unless its path says more",
    ),
    // The gate itself.
    act(
        "gate/started",
        "a gate began to work: its version, `audit.mode` and, in `definition`, the digest of its config",
    ),
    act(
        "gate/stopped",
        "a gate ended in order; one that is killed leaves none",
    ),
    act(
        "config/reload",
        "the config changed or SIGHUP came: `definition` is the digest of what holds now, `reason` what held before, or which keys are wrong",
    ),
    act(
        "upstream/connected",
        "an upstream is connected and has told what it has",
    ),
    act(
        "upstream/failed",
        "an upstream could not be connected; tried again by itself",
    ),
    act(
        "upstream/lost",
        "an upstream was connected and is not any more; tried again by itself",
    ),
    act(
        "upstream/waiting",
        "an upstream tells nothing before somebody connects it with an account",
    ),
    act("upstream/removed", "the config no longer has an upstream"),
    act(
        "pins/accepted",
        "a definition changed and the config takes that",
    ),
    act(
        "pins/withheld",
        "a definition is withheld until somebody approves it",
    ),
    act(
        "audit/pruned",
        "records past their time were taken off the log's front",
    ),
    // People, in a browser.
    of_person("account/set_up", "the first owner's account was made"),
    act("account/sign_in", "somebody signed in, or tried to"),
    act("account/sign_out", "somebody signed out"),
    of_person("account/reset", "a password was set by a link"),
    act("account/password", "somebody changed the own password"),
    act(
        "account/totp.begin",
        "one-time passwords were begun to be set up",
    ),
    act(
        "account/totp.confirm",
        "one-time passwords were switched on",
    ),
    act("account/totp.off", "one-time passwords were switched off"),
    act(
        "account/sessions.end",
        "somebody signed out another own browser",
    ),
    act("account/apps.end", "somebody took an app's access back"),
    act(
        "account/connect",
        "somebody began or finished to connect an upstream with an own account",
    ),
    act(
        "account/disconnect",
        "somebody took an upstream's access to an own account back",
    ),
    // Apps, at the embedded authorization server.
    act(
        "oauth/authorize",
        "an app was let in or not: by whom, and which",
    ),
    act(
        "oauth/token",
        "an app asked for tokens: with a code, a refresh token, or in its own name",
    ),
    act("oauth/revoke", "an app gave a token back"),
    act("oauth/register", "an app registered itself"),
    // The admin API, the console and the command line.
    act("admin/me", "`GET /v1/me`"),
    act("admin/openapi", "`GET /v1/openapi.json`"),
    act("admin/alerts.list", "alerts were listed"),
    act("admin/keys.list", "API keys were listed"),
    act("admin/keys.create", "an API key was made"),
    act("admin/keys.rotate", "an API key was replaced"),
    act("admin/keys.revoke", "an API key was revoked"),
    act("admin/sessions.list", "sessions were listed"),
    act("admin/sessions.end", "a session was ended"),
    act("admin/revocations.list", "revocations were listed"),
    act(
        "admin/revocations.create",
        "a session, a token, a certificate or a principal was revoked",
    ),
    act("admin/approvals.list", "requests for consent were listed"),
    act(
        "admin/approvals.show",
        "a request for consent was looked at",
    ),
    act(
        "admin/approvals.answer",
        "a request for consent was answered",
    ),
    act("admin/consents.list", "consents were listed"),
    act("admin/consents.show", "a consent was looked at"),
    act("admin/consents.revoke", "a consent was taken back"),
    act("admin/pins.list", "pins were listed"),
    act("admin/pins.withheld", "withheld definitions were listed"),
    act("admin/pins.approve", "a definition was approved"),
    act("admin/pins.forget", "an upstream's pins were forgotten"),
    act("admin/logs.list", "log lines were read"),
    act("admin/logs.level.show", "it was looked up what is logged"),
    act("admin/logs.level.set", "what is logged was changed"),
    act(
        "admin/logs.level.reset",
        "what is logged went back to the config",
    ),
    act("admin/users.list", "accounts were listed"),
    of_person("admin/users.create", "an account was made"),
    of_person("admin/users.show", "an account was looked at"),
    of_person(
        "admin/users.change",
        "an account's roles, address or state were changed",
    ),
    of_person("admin/users.reset", "a link to set a password was made"),
    of_person("admin/users.delete", "an account was deleted"),
    act("admin/secrets.set", "a secret was set"),
    act(
        "admin/secrets.rotate",
        "the data key or the master key was replaced",
    ),
    act("admin/secrets.remove", "a secret was removed"),
    act("admin/audit.export", "the audit log was exported"),
    act(
        "admin/backup.create",
        "all that the gate keeps was copied into a backup",
    ),
    act(
        "admin/backup.restore",
        "the database was filled from a backup; `entry` is when that was made",
    ),
    act(
        "admin/audit.subject",
        "all records of one principal were written out; it is named by a digest",
    ),
    act(
        "admin/audit.erase",
        "the personal part of one principal's records was erased; it is named by a digest",
    ),
    act(
        ERASED,
        "which records an erasure takes the personal part out of, said before it does: `entry` has their numbers, as `12-19,40`; several of these where there are many",
    ),
    act(
        "admin/audit.hold",
        "records were put under a legal hold; `entry` is its id, its time and its principal's digest",
    ),
    act(
        "admin/audit.release",
        "a legal hold was ended; `entry` is its id",
    ),
];

const fn act(name: &'static str, meaning: &'static str) -> Act {
    Act {
        name,
        meaning,
        is_about_person: false,
    }
}

const fn of_person(name: &'static str, meaning: &'static str) -> Act {
    Act {
        is_about_person: true,
        ..act(name, meaning)
    }
}

/// Whether what such a record is about is a person.
#[must_use]
pub fn is_about_person(name: &str) -> bool {
    ACTS.iter()
        .any(|act| act.name == name && act.is_about_person)
}

/// Whether there is such a row.
#[must_use]
pub fn is_act(name: &str) -> bool {
    ACTS.iter().any(|act| act.name == name)
}
