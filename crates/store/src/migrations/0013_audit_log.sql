-- The audit log proves itself: see docs/decisions/0028. Rows from before have no place in the chain.
ALTER TABLE audit ADD COLUMN trace_id TEXT;    -- of the W3C trace context, 32 hex digits
ALTER TABLE audit ADD COLUMN arguments TEXT;   -- as much of them as the config keeps
ALTER TABLE audit ADD COLUMN salt BLOB;        -- 16 bytes; NULL once what a person can have erased is erased
ALTER TABLE audit ADD COLUMN commitment BLOB;  -- what stands in the place of what was erased
ALTER TABLE audit ADD COLUMN chain BLOB;       -- the chain's value after this row

CREATE INDEX audit_by_principal ON audit (principal, at_us);
CREATE INDEX audit_by_time ON audit (at_us);

-- Where the next row goes: one row, locked by whoever appends.
CREATE TABLE audit_head (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    base  INTEGER NOT NULL, -- the row in front of the first of the chain
    size  INTEGER NOT NULL, -- rows in the chain
    chain BLOB NOT NULL,    -- its value after the last of them
    roots BLOB NOT NULL     -- of the tree's perfect subtrees, the largest first, 32 bytes each
) STRICT;
INSERT INTO audit_head (id, base, size, chain, roots)
    SELECT 1, coalesce(max(seq), 0), 0, zeroblob(32), x'' FROM audit;

-- Roots of perfect subtrees of 256, 65536, … rows: a proof reads a few hundred hashes, however long the log is.
CREATE TABLE audit_nodes (
    level INTEGER NOT NULL,
    place INTEGER NOT NULL, -- which of its level, from the left
    hash  BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;

-- Calls that were begun and not answered: what a crash leaves here ends as `unknown`.
CREATE TABLE audit_open (
    call_id TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL,
    gate    TEXT NOT NULL -- which holds a lock for as long as it lives
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_checkpoints (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL -- signed
) STRICT;

-- The key that checkpoints are signed with; its name is the log's.
CREATE TABLE audit_keys (
    name       TEXT PRIMARY KEY,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL -- microseconds since 1970
) STRICT, WITHOUT ROWID;
