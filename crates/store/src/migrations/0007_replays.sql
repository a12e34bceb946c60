-- What counts once and was used, until it would be refused for its age.
CREATE TABLE replays (
  hash BLOB PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_end ON replays (expires_at);
