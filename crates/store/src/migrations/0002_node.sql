-- What this installation seals with, made once: ids that clients keep beyond a restart.
CREATE TABLE node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;
