-- The metadata of stores. Keys sort by bytes. Times are milliseconds since 1970 of this server, but modified_time, which is
-- the file's own, in nanoseconds.

CREATE TABLE stores (
    -- random: one of tables that were made anew never means another store
    id         bigint PRIMARY KEY,
    endpoint   text COLLATE "C" NOT NULL,
    bucket     text COLLATE "C" NOT NULL,
    -- random: another one means that the feed began anew
    epoch      text NOT NULL,
    -- the newest change, and the oldest one that is still kept
    head_seq   bigint NOT NULL DEFAULT 0,
    pruned_seq bigint NOT NULL DEFAULT 0,
    UNIQUE (endpoint, bucket)
);

CREATE TABLE prefixes (
    store_id   bigint NOT NULL,
    prefix     text COLLATE "C" NOT NULL,
    listed_seq bigint NOT NULL,
    listed_at  bigint NOT NULL,
    PRIMARY KEY (store_id, prefix)
);

-- Of file rows. Taken before a row is written: some are never used.
CREATE SEQUENCE file_ids AS bigint;

CREATE TABLE files (
    id            bigint PRIMARY KEY CHECK (id > 0),
    store_id      bigint NOT NULL,
    path          text COLLATE "C" NOT NULL GENERATED ALWAYS AS ('/' || s3_key) STORED,
    -- NUL, which databases can't hold as text, is spelled U+0001 U+0001, and U+0001 is U+0001 U+0002
    s3_key        text COLLATE "C" NOT NULL,
    size          bigint NOT NULL,
    modified_time bigint,
    created_time  bigint NOT NULL,
    -- '' in a folder that is only a part of other keys
    etag          text NOT NULL,
    version_id    text,
    last_modified text,
    checksum      bytea,
    mime_type     text,
    mode          bigint,
    is_directory  boolean NOT NULL,
    parent_id     bigint,
    version       bigint NOT NULL,
    is_deleted    boolean NOT NULL,
    deleted_at    bigint,
    seq           bigint NOT NULL,
    updated_by    text NOT NULL
);
CREATE UNIQUE INDEX files_s3_key ON files (store_id, s3_key);
CREATE INDEX files_parent_id ON files (parent_id);
CREATE INDEX files_is_deleted ON files (deleted_at) WHERE is_deleted;
CREATE INDEX files_modified_time ON files (modified_time) WHERE modified_time IS NOT NULL;

CREATE TABLE file_changes (
    store_id    bigint NOT NULL,
    seq         bigint NOT NULL,
    -- random: tells whether a cursor still points into the feed that it came from
    row_id      uuid NOT NULL DEFAULT gen_random_uuid(),
    file_id     bigint NOT NULL,
    s3_key      text COLLATE "C" NOT NULL,
    change_type text NOT NULL CHECK (change_type IN ('CREATE', 'UPDATE', 'DELETE', 'RENAME')),
    changed_at  bigint NOT NULL,
    client_id   text NOT NULL,
    old_path    text COLLATE "C",
    new_path    text COLLATE "C",
    etag        text NOT NULL,
    size        bigint NOT NULL,
    PRIMARY KEY (store_id, seq)
);
CREATE INDEX file_changes_changed_at ON file_changes (changed_at);
CREATE INDEX file_changes_file_id ON file_changes (file_id);

CREATE TABLE sync_states (
    client_id      text COLLATE "C" NOT NULL,
    store_id       bigint NOT NULL,
    prefix         text COLLATE "C" NOT NULL,
    last_sync_time bigint,
    -- <sequence>:<row_id>
    sync_cursor    text,
    epoch          text NOT NULL,
    device_name    text NOT NULL,
    platform       text NOT NULL,
    agent_version  text NOT NULL,
    status         text NOT NULL,
    PRIMARY KEY (client_id, store_id, prefix)
);

CREATE TABLE sync_configs (
    name            text COLLATE "C" NOT NULL,
    client_id       text COLLATE "C" NOT NULL,
    local_path      text NOT NULL,
    s3_path         text NOT NULL,
    bidirectional   boolean NOT NULL,
    -- a JSON array
    ignore_patterns text NOT NULL,
    status          text NOT NULL,
    last_sync_time  bigint,
    file_count      bigint NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    PRIMARY KEY (name, client_id)
);

CREATE TABLE leases (
    name       text COLLATE "C" PRIMARY KEY,
    -- '' while nobody holds it
    holder     text NOT NULL,
    fencing    bigint NOT NULL,
    expires_at bigint NOT NULL
);
