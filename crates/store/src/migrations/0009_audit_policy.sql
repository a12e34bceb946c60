-- What policy did with a call, beside what the rules said.
ALTER TABLE audit ADD COLUMN server TEXT;      -- the virtual server that was asked
ALTER TABLE audit ADD COLUMN definition TEXT;  -- SHA-256 over the canonical form of the entry's definition, hex
ALTER TABLE audit ADD COLUMN consent TEXT;     -- the id of a consent, or of the request for one
ALTER TABLE audit ADD COLUMN screened TEXT;    -- kinds and counts
