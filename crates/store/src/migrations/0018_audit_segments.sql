-- Records stand in segments: see docs/decisions/0035 and audit/segment.rs. What was in `audit` is moved there.
CREATE TABLE audit_segments (
    first_seq   INTEGER PRIMARY KEY, -- the number of its first record
    last_seq    INTEGER NOT NULL,    -- and of its last
    earliest_us INTEGER NOT NULL,    -- of its records' times: microseconds since 1970
    latest_us   INTEGER NOT NULL,
    records     BLOB NOT NULL
) STRICT;
CREATE INDEX audit_segments_by_time ON audit_segments (latest_us, earliest_us);

-- In which segments there are records of a principal, or about it.
CREATE TABLE audit_names (
    name    TEXT NOT NULL,
    segment INTEGER NOT NULL, -- the number of its first record
    PRIMARY KEY (name, segment)
) STRICT, WITHOUT ROWID;
