//! Who comes in, how that is proved, and what they may do.

use auth::Loopback;

use super::super::measure::{Gate, Measure, Verdict, count, days, is_here, listed};

/// An API key older than this wants to be replaced.
const KEY_DAYS_MAX: u64 = 365;

/// Everybody proves who they are.
pub(in crate::compliance) static AUTHENTICATION: Measure = Measure {
    id: "authentication",
    title: "Callers are authenticated",
    does: "Every path but health probes and what OAuth has in public needs a credential: API key, access token, client certificate or signed-in browser. A bad credential is never made good by another one, nor by where the call comes from.",
    keys: &[
        "listen",
        "http.public_url",
        "auth.loopback",
        "auth.issuers.*.url",
        "auth.sign_in.*.issuer",
        "auth.certificates.*.match",
        "keys.*.principal",
    ],
    tests: &[
        "testkit/tests/it/routes.rs::what_needs_a_credential_refuses_those_who_have_none",
        "testkit/tests/it/routes.rs::each_caller_gets_what_the_table_says",
        "auth/src/auth/tests.rs::a_bad_credential_never_falls_to_the_local_principal",
        "cases/authenticate/no-key.md",
        "cases/authenticate/bad-key.md",
    ],
    queries: &["portcullis audit search --outcome refused"],
    judge: |gate| match gate.loaded.auth.loopback {
        Loopback::Off => {
            Verdict::on("everybody needs a credential, whoever is at this machine too")
        }
        Loopback::Owner => Verdict::partly(
            "callers from this machine need no credential and may do everything",
            "auth.loopback = \"off\"",
        ),
        Loopback::Auto if has_another_way_in(gate) => Verdict::on(
            "there are keys, accounts or issuers, so callers from this machine need a credential too",
        ),
        Loopback::Auto => Verdict::partly(
            "as long as there is neither a key nor an account, callers from this machine need no credential and may do everything",
            "auth.loopback = \"off\"",
        ),
    },
};

// As `Auth` sees it, when somebody comes without a credential.
fn has_another_way_in(gate: &Gate<'_>) -> bool {
    let auth = &gate.loaded.auth;
    let public = gate.loaded.http.public_url.as_deref();
    let is_elsewhere = public
        .and_then(|url| url::Url::parse(url).ok())
        .is_some_and(|url| !is_here(&url));
    is_elsewhere
        || !auth.keys.is_empty()
        || !auth.issuers.is_empty()
        || !auth.certificates.mappings.is_empty()
        || gate
            .facts
            .is_some_and(|facts| facts.keys + facts.accounts > 0)
}

/// Passwords.
pub(in crate::compliance) static PASSWORDS: Measure = Measure {
    id: "passwords",
    title: "Passwords are strong, and guessing them is slow",
    does: "Passwords of local accounts are held against lists and patterns that guessers know, and kept as keyed argon2id hashes. Wrong tries close account and address for longer each time, and nobody hears whether an account exists.",
    keys: &["auth.accounts.session_idle", "auth.accounts.session_max"],
    tests: &[
        "auth/src/accounts/password/tests.rs::weak_passwords_are_refused_with_a_reason",
        "auth/src/accounts/lockout/tests.rs::a_try_costs_more_each_time_and_a_quarter_of_an_hour_at_most",
        "auth/src/accounts/tests.rs::whoever_is_refused_hears_the_same_whatever_the_reason",
        "testkit/tests/it/pages.rs::a_failed_sign_in_says_nothing_about_accounts",
    ],
    queries: &["portcullis user list"],
    judge: |gate| match gate.facts.map(|facts| facts.accounts) {
        Some(0) => Verdict::on("there is no local account; it would hold for each"),
        Some(accounts) => Verdict::on(format!("it holds for {}", count(accounts, "local account"))),
        None => Verdict::on("it holds for every local account, and cannot be switched off"),
    },
};

