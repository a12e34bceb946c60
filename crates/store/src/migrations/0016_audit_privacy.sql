-- Whom records are about and where they come from; all of it can be erased.
ALTER TABLE audit ADD COLUMN address TEXT;  -- of the connection
ALTER TABLE audit ADD COLUMN actor TEXT;    -- the OAuth client that acted for the principal
ALTER TABLE audit ADD COLUMN subject TEXT;  -- the person that an act is about
CREATE INDEX audit_by_subject ON audit (subject) WHERE subject IS NOT NULL;

-- Where the log begins since its front was taken off: a place in the tree, and the chain's value in front of it.
ALTER TABLE audit_head ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_head ADD COLUMN pruned_chain BLOB NOT NULL DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';

-- Records that stay, whatever the config or a person wants.
CREATE TABLE audit_holds (
    id          TEXT PRIMARY KEY,
    principal   TEXT,              -- NULL: of everybody
    since_us    INTEGER,           -- microseconds since 1970
    until_us    INTEGER,
    reason      TEXT NOT NULL,
    by          TEXT NOT NULL,
    created_at  INTEGER NOT NULL,  -- microseconds since 1970
    released_at INTEGER            -- NULL: it holds
) STRICT, WITHOUT ROWID;
