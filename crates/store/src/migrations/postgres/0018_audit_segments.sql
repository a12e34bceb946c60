-- As a file has it. What is in a segment is packed already.
CREATE TABLE audit_segments (
    first_seq   BIGINT PRIMARY KEY,
    last_seq    BIGINT NOT NULL,
    earliest_us BIGINT NOT NULL,
    latest_us   BIGINT NOT NULL,
    records     BYTEA NOT NULL
);
CREATE INDEX audit_segments_by_time ON audit_segments (latest_us, earliest_us);

CREATE TABLE audit_names (
    name    TEXT COLLATE "C" NOT NULL,
    segment BIGINT NOT NULL,
    PRIMARY KEY (name, segment)
);
