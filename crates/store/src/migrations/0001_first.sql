-- One row per call. Nothing here may refuse a row: the writer would try it again for ever.
CREATE TABLE audit (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us            INTEGER NOT NULL, -- microseconds since 1970
    call_id          TEXT NOT NULL,
    principal        TEXT NOT NULL,
    credential       TEXT NOT NULL,
    client           TEXT NOT NULL,
    transport        TEXT NOT NULL,
    revision         TEXT NOT NULL,
    method           TEXT NOT NULL,
    upstream         TEXT,
    entry            TEXT,
    arguments_digest TEXT,             -- SHA-256, hex
    decision         TEXT NOT NULL,
    rule             TEXT,
    outcome          TEXT NOT NULL,    -- ok, tool_error, refused, failed, cancelled
    code             INTEGER,          -- of the JSON-RPC error
    reason           TEXT,
    duration_us      INTEGER NOT NULL,
    bytes_in         INTEGER NOT NULL,
    bytes_out        INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id         TEXT PRIMARY KEY,
    principal  TEXT NOT NULL,
    roles      TEXT NOT NULL,          -- JSON, a list of names
    hash       BLOB NOT NULL,          -- SHA-256 of the key's whole text
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    note       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notes (
    id         INTEGER PRIMARY KEY,
    principal  TEXT NOT NULL,
    title      TEXT NOT NULL,
    text       TEXT NOT NULL,
    tags       TEXT NOT NULL,          -- JSON, a list of words
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (principal, title)
) STRICT;

CREATE VIRTUAL TABLE notes_index USING fts5(
    title, text, tags, content = 'notes', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER notes_inserted AFTER INSERT ON notes BEGIN
    INSERT INTO notes_index (rowid, title, text, tags) VALUES (new.id, new.title, new.text, new.tags);
END;

CREATE TRIGGER notes_deleted AFTER DELETE ON notes BEGIN
    INSERT INTO notes_index (notes_index, rowid, title, text, tags)
    VALUES ('delete', old.id, old.title, old.text, old.tags);
END;

CREATE TRIGGER notes_updated AFTER UPDATE ON notes BEGIN
    INSERT INTO notes_index (notes_index, rowid, title, text, tags)
    VALUES ('delete', old.id, old.title, old.text, old.tags);
    INSERT INTO notes_index (rowid, title, text, tags) VALUES (new.id, new.title, new.text, new.tags);
END;