/// Second factor.
pub(in crate::compliance) static SECOND_FACTOR: Measure = Measure {
    id: "second-factor",
    title: "Accounts have a second factor",
    does: "An account can have one-time passwords (RFC 6238), with recovery codes. No code is good twice. The gate cannot demand that every account has one; the report counts.",
    keys: &["auth.sign_in.*.issuer"],
    tests: &[
        "auth/src/accounts/tests.rs::with_one_time_passwords_a_password_is_not_enough_and_no_code_is_good_twice",
        "auth/src/accounts/tests.rs::codes_cannot_be_tried_faster_than_passwords",
    ],
    queries: &["portcullis user list"],
    judge: |gate| {
        const EACH: &str =
            "have each account's holder switch on one-time passwords at /console/account";
        let Some(facts) = gate.facts else {
            return Verdict::partly(
                "it is on offer; without a database nobody can count who uses it",
                EACH,
            );
        };
        let (with, all) = (facts.accounts_with_totp, facts.accounts);
        match (with, all) {
            (_, 0) => Verdict::on(
                "there is no local account; a second factor of another provider is that provider's",
            ),
            (0, all) => Verdict::off(format!("none of {} has one", count(all, "account")), EACH),
            (with, all) if with < all => Verdict::partly(
                format!(
                    "{with} of {} have one; of owners, {} of {}",
                    count(all, "account"),
                    facts.owners_with_totp,
                    facts.owners
                ),
                EACH,
            ),
            (_, all) => Verdict::on(format!("each of {} has one", count(all, "account"))),
        }
    },
};

/// Tokens.
pub(in crate::compliance) static TOKENS: Measure = Measure {
    id: "tokens",
    title: "Access tokens are for this gate, from its issuers, and short-lived",
    does: "Issuer, audience, type, algorithm, time and signature of a token are checked; ID tokens are refused. The authorization server in the gate gives out short-lived tokens and refresh tokens that are good once.",
    keys: &[
        "auth.issuers.*.url",
        "auth.issuers.*.audiences",
        "auth.issuers.*.lifetime_max",
        "auth.server.enabled",
        "auth.server.token_lifetime",
        "auth.server.registration",
    ],
    tests: &[
        "testkit/tests/it/issuers.rs::a_flood_of_unknown_keys_costs_one_fetch_per_interval",
        "testkit/tests/it/issuers.rs::keys_that_cannot_be_fetched_are_used_for_a_stated_time_and_no_longer",
        "auth/src/authority/tests.rs::a_refresh_token_is_good_once_and_its_second_use_ends_the_grant",
        "auth/src/authority/tests.rs::a_code_is_good_once_and_its_second_use_ends_what_it_gave",
    ],
    queries: &["portcullis session list"],
    judge: |gate| {
        let auth = &gate.loaded.auth;
        match (auth.issuers.len(), auth.authority.enabled) {
            (0, false) => Verdict::on("no token is taken at all"),
            (0, true) => Verdict::on(format!(
                "only tokens of the server in the gate are taken, good for {} minutes",
                auth.authority.token_lifetime.as_secs() / 60
            )),
            (issuers, is_ours) => Verdict::on(format!(
                "tokens of {} are taken{}",
                count(issuers, "configured issuer"),
                if is_ours { ", and the gate's own" } else { "" }
            )),
        }
    },
};

/// DPoP and mTLS.
pub(in crate::compliance) static BOUND_TOKENS: Measure = Measure {
    id: "bound-tokens",
    title: "A stolen token is of no use",
    does: "Tokens that are bound to a key (DPoP, RFC 9449) or a certificate (RFC 8705) are taken with its proof alone. A proof is for one request, one minute, and good once; a restart changes nothing about that.",
    keys: &[
        "auth.issuers.*.dpop",
        "auth.issuers.*.dpop_nonce",
        "auth.server.clients.*.certificate_bound",
        "tls.client_ca",
        "tls.client",
    ],
    tests: &[
        "testkit/tests/it/issuers/dpop.rs::a_proof_is_good_once_and_a_restart_changes_nothing",
        "testkit/tests/it/issuers/dpop.rs::a_proof_is_for_one_method_place_token_key_and_minute",
        "testkit/tests/it/issuers/dpop.rs::our_own_server_binds_a_token_to_the_key_that_was_proved",
        "auth/src/authority/tests.rs::a_token_that_is_bound_to_a_certificate_comes_with_it_alone",
    ],
    queries: &[],
    judge: |gate| {
        const REMEDY: &str = "auth.issuers.NAME.dpop = \"required\", or tls.client = \"required\" with tls.client_ca";
        let issuers = &gate.loaded.auth.issuers;
        let demanding = issuers.iter().filter(|issuer| issuer.dpop.required).count();
        if gate
            .values("tls.client")
            .any(|one| one.value.contains("required"))
        {
            return Verdict::on("nobody connects without a client certificate");
        }
        match (demanding, issuers.len()) {
            (demanding, all)
                if demanding == all && all > 0 && !gate.loaded.auth.authority.enabled =>
            {
                Verdict::on("every issuer's tokens must be bound to a key")
            }
            (0, _) => Verdict::partly(
                "a client that binds its tokens is protected; none has to",
                REMEDY,
            ),
            (demanding, all) => Verdict::partly(
                format!(
                    "tokens of {demanding} of {} must be bound",
                    count(all, "issuer")
                ),
                REMEDY,
            ),
        }
    },
};

