-- When a replica's row was last put, milliseconds since 1970 of this host: one that is silent for long is forgotten.
ALTER TABLE sync_states ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
UPDATE sync_states SET seen_at = unixepoch() * 1000;
