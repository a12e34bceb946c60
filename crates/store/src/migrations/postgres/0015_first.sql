-- Everything that the SQLite migrations up to 15 have made, in PostgreSQL's words. From 16 on both have the same numbers.
--
-- Texts are compared byte by byte, as SQLite does: the database's locale is no part of what is kept. What can be longer
-- than a B-tree takes is in none.

-- One row per call. Nothing here may refuse a row: the writer would try it again for ever.
CREATE TABLE audit (
    seq              BIGINT PRIMARY KEY,
    at_us            BIGINT NOT NULL, -- microseconds since 1970
    call_id          TEXT COLLATE "C" NOT NULL,
    principal        TEXT COLLATE "C" NOT NULL,
    credential       TEXT COLLATE "C" NOT NULL,
    client           TEXT COLLATE "C" NOT NULL,
    transport        TEXT COLLATE "C" NOT NULL,
    revision         TEXT COLLATE "C" NOT NULL,
    method           TEXT COLLATE "C" NOT NULL,
    upstream         TEXT COLLATE "C",
    entry            TEXT COLLATE "C",
    arguments_digest TEXT COLLATE "C",
    decision         TEXT COLLATE "C" NOT NULL,
    rule             TEXT COLLATE "C",
    outcome          TEXT COLLATE "C" NOT NULL,
    code             BIGINT,
    reason           TEXT COLLATE "C",
    duration_us      BIGINT NOT NULL,
    bytes_in         BIGINT NOT NULL,
    bytes_out        BIGINT NOT NULL,
    server           TEXT COLLATE "C",
    definition       TEXT COLLATE "C",
    consent          TEXT COLLATE "C",
    screened         TEXT COLLATE "C",
    trace_id         TEXT COLLATE "C",
    arguments        TEXT COLLATE "C",
    salt             BYTEA,
    commitment       BYTEA,
    chain            BYTEA
);
CREATE INDEX audit_by_principal ON audit (principal, at_us);
CREATE INDEX audit_by_time ON audit (at_us);

-- Where the next row goes.
CREATE TABLE audit_head (
    id    BIGINT PRIMARY KEY CHECK (id = 1),
    base  BIGINT NOT NULL,
    size  BIGINT NOT NULL,
    chain BYTEA NOT NULL,
    roots BYTEA NOT NULL
);
INSERT INTO audit_head (id, base, size, chain, roots) VALUES (1, 0, 0, decode(repeat('00', 32), 'hex'), '');

CREATE TABLE audit_nodes (
    level BIGINT NOT NULL,
    place BIGINT NOT NULL,
    hash  BYTEA NOT NULL,
    PRIMARY KEY (level, place)
);

CREATE TABLE audit_open (
    call_id TEXT COLLATE "C" PRIMARY KEY,
    seq     BIGINT NOT NULL,
    gate    TEXT COLLATE "C" NOT NULL
);

CREATE TABLE audit_checkpoints (
    size BIGINT PRIMARY KEY,
    note TEXT COLLATE "C" NOT NULL
);

