-- From version 3 of the database to version 4: documents go by age.

ALTER TABLE document ADD COLUMN added INTEGER NOT NULL DEFAULT 0;       -- when it was put last
UPDATE document SET added = unixepoch();
-- Listings (tree 0) go with their path.
CREATE INDEX document_added ON document (view, added) WHERE tree <> 0;
