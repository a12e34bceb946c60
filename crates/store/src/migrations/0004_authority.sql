-- The embedded authorization server. Secrets, codes and refresh tokens are here as keyed hashes alone.
CREATE TABLE signing_keys (
    kid        TEXT PRIMARY KEY,       -- RFC 7638
    public     TEXT NOT NULL,          -- the JWK
    sealed     BLOB NOT NULL,          -- the private key, for `signing_keys/<kid>`
    created_at INTEGER NOT NULL,
    retires_at INTEGER                 -- nothing that it signed is good from then on; null for the one that signs
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX signing_keys_one_signs ON signing_keys (retires_at IS NULL) WHERE retires_at IS NULL;

CREATE TABLE oauth_clients (
    id          TEXT PRIMARY KEY,      -- a URL for a client that publishes its own metadata
    metadata    TEXT NOT NULL,         -- JSON, in the words of RFC 7591
    secret_hash BLOB,
    created_at  INTEGER NOT NULL,
    fresh_until INTEGER,               -- of a document: fetched anew after that
    used_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX oauth_clients_by_use ON oauth_clients (used_at);

-- What somebody allowed a client. Codes and refresh tokens hang on it; access tokens name it.
CREATE TABLE oauth_grants (
    id           TEXT PRIMARY KEY,
    principal    TEXT NOT NULL,
    roles        TEXT NOT NULL,        -- JSON, a list of names
    client_id    TEXT NOT NULL,
    client_name  TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    resource     TEXT NOT NULL,
    jkt          TEXT,                 -- the key that the grant is bound to (RFC 9449)
    certificate  BLOB,                 -- the certificate that it is bound to (RFC 8705)
    created_at   INTEGER NOT NULL,
    used_at      INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX oauth_grants_by_principal ON oauth_grants (principal);
CREATE INDEX oauth_grants_by_end ON oauth_grants (expires_at);

CREATE TABLE oauth_codes (
    hash       BLOB PRIMARY KEY,
    grant_id   TEXT NOT NULL REFERENCES oauth_grants (id) ON DELETE CASCADE,
    challenge  TEXT NOT NULL,          -- S256
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX oauth_codes_by_grant ON oauth_codes (grant_id);

CREATE TABLE oauth_refresh_tokens (
    hash       BLOB PRIMARY KEY,
    grant_id   TEXT NOT NULL REFERENCES oauth_grants (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX oauth_refresh_tokens_by_grant ON oauth_refresh_tokens (grant_id);

CREATE TABLE oauth_consents (
    principal    TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    granted_at   INTEGER NOT NULL,
    PRIMARY KEY (principal, client_id, redirect_uri)
) STRICT, WITHOUT ROWID;
