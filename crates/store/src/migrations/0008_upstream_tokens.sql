-- What authorization servers gave the gate for upstreams. Sealed whole; what stands in clear is what is searched for.
CREATE TABLE upstream_tokens (
    issuer    TEXT NOT NULL,
    upstream  TEXT NOT NULL,
    principal TEXT NOT NULL,
    sealed    BLOB NOT NULL,
    since     INTEGER NOT NULL,
    is_stale  INTEGER NOT NULL DEFAULT 0,  -- it no longer holds; the principal has to connect anew
    PRIMARY KEY (issuer, upstream, principal)
) STRICT, WITHOUT ROWID;

-- One connection a principal and upstream, whoever gave it out.
CREATE UNIQUE INDEX upstream_tokens_one ON upstream_tokens (upstream, principal);
CREATE INDEX upstream_tokens_of ON upstream_tokens (principal);

-- The clients that we are at authorization servers which registered us. Keyed by issuer: what one server gave is never
-- shown to another.
CREATE TABLE upstream_clients (
    issuer     TEXT NOT NULL,
    upstream   TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, upstream)
) STRICT, WITHOUT ROWID;
