-- What no longer holds though nothing about it says so. A row may go once nothing it could match is still valid.
CREATE TABLE revocations (
    kind       TEXT NOT NULL CHECK (kind IN (
        'key', 'token', 'grant', 'session', 'user', 'disabled', 'signing-key', 'client', 'certificate')),
    issuer     TEXT NOT NULL,          -- of tokens and signing keys; empty for the others
    id         TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    until      INTEGER,                -- nothing it could match holds any longer; null for never
    by         TEXT NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (kind, issuer, id)
) STRICT, WITHOUT ROWID;

ALTER TABLE keys ADD COLUMN hash_kind INTEGER NOT NULL DEFAULT 0; -- 0: SHA-256, 1: keyed
ALTER TABLE keys ADD COLUMN scopes TEXT;                          -- space-separated; null for all there are
ALTER TABLE keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE keys ADD COLUMN rotated_from TEXT;

-- Counts what changed in the tables that are kept in memory, so that a process sees at a glance what another did.
CREATE TABLE changes (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    keys        INTEGER NOT NULL,
    revocations INTEGER NOT NULL
) STRICT;
INSERT INTO changes (one, keys, revocations) VALUES (1, 0, 0);

CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN
    UPDATE changes SET keys = keys + 1;
END;
-- Not of last_used_at: that a key is used changes nothing about it.
CREATE TRIGGER keys_updated AFTER UPDATE OF principal, roles, hash, hash_kind, scopes, expires_at, revoked_at ON keys BEGIN
    UPDATE changes SET keys = keys + 1;
END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN
    UPDATE changes SET keys = keys + 1;
END;
CREATE TRIGGER revocations_inserted AFTER INSERT ON revocations BEGIN
    UPDATE changes SET revocations = revocations + 1;
END;
CREATE TRIGGER revocations_updated AFTER UPDATE ON revocations BEGIN
    UPDATE changes SET revocations = revocations + 1;
END;
CREATE TRIGGER revocations_deleted AFTER DELETE ON revocations BEGIN
    UPDATE changes SET revocations = revocations + 1;
END;
