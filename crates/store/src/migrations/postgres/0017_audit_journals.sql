-- As a file has it: a gate before a PostgreSQL has no journal.
CREATE TABLE audit_journals (
    gate   TEXT COLLATE "C" PRIMARY KEY,
    folded BIGINT NOT NULL
);
