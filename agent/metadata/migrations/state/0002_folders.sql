-- Rows of folders, whose paths end with a slash, are no files: with one for each of them the guards would never see that most
-- files are concerned.
DROP TRIGGER ancestor_added;
DROP TRIGGER ancestor_resized;
DROP TRIGGER ancestor_dropped;

CREATE TRIGGER ancestor_added AFTER INSERT ON ancestor WHEN new.path NOT LIKE '%/' BEGIN
    UPDATE ancestor_totals SET files = files + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER ancestor_resized AFTER UPDATE OF size ON ancestor
    WHEN new.size <> old.size AND new.path NOT LIKE '%/' BEGIN
    UPDATE ancestor_totals SET bytes = bytes + new.size - old.size;
END;
CREATE TRIGGER ancestor_dropped AFTER DELETE ON ancestor WHEN old.path NOT LIKE '%/' BEGIN
    UPDATE ancestor_totals SET files = files - 1, bytes = bytes - old.size;
END;

UPDATE ancestor_totals SET
    files = (SELECT count(*) FROM ancestor WHERE path NOT LIKE '%/'),
    bytes = (SELECT coalesce(sum(size), 0) FROM ancestor WHERE path NOT LIKE '%/');
