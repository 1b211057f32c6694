-- Finds what a rename or a copy of a large file carries elsewhere, at the price of a few rows.
CREATE INDEX ancestor_large ON ancestor (size) WHERE size > 5242880;
