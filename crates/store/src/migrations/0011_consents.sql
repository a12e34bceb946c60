-- Consents, and requests for them that wait for a person.
CREATE TABLE consent_requests (
    id           TEXT PRIMARY KEY,
    principal    TEXT NOT NULL,          -- who wants it done
    client       TEXT NOT NULL,          -- through which program, in its own words
    conversation TEXT,                   -- what "this session" means; null: there is none
    server       TEXT NOT NULL,          -- the virtual server; empty for the whole catalog
    method       TEXT NOT NULL,
    upstream     TEXT NOT NULL,
    entry        TEXT NOT NULL,
    digest       TEXT NOT NULL,          -- SHA-256 over the canonical form of what would be sent, hex
    definition   TEXT NOT NULL,          -- the same over the entry's definition
    shown        TEXT NOT NULL,          -- what would be sent, for people: bounded, secrets taken out
    rule         TEXT NOT NULL,          -- which rule asks
    longest      INTEGER NOT NULL,       -- 0: once, 1: a session, more: microseconds
    approvers    TEXT NOT NULL,          -- roles, a JSON array
    other_person INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('open', 'approved', 'denied', 'withdrawn')),
    decided_at   INTEGER,
    decided_by   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX consent_requests_of ON consent_requests (principal, created_at);
-- The same question, asked twice, is one.
CREATE UNIQUE INDEX consent_requests_open ON consent_requests
    (principal, server, method, upstream, entry, digest, definition, rule, ifnull(conversation, ''))
    WHERE state = 'open';

CREATE TABLE consents (
    id           TEXT PRIMARY KEY,       -- that of the request
    principal    TEXT NOT NULL,
    server       TEXT NOT NULL,
    method       TEXT NOT NULL,
    upstream     TEXT NOT NULL,
    entry        TEXT NOT NULL,
    digest       TEXT,                   -- null: whatever the arguments
    definition   TEXT NOT NULL,
    rule         TEXT NOT NULL,
    is_once      INTEGER NOT NULL,
    conversation TEXT,                   -- it ends with that; null: it does not hang on one
    given_by     TEXT NOT NULL,
    given_at     INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    used_at      INTEGER,                -- of those that hold once
    ended_at     INTEGER,                -- when it was revoked
    ended_by     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX consents_for ON consents (principal, upstream, entry, method);
