-- The order of lists that are filtered by the first column.
CREATE INDEX object_first ON object (kind, project, parent, f1, created, place) WHERE f1 IS NOT NULL;

-- Work to be done, each piece once. `due` is when a job that waits may be claimed, and when the lease of one
-- that is claimed runs out: the two are the same question to whoever looks for work.
CREATE TABLE job (
        seq      INTEGER PRIMARY KEY AUTOINCREMENT,
        kind     TEXT NOT NULL,
        id       TEXT NOT NULL,
        project  TEXT NOT NULL,
        created  INTEGER NOT NULL,
        due      INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        attempt  INTEGER NOT NULL DEFAULT 0,
        lease    INTEGER NOT NULL DEFAULT 0,
        payload  TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX job_id ON job (kind, id);
CREATE INDEX job_due ON job (kind, priority, due);
CREATE INDEX job_lease ON job (seq) WHERE lease <> 0;

-- The log of usage, in the order of its commits.
CREATE TABLE usage_log (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        id      TEXT NOT NULL UNIQUE,
        at      INTEGER NOT NULL,
        what    TEXT NOT NULL,
        project TEXT NOT NULL,
        user    TEXT NOT NULL,
        key     TEXT NOT NULL,
        model   TEXT NOT NULL,
        tier    TEXT NOT NULL,
        batch   INTEGER NOT NULL,
        n0 INTEGER NOT NULL, n1 INTEGER NOT NULL, n2  INTEGER NOT NULL, n3  INTEGER NOT NULL,
        n4 INTEGER NOT NULL, n5 INTEGER NOT NULL, n6  INTEGER NOT NULL, n7  INTEGER NOT NULL,
        n8 INTEGER NOT NULL, n9 INTEGER NOT NULL, n10 INTEGER NOT NULL, n11 INTEGER NOT NULL
) STRICT;

-- What is folded: every record up to `upto`, at the time `at`. The records stay for a day, so that their ids
-- are known; the newest row stays for good.
CREATE TABLE usage_fold (
        upto INTEGER PRIMARY KEY,
        at   INTEGER NOT NULL
) STRICT;
INSERT INTO usage_fold VALUES (0, 0);

CREATE TABLE usage_bucket (
        what    TEXT NOT NULL,
        minute  INTEGER NOT NULL,
        project TEXT NOT NULL,
        user    TEXT NOT NULL,
        key     TEXT NOT NULL,
        model   TEXT NOT NULL,
        tier    TEXT NOT NULL,
        batch   INTEGER NOT NULL,
        n0 INTEGER NOT NULL, n1 INTEGER NOT NULL, n2  INTEGER NOT NULL, n3  INTEGER NOT NULL,
        n4 INTEGER NOT NULL, n5 INTEGER NOT NULL, n6  INTEGER NOT NULL, n7  INTEGER NOT NULL,
        n8 INTEGER NOT NULL, n9 INTEGER NOT NULL, n10 INTEGER NOT NULL, n11 INTEGER NOT NULL,
        PRIMARY KEY (what, minute, project, user, key, model, tier, batch)
) STRICT, WITHOUT ROWID;
