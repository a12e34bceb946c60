-- Definitions of entries as upstreams wrote them: those that were approved, and those that wait for somebody to look.
-- What is offered now and what an owner last said of it; a row of an entry stays when the entry is gone, so that it
-- comes back as what it was or not at all.
CREATE TABLE pins (
    upstream   TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('server', 'instructions', 'tool', 'prompt', 'resource', 'template')),
    name       TEXT NOT NULL,          -- the upstream's own; empty where there is one of a kind
    digest     TEXT NOT NULL,          -- SHA-256 over the canonical form (RFC 8785), hex
    definition TEXT,                   -- the canonical form; null if it was too much to keep
    bytes      INTEGER NOT NULL,       -- of the canonical form
    state      TEXT NOT NULL CHECK (state IN ('approved', 'superseded', 'waiting')),
    seen_at    INTEGER NOT NULL,       -- when it was last found to be offered anew
    decided_at INTEGER,                -- when it was last approved; null if it never was
    by         TEXT,                   -- by whom
    PRIMARY KEY (upstream, kind, name, digest)
) STRICT;
-- Of one entry one definition is good, and one at most waits.
CREATE UNIQUE INDEX pins_approved ON pins (upstream, kind, name) WHERE state = 'approved';
CREATE UNIQUE INDEX pins_waiting ON pins (upstream, kind, name) WHERE state = 'waiting';

ALTER TABLE changes ADD COLUMN pins INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER pins_inserted AFTER INSERT ON pins BEGIN
    UPDATE changes SET pins = pins + 1;
END;
CREATE TRIGGER pins_updated AFTER UPDATE ON pins BEGIN
    UPDATE changes SET pins = pins + 1;
END;
CREATE TRIGGER pins_deleted AFTER DELETE ON pins BEGIN
    UPDATE changes SET pins = pins + 1;
END;