/// Default deny, roles.
pub(in crate::compliance) static LEAST_PRIVILEGE: Measure = Measure {
    id: "least-privilege",
    title: "Nothing is allowed unless a rule says so",
    does: "Roles allow, ask or deny single entries, with conditions on arguments, time, client and claims; deny wins. What no rule names can neither be called nor seen. Rules speak of upstream and entry, never of a joined name.",
    keys: &[
        "roles.*.members",
        "roles.*.allow",
        "roles.*.ask",
        "roles.*.deny",
    ],
    tests: &[
        "policy/src/rules/tests.rs::what_no_rule_names_is_unseen",
        "policy/src/rules/tests.rs::a_denial_of_one_role_beats_the_permission_of_another",
        "policy/src/pattern/tests.rs::an_upstream_cannot_slip_under_anothers_rule",
        "testkit/tests/it/credentials.rs::no_byte_of_a_refused_call_reaches_an_upstream",
        "cases/resolve/denied-tool.md",
    ],
    queries: &[
        "portcullis audit search --outcome refused",
        "portcullis policy explain alice files.delete",
    ],
    judge: |gate| {
        let everything = gate.names("roles.*.allow", |value| value.contains("\"*\""));
        match (gate.loaded.roles.len(), everything.as_slice()) {
            (0, _) => Verdict::on("no role is defined: nobody but owners may do anything"),
            (roles, []) => Verdict::on(format!("{}, each with its entries", count(roles, "role"))),
            (roles, wide) => Verdict::partly(
                format!(
                    "of {}, {} may use every entry (\"*\")",
                    count(roles, "role"),
                    listed(wide)
                ),
                "name entries in roles.NAME.allow, such as \"files.read_*\"",
            ),
        }
    },
};

