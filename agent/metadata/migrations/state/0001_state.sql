-- What one replica remembers for itself. Paths sort by bytes (BINARY, SQLite's default).

CREATE TABLE ancestor (
    path          TEXT PRIMARY KEY NOT NULL,
    -- the local fingerprint; times in nanoseconds since 1970; the inode's 64 bits as a signed number
    size          INTEGER NOT NULL,
    mtime_ns      INTEGER NOT NULL,
    ctime_ns      INTEGER NOT NULL,
    inode         INTEGER NOT NULL,
    mode          INTEGER NOT NULL,
    -- the remote generation
    etag          TEXT NOT NULL,
    remote_size   INTEGER NOT NULL,
    version_id    TEXT,
    last_modified TEXT,
    -- BLAKE3; NULL: never read
    content       BLOB,
    nonce         BLOB,
    open          INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX ancestor_open ON ancestor (path) WHERE open = 1;
-- Finds what a rename carries elsewhere: the row whose object has this content.
CREATE INDEX ancestor_etag ON ancestor (etag);
-- The same for the content of a large file, at the price of a few rows.
CREATE INDEX ancestor_large ON ancestor (size) WHERE size > 5242880;

-- Kept by triggers, so that nobody has to count a million rows to know how many there are.
CREATE TABLE ancestor_totals (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
INSERT INTO ancestor_totals (id, files, bytes) VALUES (1, 0, 0);

CREATE TRIGGER ancestor_added AFTER INSERT ON ancestor BEGIN
    UPDATE ancestor_totals SET files = files + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER ancestor_resized AFTER UPDATE OF size ON ancestor WHEN new.size <> old.size BEGIN
    UPDATE ancestor_totals SET bytes = bytes + new.size - old.size;
END;
CREATE TRIGGER ancestor_dropped AFTER DELETE ON ancestor BEGIN
    UPDATE ancestor_totals SET files = files - 1, bytes = bytes - old.size;
END;

-- The journal. These four hold few, short-lived rows; what nobody searches for stays JSON.
CREATE TABLE operations (
    id    TEXT PRIMARY KEY NOT NULL,
    entry TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE uploads (
    upload TEXT PRIMARY KEY NOT NULL,
    entry  TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE halts (
    id    TEXT PRIMARY KEY NOT NULL,
    entry TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE notes (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;
