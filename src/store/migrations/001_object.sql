-- Every durable object of the platform, whatever its kind.
CREATE TABLE object (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        kind    TEXT NOT NULL,
        id      TEXT NOT NULL,
        project TEXT NOT NULL,
        parent  TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        version INTEGER NOT NULL DEFAULT 1,
        f1      TEXT,
        f2      TEXT,
        f3      TEXT,
        f4      TEXT,
        doc     TEXT NOT NULL,
        -- seq once more: a page's first row is found by a seek on (created, seq) only if both are columns of
        -- the index, and SQLite does not count the row number as one.
        place   INTEGER AS (seq) VIRTUAL
) STRICT;

CREATE UNIQUE INDEX object_id ON object (kind, id);
-- The order of every list.
CREATE INDEX object_page ON object (kind, project, parent, created, place);
CREATE INDEX object_parent ON object (parent) WHERE parent <> '';
CREATE INDEX object_expires ON object (expires) WHERE expires <> 0;

-- The metadata pairs of an object, in the order of its list, so that a filtered page is a seek as well.
CREATE TABLE metadata (
        project TEXT NOT NULL,
        kind    TEXT NOT NULL,
        key     TEXT NOT NULL,
        value   TEXT NOT NULL,
        created INTEGER NOT NULL,
        object  INTEGER NOT NULL REFERENCES object (seq) ON DELETE CASCADE,
        PRIMARY KEY (project, kind, key, value, created, object)
) STRICT, WITHOUT ROWID;

CREATE INDEX metadata_object ON metadata (object);
