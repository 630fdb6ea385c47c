-- From version 1 of the database to version 2: what collecting garbage, rules and quotas need. Applied to a new
-- database behind schema.sql, and to an old one when it is opened, so that both are alike.
--
-- What may have lost its last use is noted where the use is lost, by triggers, so that nobody can forget it; what is
-- counted for statistics and quotas is counted the same way.

CREATE TABLE candidate (                        -- what may be garbage, or become it; see collect.h
	id INTEGER PRIMARY KEY,
	kind INTEGER NOT NULL,                  -- enum candidate_kind, which says what a, b and name are
	a INTEGER NOT NULL,
	b INTEGER NOT NULL,
	name TEXT NOT NULL,
	since INTEGER NOT NULL,                 -- when it became one
	due INTEGER NOT NULL,                   -- not to be looked at before
	UNIQUE (kind, a, b, name)
) STRICT;
CREATE INDEX candidate_due ON candidate (due);

CREATE TABLE pin (                              -- what is kept whatever the rules say; by name, so it may come later
	id INTEGER PRIMARY KEY,
	view INTEGER NOT NULL REFERENCES view,
	repository TEXT NOT NULL,               -- '': a store path
	reference TEXT NOT NULL,                -- tag, digest, '' (all of the repository); base name of a store path
	added INTEGER NOT NULL,
	UNIQUE (view, repository, reference)
) STRICT;

