-- The metadata of stores. Keys sort by bytes (BINARY, SQLite's default). Times are milliseconds since 1970, but
-- modified_time, which is the file's own, in nanoseconds.

CREATE TABLE stores (
    id         INTEGER PRIMARY KEY,
    endpoint   TEXT NOT NULL,
    bucket     TEXT NOT NULL,
    -- random: another one means that the feed began anew
    epoch      TEXT NOT NULL,
    -- the newest change, and the oldest one that is still kept
    head_seq   INTEGER NOT NULL DEFAULT 0,
    pruned_seq INTEGER NOT NULL DEFAULT 0,
    UNIQUE (endpoint, bucket)
);

CREATE TABLE prefixes (
    store_id   INTEGER NOT NULL,
    prefix     TEXT NOT NULL,
    listed_seq INTEGER NOT NULL,
    listed_at  INTEGER NOT NULL,
    PRIMARY KEY (store_id, prefix)
) WITHOUT ROWID;

CREATE TABLE files (
    id            INTEGER PRIMARY KEY,
    store_id      INTEGER NOT NULL,
    path          TEXT GENERATED ALWAYS AS ('/' || s3_key) VIRTUAL,
    -- NUL, which databases can't hold as text, is spelled U+0001 U+0001, and U+0001 is U+0001 U+0002
    s3_key        TEXT NOT NULL,
    size          INTEGER NOT NULL,
    modified_time INTEGER,
    created_time  INTEGER NOT NULL,
    -- '' in a folder that is only a part of other keys
    etag          TEXT NOT NULL,
    version_id    TEXT,
    last_modified TEXT,
    checksum      BLOB,
    mime_type     TEXT,
    mode          INTEGER,
    is_directory  INTEGER NOT NULL,
    parent_id     INTEGER,
    version       INTEGER NOT NULL,
    is_deleted    INTEGER NOT NULL,
    deleted_at    INTEGER,
    seq           INTEGER NOT NULL,
    updated_by    TEXT NOT NULL
);
CREATE UNIQUE INDEX files_s3_key ON files (store_id, s3_key);
CREATE INDEX files_parent_id ON files (parent_id);
CREATE INDEX files_is_deleted ON files (deleted_at) WHERE is_deleted = 1;
CREATE INDEX files_modified_time ON files (modified_time) WHERE modified_time IS NOT NULL;

CREATE TABLE file_changes (
    store_id    INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    -- random: tells whether a cursor still points into the feed that it came from
    row_id      TEXT NOT NULL,
    file_id     INTEGER NOT NULL,
    s3_key      TEXT NOT NULL,
    change_type TEXT NOT NULL CHECK (change_type IN ('CREATE', 'UPDATE', 'DELETE', 'RENAME')),
    changed_at  INTEGER NOT NULL,
    client_id   TEXT NOT NULL,
    old_path    TEXT,
    new_path    TEXT,
    etag        TEXT NOT NULL,
    size        INTEGER NOT NULL,
    PRIMARY KEY (store_id, seq)
) WITHOUT ROWID;
CREATE INDEX file_changes_changed_at ON file_changes (changed_at);
CREATE INDEX file_changes_file_id ON file_changes (file_id);

CREATE TABLE sync_states (
    client_id      TEXT NOT NULL,
    store_id       INTEGER NOT NULL,
    prefix         TEXT NOT NULL,
    last_sync_time INTEGER,
    -- <sequence>:<row_id>
    sync_cursor    TEXT,
    epoch          TEXT NOT NULL,
    device_name    TEXT NOT NULL,
    platform       TEXT NOT NULL,
    agent_version  TEXT NOT NULL,
    status         TEXT NOT NULL,
    PRIMARY KEY (client_id, store_id, prefix)
) WITHOUT ROWID;

CREATE TABLE sync_configs (
    name            TEXT NOT NULL,
    client_id       TEXT NOT NULL,
    local_path      TEXT NOT NULL,
    s3_path         TEXT NOT NULL,
    bidirectional   INTEGER NOT NULL,
    -- a JSON array
    ignore_patterns TEXT NOT NULL,
    status          TEXT NOT NULL,
    last_sync_time  INTEGER,
    file_count      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (name, client_id)
) WITHOUT ROWID;

CREATE TABLE leases (
    name       TEXT PRIMARY KEY NOT NULL,
    -- '' while nobody holds it
    holder     TEXT NOT NULL,
    fencing    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Local only: mirrors made by command line (config is their JSON), and which mirrors are paused.
CREATE TABLE mirrors (
    name   TEXT PRIMARY KEY NOT NULL,
    -- NULL: a mirror of the configuration file, kept here for its pause alone
    config TEXT,
    paused INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
