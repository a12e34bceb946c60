-- Whom records are about and where they come from; all of it can be erased.
ALTER TABLE audit ADD COLUMN address TEXT COLLATE "C";
ALTER TABLE audit ADD COLUMN actor TEXT COLLATE "C";
ALTER TABLE audit ADD COLUMN subject TEXT COLLATE "C";
CREATE INDEX audit_by_subject ON audit (subject) WHERE subject IS NOT NULL;

-- Where the log begins since its front was taken off: a place in the tree, and the chain's value in front of it.
ALTER TABLE audit_head ADD COLUMN pruned BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_head ADD COLUMN pruned_chain BYTEA NOT NULL DEFAULT decode(repeat('00', 32), 'hex');

-- Records that stay, whatever the config or a person wants.
CREATE TABLE audit_holds (
    id          TEXT COLLATE "C" PRIMARY KEY,
    principal   TEXT COLLATE "C",
    since_us    BIGINT,
    until_us    BIGINT,
    reason      TEXT COLLATE "C" NOT NULL,
    by          TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    released_at BIGINT
);