CREATE TABLE audit_keys (
    name       TEXT COLLATE "C" PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE audit_sinks (
    name          TEXT COLLATE "C" PRIMARY KEY,
    position      BIGINT NOT NULL,
    holder        TEXT COLLATE "C",
    held_until    BIGINT NOT NULL,
    error         TEXT COLLATE "C",
    failing_since BIGINT
);

-- The last batch of every writer: after a commit that nobody heard of it says whether it happened.
CREATE TABLE writers (
    id    TEXT COLLATE "C" PRIMARY KEY,
    batch BIGINT NOT NULL,
    at    TIMESTAMPTZ NOT NULL
);

CREATE TABLE keys (
    id           TEXT COLLATE "C" PRIMARY KEY,
    principal    TEXT COLLATE "C" NOT NULL,
    roles        TEXT COLLATE "C" NOT NULL,
    hash         BYTEA NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    note         TEXT COLLATE "C" NOT NULL,
    hash_kind    BIGINT NOT NULL DEFAULT 0,
    scopes       TEXT COLLATE "C",
    last_used_at BIGINT,
    rotated_from TEXT COLLATE "C"
);

CREATE TABLE notes (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    principal  TEXT COLLATE "C" NOT NULL,
    title      TEXT COLLATE "C" NOT NULL,
    text       TEXT COLLATE "C" NOT NULL,
    tags       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    words      TSVECTOR NOT NULL DEFAULT '',
    UNIQUE (principal, title)
);
CREATE INDEX notes_words ON notes USING gin (words);

CREATE TABLE node (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    key BYTEA NOT NULL CHECK (length(key) = 32)
);

-- Names and addresses differ in more than the case of their letters. What hangs on an account refers to its folded name.
CREATE TABLE accounts (
    name         TEXT COLLATE "C" PRIMARY KEY,
    folded       TEXT COLLATE "C" NOT NULL UNIQUE GENERATED ALWAYS AS (lower(name)) STORED,
    email        TEXT COLLATE "C",
    roles        TEXT COLLATE "C" NOT NULL,
    password     TEXT COLLATE "C",
    totp         BYTEA,
    totp_draft   BYTEA,
    totp_step    BIGINT,
    failures     BIGINT NOT NULL DEFAULT 0,
    failed_at    BIGINT,
    created_at   BIGINT NOT NULL,
    signed_in_at BIGINT
);
CREATE UNIQUE INDEX accounts_folded_name ON accounts (lower(name));
CREATE UNIQUE INDEX accounts_folded_email ON accounts (lower(email));

CREATE TABLE recovery_codes (
    account TEXT COLLATE "C" NOT NULL,
    folded  TEXT COLLATE "C" GENERATED ALWAYS AS (lower(account)) STORED REFERENCES accounts (folded) ON DELETE CASCADE,
    hash    BYTEA NOT NULL,
    PRIMARY KEY (folded, hash)
);
CREATE INDEX recovery_codes_folded ON recovery_codes (lower(account));

CREATE TABLE account_links (
    hash       BYTEA PRIMARY KEY,
    account    TEXT COLLATE "C",
    folded     TEXT COLLATE "C" GENERATED ALWAYS AS (lower(account)) STORED REFERENCES accounts (folded) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX account_links_folded ON account_links (lower(account), created_at);
CREATE INDEX account_links_of ON account_links (folded);

CREATE TABLE browser_sessions (
    id         TEXT COLLATE "C" PRIMARY KEY,
    hash       BYTEA NOT NULL UNIQUE,
    principal  TEXT COLLATE "C" NOT NULL,
    account    TEXT COLLATE "C",
    folded     TEXT COLLATE "C" GENERATED ALWAYS AS (lower(account)) STORED REFERENCES accounts (folded) ON DELETE CASCADE,
    roles      TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX browser_sessions_folded_principal ON browser_sessions (lower(principal), created_at);
CREATE INDEX browser_sessions_folded_account ON browser_sessions (lower(account));
CREATE INDEX browser_sessions_of ON browser_sessions (folded);

CREATE TABLE signing_keys (
    kid        TEXT COLLATE "C" PRIMARY KEY,
    public     TEXT COLLATE "C" NOT NULL,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    retires_at BIGINT
);
CREATE UNIQUE INDEX signing_keys_one_signs ON signing_keys ((retires_at IS NULL)) WHERE retires_at IS NULL;

CREATE TABLE oauth_clients (
    id          TEXT COLLATE "C" PRIMARY KEY,
    metadata    TEXT COLLATE "C" NOT NULL,
    secret_hash BYTEA,
    created_at  BIGINT NOT NULL,
    fresh_until BIGINT,
    used_at     BIGINT NOT NULL
);
CREATE INDEX oauth_clients_by_use ON oauth_clients (used_at);

CREATE TABLE oauth_grants (
    id           TEXT COLLATE "C" PRIMARY KEY,
    principal    TEXT COLLATE "C" NOT NULL,
    roles        TEXT COLLATE "C" NOT NULL,
    client_id    TEXT COLLATE "C" NOT NULL,
    client_name  TEXT COLLATE "C" NOT NULL,
    redirect_uri TEXT COLLATE "C" NOT NULL,
    scopes       TEXT COLLATE "C" NOT NULL,
    resource     TEXT COLLATE "C" NOT NULL,
    jkt          TEXT COLLATE "C",
    certificate  BYTEA,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT
);
CREATE INDEX oauth_grants_by_principal ON oauth_grants (principal);
CREATE INDEX oauth_grants_by_end ON oauth_grants (expires_at);

CREATE TABLE oauth_codes (
    hash       BYTEA PRIMARY KEY,
    grant_id   TEXT COLLATE "C" NOT NULL REFERENCES oauth_grants (id) ON DELETE CASCADE,
    challenge  TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE INDEX oauth_codes_by_grant ON oauth_codes (grant_id);

CREATE TABLE oauth_refresh_tokens (
    hash       BYTEA PRIMARY KEY,
    grant_id   TEXT COLLATE "C" NOT NULL REFERENCES oauth_grants (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE INDEX oauth_refresh_tokens_by_grant ON oauth_refresh_tokens (grant_id);

CREATE TABLE oauth_consents (
    principal    TEXT COLLATE "C" NOT NULL,
    client_id    TEXT COLLATE "C" NOT NULL,
    redirect_uri TEXT COLLATE "C" NOT NULL,
    scopes       TEXT COLLATE "C" NOT NULL,
    granted_at   BIGINT NOT NULL,
    PRIMARY KEY (principal, client_id, redirect_uri)
);

CREATE TABLE data_keys (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         BYTEA NOT NULL UNIQUE CHECK (length(id) = 8),
    kind       BIGINT NOT NULL,
    wrapped    BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX data_keys_hash ON data_keys (kind) WHERE kind = 1;

CREATE TABLE secrets (
    name       TEXT COLLATE "C" PRIMARY KEY,
    value      BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE secrets_version (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
);
INSERT INTO secrets_version (one, version) VALUES (1, 0);

CREATE FUNCTION count_secrets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE secrets_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER secrets_changed AFTER INSERT OR DELETE OR UPDATE OF value ON secrets
    FOR EACH ROW EXECUTE FUNCTION count_secrets();
CREATE TRIGGER data_keys_inserted AFTER INSERT ON data_keys
    FOR EACH ROW EXECUTE FUNCTION count_secrets();

CREATE TABLE revocations (
    kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN (
        'key', 'token', 'grant', 'session', 'user', 'disabled', 'signing-key', 'client', 'certificate')),
    issuer     TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    revoked_at BIGINT NOT NULL,
    until      BIGINT,
    by         TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, issuer, id)
);

CREATE TABLE pins (
    upstream   TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN ('server', 'instructions', 'tool', 'prompt', 'resource', 'template')),
    name       TEXT COLLATE "C" NOT NULL,
    digest     TEXT COLLATE "C" NOT NULL,
    definition TEXT COLLATE "C",
    bytes      BIGINT NOT NULL,
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('approved', 'superseded', 'waiting')),
    seen_at    BIGINT NOT NULL,
    decided_at BIGINT,
    by         TEXT COLLATE "C"
);
-- A name is as long as its upstream likes. That each definition is there once, one of an entry is approved and one at
-- most waits is the doing of those that write, one at a time.
CREATE INDEX pins_name ON pins USING hash (name);
CREATE INDEX pins_of ON pins (upstream, kind);

-- Counts what changed in the tables that are kept in memory.
CREATE TABLE changes (
    one         BIGINT PRIMARY KEY CHECK (one = 1),
    keys        BIGINT NOT NULL,
    revocations BIGINT NOT NULL,
    pins        BIGINT NOT NULL
);
INSERT INTO changes (one, keys, revocations, pins) VALUES (1, 0, 0, 0);

CREATE FUNCTION count_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE changes SET keys = keys + 1;
    RETURN NULL;
END $$;
-- Not of last_used_at: that a key is used changes nothing about it.
CREATE TRIGGER keys_changed AFTER INSERT OR DELETE
    OR UPDATE OF principal, roles, hash, hash_kind, scopes, expires_at, revoked_at ON keys
    FOR EACH ROW EXECUTE FUNCTION count_keys();

CREATE FUNCTION count_revocations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE changes SET revocations = revocations + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER revocations_changed AFTER INSERT OR DELETE OR UPDATE ON revocations
    FOR EACH ROW EXECUTE FUNCTION count_revocations();

CREATE FUNCTION count_pins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE changes SET pins = pins + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER pins_changed AFTER INSERT OR DELETE OR UPDATE ON pins
    FOR EACH STATEMENT EXECUTE FUNCTION count_pins();

CREATE TABLE replays (
    hash       BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX replays_by_end ON replays (expires_at);

CREATE TABLE upstream_tokens (
    issuer    TEXT COLLATE "C" NOT NULL,
    upstream  TEXT COLLATE "C" NOT NULL,
    principal TEXT COLLATE "C" NOT NULL,
    sealed    BYTEA NOT NULL,
    since     BIGINT NOT NULL,
    is_stale  BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (issuer, upstream, principal)
);
CREATE UNIQUE INDEX upstream_tokens_one ON upstream_tokens (upstream, principal);
CREATE INDEX upstream_tokens_of ON upstream_tokens (principal);

CREATE TABLE upstream_clients (
    issuer     TEXT COLLATE "C" NOT NULL,
    upstream   TEXT COLLATE "C" NOT NULL,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, upstream)
);

CREATE TABLE consent_requests (
    id           TEXT COLLATE "C" PRIMARY KEY,
    principal    TEXT COLLATE "C" NOT NULL,
    client       TEXT COLLATE "C" NOT NULL,
    conversation TEXT COLLATE "C",
    server       TEXT COLLATE "C" NOT NULL,
    method       TEXT COLLATE "C" NOT NULL,
    upstream     TEXT COLLATE "C" NOT NULL,
    entry        TEXT COLLATE "C" NOT NULL,
    digest       TEXT COLLATE "C" NOT NULL,
    definition   TEXT COLLATE "C" NOT NULL,
    shown        TEXT COLLATE "C" NOT NULL,
    rule         TEXT COLLATE "C" NOT NULL,
    longest      BIGINT NOT NULL,
    approvers    TEXT COLLATE "C" NOT NULL,
    other_person BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'approved', 'denied', 'withdrawn')),
    decided_at   BIGINT,
    decided_by   TEXT COLLATE "C"
);
CREATE INDEX consent_requests_of ON consent_requests (principal, created_at);
CREATE INDEX consent_requests_by_digest ON consent_requests (digest);

CREATE TABLE consents (
    id           TEXT COLLATE "C" PRIMARY KEY,
    principal    TEXT COLLATE "C" NOT NULL,
    server       TEXT COLLATE "C" NOT NULL,
    method       TEXT COLLATE "C" NOT NULL,
    upstream     TEXT COLLATE "C" NOT NULL,
    entry        TEXT COLLATE "C" NOT NULL,
    digest       TEXT COLLATE "C",
    definition   TEXT COLLATE "C" NOT NULL,
    rule         TEXT COLLATE "C" NOT NULL,
    is_once      BIGINT NOT NULL,
    conversation TEXT COLLATE "C",
    given_by     TEXT COLLATE "C" NOT NULL,
    given_at     BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT,
    ended_at     BIGINT,
    ended_by     TEXT COLLATE "C"
);
CREATE INDEX consents_for ON consents (principal, upstream, method);

CREATE TABLE quotas (
    counter   TEXT COLLATE "C" NOT NULL,
    starts_at BIGINT NOT NULL,
    calls     BIGINT NOT NULL,
    bytes     BIGINT NOT NULL,
    cost      BIGINT NOT NULL,
    PRIMARY KEY (counter, starts_at)
);
