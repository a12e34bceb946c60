-- How far the log has what stands in a gate's journal: see docs/decisions/0032.
CREATE TABLE audit_journals (
    gate   TEXT PRIMARY KEY,
    folded INTEGER NOT NULL -- the number of the last of its records that is in the log
) STRICT, WITHOUT ROWID;