CREATE TABLE setting (                          -- what was in force when the store was last open
	name TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE path_use (                         -- of a binding: small rows, for they change often
	binding INTEGER PRIMARY KEY REFERENCES binding ON DELETE CASCADE,
	view INTEGER NOT NULL,
	used INTEGER NOT NULL,                  -- last, to an hour
	referrers INTEGER NOT NULL              -- bindings that refer to it
) STRICT;
CREATE INDEX path_use_idle ON path_use (view, used) WHERE referrers = 0;

CREATE TABLE manifest_use (
	manifest INTEGER PRIMARY KEY REFERENCES manifest ON DELETE CASCADE,
	used INTEGER NOT NULL
) STRICT;

CREATE TABLE total (                            -- one row: sums over the whole store
	id INTEGER PRIMARY KEY CHECK (id = 1),
	file_bytes INTEGER NOT NULL,
	framed_bytes INTEGER NOT NULL,
	glue_bytes INTEGER NOT NULL,
	opaque_bytes INTEGER NOT NULL,
	nars INTEGER NOT NULL,
	nar_bytes INTEGER NOT NULL,
	body_bytes INTEGER NOT NULL,
	blobs INTEGER NOT NULL,
	splices INTEGER NOT NULL,
	layer_bytes INTEGER NOT NULL,
	manifests INTEGER NOT NULL,
	tags INTEGER NOT NULL,
	repositories INTEGER NOT NULL,
	paths INTEGER NOT NULL
) STRICT;

ALTER TABLE object ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;       -- 1: quarantined, not to be served
CREATE INDEX object_damaged ON object (id) WHERE damaged = 1;

-- Of a view's cache: paths, their NARs' bytes, and the same as they are stored; shared ones are counted each time.
ALTER TABLE view ADD COLUMN paths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE view ADD COLUMN nar_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE view ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE view ADD COLUMN pending_bytes INTEGER NOT NULL DEFAULT 0;   -- as stored, of NARs without a path

ALTER TABLE repository ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;     -- of its blobs and manifests
ALTER TABLE repository ADD COLUMN blobs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repository ADD COLUMN manifests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repository ADD COLUMN tags INTEGER NOT NULL DEFAULT 0;

ALTER TABLE pending ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;        -- of the NAR, as stored
ALTER TABLE binding ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;        -- of its NAR, as stored when it was bound
ALTER TABLE tag ADD COLUMN pushed INTEGER NOT NULL DEFAULT 0;           -- order of pushes within the repository

-- The repository again, so that its uses are found however many other repositories use the same.
ALTER TABLE manifest_blob ADD COLUMN repository INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manifest_member ADD COLUMN repository INTEGER NOT NULL DEFAULT 0;

-- What an old store has.

UPDATE manifest_blob SET repository = (SELECT repository FROM manifest WHERE id = manifest);
UPDATE manifest_member SET repository = (SELECT repository FROM manifest WHERE id = manifest);
DROP INDEX manifest_blob_blob;
CREATE INDEX manifest_blob_blob ON manifest_blob (blob, repository);
CREATE INDEX manifest_member_digest ON manifest_member (digest, repository);

UPDATE tag SET pushed = (SELECT n FROM (SELECT repository, name, row_number() OVER
	(PARTITION BY repository ORDER BY updated, name) AS n FROM tag) AS o
	WHERE o.repository = tag.repository AND o.name = tag.name);
CREATE INDEX tag_pushed ON tag (repository, pushed);

UPDATE pending SET bytes = (SELECT size FROM nar JOIN object ON object.id = nar.object WHERE nar.id = pending.nar);
UPDATE binding SET bytes = (SELECT size FROM nar JOIN object ON object.id = nar.object WHERE nar.id = binding.nar);

-- Uses that come and go. Kinds: 1 repository, 2 tag, 3 manifest, 4 blob in a repository, 5 blob, 6 binding.

CREATE TRIGGER tag_new AFTER INSERT ON tag BEGIN
	UPDATE tag SET pushed = 1 + (SELECT coalesce(max(pushed), 0) FROM tag WHERE repository = new.repository)
		WHERE repository = new.repository AND name = new.name;
	UPDATE repository SET tags = tags + 1 WHERE id = new.repository;
	UPDATE total SET tags = tags + 1;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (1, new.repository, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET due = 0;
END;
CREATE TRIGGER tag_moved AFTER UPDATE OF manifest, updated ON tag BEGIN
	UPDATE tag SET pushed = 1 + (SELECT max(pushed) FROM tag WHERE repository = new.repository)
		WHERE repository = new.repository AND name = new.name;
	DELETE FROM candidate WHERE kind = 2 AND a = new.repository AND b = 0 AND name = new.name;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (1, new.repository, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET due = 0;
	INSERT INTO candidate (kind, a, b, name, since, due)
		SELECT 3, old.manifest, 0, '', unixepoch(), 0 WHERE old.manifest <> new.manifest
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
END;
CREATE TRIGGER tag_gone AFTER DELETE ON tag BEGIN
	UPDATE repository SET tags = tags - 1 WHERE id = old.repository;
	UPDATE total SET tags = tags - 1;
	DELETE FROM candidate WHERE kind = 2 AND a = old.repository AND b = 0 AND name = old.name;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (3, old.manifest, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
END;

CREATE TRIGGER manifest_new AFTER INSERT ON manifest BEGIN
	UPDATE repository SET manifests = manifests + 1, bytes = bytes + length(new.bytes) WHERE id = new.repository;
	UPDATE total SET manifests = manifests + 1;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (3, new.id, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
END;
-- Before: what it refers to is still known. Its members, its referrers, its blobs; and the tags by which tools name
-- what refers to a manifest (the fallback of the distribution specification, and cosign's).
CREATE TRIGGER manifest_goes BEFORE DELETE ON manifest BEGIN
	UPDATE repository SET manifests = manifests - 1, bytes = bytes - length(old.bytes) WHERE id = old.repository;
	UPDATE total SET manifests = manifests - 1;
	DELETE FROM candidate WHERE kind = 3 AND a = old.id AND b = 0 AND name = '';
	INSERT INTO candidate (kind, a, b, name, since, due)
		SELECT 3, m.id, 0, '', unixepoch(), 0 FROM manifest_member AS mm
		JOIN manifest AS m ON m.repository = old.repository AND m.digest = mm.digest WHERE mm.manifest = old.id
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
	INSERT INTO candidate (kind, a, b, name, since, due)
		SELECT 3, manifest, 0, '', unixepoch(), 0 FROM referrer
		WHERE repository = old.repository AND subject = old.digest
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
	INSERT INTO candidate (kind, a, b, name, since, due)
		SELECT 4, old.repository, blob, '', unixepoch(), 0 FROM manifest_blob WHERE manifest = old.id
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
	INSERT INTO candidate (kind, a, b, name, since, due)
		SELECT 2, repository, 0, name, unixepoch(), 0 FROM tag
		WHERE repository = old.repository AND name IN (
			CASE length(old.digest) WHEN 32 THEN 'sha256-' ELSE 'sha512-' END || lower(hex(old.digest)),
			'sha256-' || lower(hex(old.digest)) || '.sig',
			'sha256-' || lower(hex(old.digest)) || '.att',
			'sha256-' || lower(hex(old.digest)) || '.sbom')
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
END;

CREATE TRIGGER repository_blob_new AFTER INSERT ON repository_blob BEGIN
	UPDATE repository SET blobs = blobs + 1, bytes = bytes + (SELECT size FROM blob WHERE id = new.blob)
		WHERE id = new.repository;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (4, new.repository, new.blob, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
END;
CREATE TRIGGER repository_blob_gone AFTER DELETE ON repository_blob BEGIN
	UPDATE repository SET blobs = blobs - 1, bytes = bytes - (SELECT size FROM blob WHERE id = old.blob)
		WHERE id = old.repository;
	DELETE FROM candidate WHERE kind = 4 AND a = old.repository AND b = old.blob AND name = '';
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (5, old.blob, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET due = 0;
END;

CREATE TRIGGER repository_new AFTER INSERT ON repository BEGIN
	UPDATE total SET repositories = repositories + 1;
END;
CREATE TRIGGER repository_gone AFTER DELETE ON repository BEGIN
	UPDATE total SET repositories = repositories - 1;
	DELETE FROM candidate WHERE kind = 1 AND a = old.id AND name = '';
END;

CREATE TRIGGER binding_new AFTER INSERT ON binding BEGIN
	INSERT INTO path_use (binding, view, used, referrers) VALUES (new.id, new.view, new.added, 0);
	UPDATE view SET paths = paths + 1, bytes = bytes + new.bytes,
		nar_bytes = nar_bytes + (SELECT nar_size FROM nar WHERE id = new.nar) WHERE id = new.view;
	UPDATE total SET paths = paths + 1;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (6, new.id, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET since = excluded.since, due = 0;
END;
-- A NAR that lost its path waits like one that has none yet: pulls that are under way still find it.
CREATE TRIGGER binding_changed AFTER UPDATE OF nar ON binding WHEN old.nar <> new.nar BEGIN
	UPDATE view SET bytes = bytes - old.bytes + new.bytes,
		nar_bytes = nar_bytes - (SELECT nar_size FROM nar WHERE id = old.nar)
			+ (SELECT nar_size FROM nar WHERE id = new.nar) WHERE id = new.view;
	INSERT INTO pending (view, nar, added) SELECT old.view, old.nar, unixepoch()
		WHERE NOT EXISTS (SELECT 1 FROM binding WHERE nar = old.nar AND view = old.view)
		ON CONFLICT DO UPDATE SET added = excluded.added;
END;
CREATE TRIGGER binding_gone AFTER DELETE ON binding BEGIN
	UPDATE view SET paths = paths - 1, bytes = bytes - old.bytes,
		nar_bytes = nar_bytes - (SELECT nar_size FROM nar WHERE id = old.nar) WHERE id = old.view;
	UPDATE total SET paths = paths - 1;
	DELETE FROM candidate WHERE kind = 6 AND a = old.id AND b = 0 AND name = '';
	INSERT INTO pending (view, nar, added) SELECT old.view, old.nar, unixepoch()
		WHERE NOT EXISTS (SELECT 1 FROM binding WHERE nar = old.nar AND view = old.view)
		ON CONFLICT DO UPDATE SET added = excluded.added;
END;
CREATE TRIGGER pending_new AFTER INSERT ON pending BEGIN
	UPDATE pending SET bytes = (SELECT size FROM nar JOIN object ON object.id = nar.object WHERE nar.id = new.nar)
		WHERE view = new.view AND nar = new.nar;
	UPDATE view SET pending_bytes = pending_bytes
		+ (SELECT bytes FROM pending WHERE view = new.view AND nar = new.nar) WHERE id = new.view;
END;
CREATE TRIGGER pending_gone AFTER DELETE ON pending BEGIN
	UPDATE view SET pending_bytes = pending_bytes - old.bytes WHERE id = old.view;
END;
CREATE TRIGGER reference_new AFTER INSERT ON reference BEGIN
	UPDATE path_use SET referrers = referrers + 1 WHERE binding = new.referred;
END;
CREATE TRIGGER reference_gone AFTER DELETE ON reference BEGIN
	UPDATE path_use SET referrers = referrers - 1 WHERE binding = old.referred;
	INSERT INTO candidate (kind, a, b, name, since, due) VALUES (6, old.referred, 0, '', unixepoch(), 0)
		ON CONFLICT DO UPDATE SET due = 0;
END;

-- Sums.

CREATE TRIGGER object_new AFTER INSERT ON object BEGIN
	UPDATE total SET file_bytes = file_bytes + new.size * (new.file IS NOT NULL),
		framed_bytes = framed_bytes + new.size * (new.kind = 1),
		glue_bytes = glue_bytes + new.size * (new.kind = 2),
		opaque_bytes = opaque_bytes + new.size * (new.kind = 3);
END;
CREATE TRIGGER object_changed AFTER UPDATE OF kind, file ON object BEGIN
	UPDATE total SET file_bytes = file_bytes + new.size * ((new.file IS NOT NULL) - (old.file IS NOT NULL)),
		framed_bytes = framed_bytes + new.size * ((new.kind = 1) - (old.kind = 1)),
		glue_bytes = glue_bytes + new.size * ((new.kind = 2) - (old.kind = 2)),
		opaque_bytes = opaque_bytes + new.size * ((new.kind = 3) - (old.kind = 3));
END;
CREATE TRIGGER object_gone AFTER DELETE ON object BEGIN
	UPDATE total SET file_bytes = file_bytes - old.size * (old.file IS NOT NULL),
		framed_bytes = framed_bytes - old.size * (old.kind = 1),
		glue_bytes = glue_bytes - old.size * (old.kind = 2),
		opaque_bytes = opaque_bytes - old.size * (old.kind = 3);
END;
CREATE TRIGGER nar_new AFTER INSERT ON nar BEGIN
	UPDATE total SET nars = nars + 1, nar_bytes = nar_bytes + new.nar_size;
END;
CREATE TRIGGER nar_gone AFTER DELETE ON nar BEGIN
	UPDATE total SET nars = nars - 1, nar_bytes = nar_bytes - old.nar_size;
END;
CREATE TRIGGER body_new AFTER INSERT ON body BEGIN
	UPDATE total SET body_bytes = body_bytes + new.zstd_size;
END;
CREATE TRIGGER body_gone AFTER DELETE ON body BEGIN
	UPDATE total SET body_bytes = body_bytes - old.zstd_size;
END;
CREATE TRIGGER blob_new AFTER INSERT ON blob BEGIN
	UPDATE total SET blobs = blobs + 1, splices = splices + (new.form <> 1),
		layer_bytes = layer_bytes + new.size * (new.form <> 1 AND new.layer = 2);
END;
CREATE TRIGGER blob_changed AFTER UPDATE OF form, layer ON blob BEGIN
	UPDATE total SET splices = splices + (new.form <> 1) - (old.form <> 1),
		layer_bytes = layer_bytes + new.size * ((new.form <> 1 AND new.layer = 2)
			- (old.form <> 1 AND old.layer = 2));
END;
CREATE TRIGGER blob_gone AFTER DELETE ON blob BEGIN
	UPDATE total SET blobs = blobs - 1, splices = splices - (old.form <> 1),
		layer_bytes = layer_bytes - old.size * (old.form <> 1 AND old.layer = 2);
END;

CREATE TABLE manifest_wanted (                  -- blobs that a manifest names and its repository does not have yet
	repository INTEGER NOT NULL,
	digest BLOB NOT NULL,
	manifest INTEGER NOT NULL REFERENCES manifest ON DELETE CASCADE,
	PRIMARY KEY (repository, digest, manifest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_wanted_manifest ON manifest_wanted (manifest);
CREATE TRIGGER manifest_wanted_came AFTER INSERT ON repository_blob BEGIN
	INSERT OR IGNORE INTO manifest_blob (manifest, blob, repository)
		SELECT manifest, new.blob, new.repository FROM manifest_wanted
		WHERE repository = new.repository AND digest = (SELECT digest FROM blob WHERE id = new.blob);
	DELETE FROM manifest_wanted
		WHERE repository = new.repository AND digest = (SELECT digest FROM blob WHERE id = new.blob);
END;
