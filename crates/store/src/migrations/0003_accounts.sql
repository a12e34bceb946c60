-- Local accounts. Names and addresses differ in more than the case of their letters.
CREATE TABLE accounts (
    name         TEXT PRIMARY KEY COLLATE NOCASE,
    email        TEXT UNIQUE COLLATE NOCASE,
    roles        TEXT NOT NULL,          -- JSON, a list of names
    password     TEXT,                   -- argon2id with a pepper, as a PHC string; null until one was set
    totp         BLOB,                   -- the secret of one-time passwords, sealed
    totp_draft   BLOB,                   -- sealed; not in force until a code confirmed it
    totp_step    INTEGER,                -- the last one that was taken: none is taken twice
    failures     INTEGER NOT NULL DEFAULT 0, -- wrong tries since the last good one
    failed_at    INTEGER,
    created_at   INTEGER NOT NULL,
    signed_in_at INTEGER
) STRICT, WITHOUT ROWID;

-- Each works once, in place of a one-time password.
CREATE TABLE recovery_codes (
    account TEXT NOT NULL COLLATE NOCASE REFERENCES accounts (name) ON DELETE CASCADE,
    hash    BLOB NOT NULL,               -- keyed
    PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

-- Links that work once: to make the first account, to set a password.
CREATE TABLE account_links (
    hash       BLOB PRIMARY KEY,         -- keyed, of the secret in the link
    account    TEXT COLLATE NOCASE REFERENCES accounts (name) ON DELETE CASCADE, -- null: makes the first one
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_links_account ON account_links (account, created_at);

-- Browsers that signed in.
CREATE TABLE browser_sessions (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,     -- keyed, of the cookie's value
    principal  TEXT NOT NULL COLLATE NOCASE,
    account    TEXT COLLATE NOCASE REFERENCES accounts (name) ON DELETE CASCADE, -- null: an external provider's
    roles      TEXT NOT NULL,            -- JSON; of an external principal, otherwise empty: the account says
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX browser_sessions_principal ON browser_sessions (principal, created_at);
CREATE INDEX browser_sessions_account ON browser_sessions (account);
