-- How many deletes a replica has sent lately or is about to send, and when it told so, milliseconds since 1970 of this
-- host: the guard against too many counts them over all replicas of a prefix.
ALTER TABLE sync_states ADD COLUMN deletes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync_states ADD COLUMN deletes_at INTEGER NOT NULL DEFAULT 0;