/// Administration.
pub(in crate::compliance) static ADMINISTRATION: Measure = Measure {
    id: "administration",
    title: "Administration is the owners', action by action",
    does: "Operations of the admin API and the console are for owners, or for whom a rule lets do that one action. Nobody hands out more than they have. Forms need a token of their own and come from our pages alone.",
    keys: &["roles.*.members", "roles.*.allow"],
    tests: &[
        "testkit/tests/it/acts.rs::a_rule_that_names_an_action_lets_do_that_and_no_more",
        "testkit/tests/it/acts.rs::nobody_hands_out_more_than_he_has",
        "testkit/tests/it/pages.rs::only_our_own_pages_send_forms",
    ],
    queries: &["portcullis audit search --principal alice"],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Four eyes.
pub(in crate::compliance) static SECOND_PERSON: Measure = Measure {
    id: "second-person",
    title: "What matters needs a second person",
    does: "A rule can demand that somebody else than the caller agrees before a call is made, and say who may: `other_person`, `approvers`.",
    keys: &["roles.*.ask"],
    tests: &[
        "gateway/src/consents/tests.rs::only_those_whom_the_rule_lets_may_answer",
        "gateway/src/consents/tests.rs::a_yes_is_void_once_the_rule_names_others",
        "testkit/tests/it/acts.rs::an_act_that_asks_is_done_once_somebody_agreed",
    ],
    queries: &["portcullis consent list --all"],
    judge: |gate| match gate
        .names("roles.*.ask", |value| value.contains("other_person = true"))
        .as_slice()
    {
        [] => Verdict::off(
            "no rule asks for another person than the caller",
            "roles.NAME.ask = [{ any = \"ENTRY\", other_person = true, approvers = [\"ROLE\"] }]",
        ),
        roles => Verdict::on(format!("rules of {} do", listed(roles))),
    },
};

/// Keys end.
pub(in crate::compliance) static KEY_LIFE: Measure = Measure {
    id: "key-life",
    title: "API keys end and are replaced",
    does: "Keys can end by themselves, are replaced with an overlap, and are kept as keyed hashes alone.",
    keys: &["keys.*.expires"],
    tests: &[
        "auth/src/auth/tests.rs::an_expiry_bites_at_once_even_from_the_cache",
        "auth/src/auth/tests.rs::a_rotated_key_is_good_for_the_overlap_and_its_heir_may_do_the_same_for_as_long",
        "auth/src/auth/tests.rs::what_the_database_has_of_a_key_is_no_hash_that_another_installation_could_use",
    ],
    queries: &["portcullis key list"],
    judge: |gate| {
        let configured = &gate.loaded.auth.keys;
        let endless: Vec<String> = configured
            .iter()
            .filter(|key| key.expires_at.is_none())
            .map(|key| key.name.clone())
            .collect();
        if !endless.is_empty() {
            return Verdict::partly(
                format!("in the config, {} never ends", listed(&endless)),
                "keys.NAME.expires = \"2027-01-01T00:00:00Z\"",
            );
        }
        let Some(facts) = gate.facts else {
            return Verdict::on(
                "no key in the config is without an end; there is no database with others",
            );
        };
        let oldest = facts.oldest_key_at.map(|at| days(gate.age(at.into())));
        match (facts.keys_without_end, oldest) {
            (0, None) => Verdict::on("there is no key that does not end"),
            (0, Some(oldest)) => Verdict::on(format!(
                "every key ends; the oldest is {} old",
                count(usize::try_from(oldest).unwrap_or(usize::MAX), "day")
            )),
            (endless, Some(oldest)) if oldest > KEY_DAYS_MAX => Verdict::partly(
                format!(
                    "{} in the database never end, and the oldest is {oldest} days old",
                    count(endless, "key")
                ),
                "portcullis key rotate ID",
            ),
            (endless, _) => Verdict::partly(
                format!("{} in the database never end", count(endless, "key")),
                "portcullis key create NAME --expires 90d",
            ),
        }
    },
};

/// Revocation.
pub(in crate::compliance) static REVOCATION: Measure = Measure {
    id: "revocation",
    title: "What is taken back ends at once",
    does: "Keys, sessions, grants, tokens, certificates, signing keys and whole users are revoked within a second, open streams included. An account can be shut out with all it has.",
    keys: &["tls.crl"],
    tests: &[
        "testkit/tests/it/revocation.rs::a_key_revoked_by_another_process_cuts_all_that_is_open_under_it_and_nothing_else",
        "testkit/tests/it/revocation.rs::a_user_who_is_disabled_is_cut_off_and_comes_back_when_enabled",
        "testkit/tests/it/tls.rs::who_was_revoked_stays_out_and_a_list_out_of_date_lets_nobody_in",
        "auth/src/revocation/tests.rs::a_list_that_cannot_be_read_for_long_lets_nobody_in",
    ],
    queries: &["portcullis session list", "portcullis key list"],
    judge: |gate| match gate.facts.map(|facts| facts.revocations) {
        Some(0) | None => Verdict::on("it cannot be switched off"),
        Some(revoked) => Verdict::on(format!(
            "it cannot be switched off; {} in force",
            count(revoked, "revocation")
        )),
    },
};

/// Starts without secrets of ours.
pub(in crate::compliance) static NO_DEFAULT_CREDENTIALS: Measure = Measure {
    id: "no-default-credentials",
    title: "There are no credentials to begin with",
    does: "No account, key or secret comes with the program: the first owner is made through a link that works once, and a placeholder such as `changeme` is refused.",
    keys: &[],
    tests: &[
        "testkit/tests/it/pages.rs::the_first_link_makes_one_owner_and_is_done",
        "auth/src/accounts/tests.rs::the_first_link_works_once_and_is_gone_once_there_is_an_account",
    ],
    queries: &["portcullis user list"],
    judge: |_| Verdict::on("it cannot be switched off"),
};
