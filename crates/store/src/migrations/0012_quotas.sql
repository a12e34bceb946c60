-- What was used of quotas: one row for each counter and window. Rows are added to; the window's end is the quota's word.
CREATE TABLE quotas (
    counter   TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    calls     INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    cost      INTEGER NOT NULL,
    PRIMARY KEY (counter, starts_at)
) STRICT, WITHOUT ROWID;
