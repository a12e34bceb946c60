-- Where the audit log is sent on to, and how far each receiver is.
CREATE TABLE audit_sinks (
    name          TEXT PRIMARY KEY,
    position      INTEGER NOT NULL,  -- the last row that its receiver has
    holder        TEXT,              -- the gate that sends
    held_until    INTEGER NOT NULL,  -- microseconds since 1970: then another may
    error         TEXT,              -- why nothing gets there; NULL while it does
    failing_since INTEGER            -- microseconds since 1970
) STRICT, WITHOUT ROWID;
