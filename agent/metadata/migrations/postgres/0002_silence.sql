-- When a replica's row was last put, milliseconds since 1970 of this server: one that is silent for long is forgotten.
ALTER TABLE sync_states ADD COLUMN seen_at bigint NOT NULL DEFAULT 0;
UPDATE sync_states SET seen_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
