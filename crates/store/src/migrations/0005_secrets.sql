-- Keys that values are sealed and hashed with, each wrapped under the master key, which is not here. None is ever
-- deleted: what was sealed with one opens with that one.
CREATE TABLE data_keys (
    seq        INTEGER PRIMARY KEY,    -- the newest that seals has the highest
    id         BLOB NOT NULL UNIQUE CHECK (length(id) = 8),
    kind       INTEGER NOT NULL,       -- 0: seals, 1: hashes
    wrapped    BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- A second one would make strangers of all that was hashed with the first.
CREATE UNIQUE INDEX data_keys_hash ON data_keys (kind) WHERE kind = 1;

CREATE TABLE secrets (
    name       TEXT PRIMARY KEY,
    value      BLOB NOT NULL,          -- sealed for secrets/NAME/value
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Counts what a running gate has to take over.
CREATE TABLE secrets_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO secrets_version (one, version) VALUES (1, 0);

CREATE TRIGGER secrets_inserted AFTER INSERT ON secrets BEGIN
    UPDATE secrets_version SET version = version + 1;
END;
CREATE TRIGGER secrets_updated AFTER UPDATE OF value ON secrets BEGIN
    UPDATE secrets_version SET version = version + 1;
END;
CREATE TRIGGER secrets_deleted AFTER DELETE ON secrets BEGIN
    UPDATE secrets_version SET version = version + 1;
END;
CREATE TRIGGER data_keys_inserted AFTER INSERT ON data_keys BEGIN
    UPDATE secrets_version SET version = version + 1;
END;
