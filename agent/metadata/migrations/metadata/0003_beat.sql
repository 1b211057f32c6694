-- A random value that the replica's agent renews while it runs, here and in its tree: a copy of the tree has an old one.
ALTER TABLE sync_states ADD COLUMN beat TEXT NOT NULL DEFAULT '';
