-- What triggers keep (upgrade-2.sql), made anew from what is there: behind an upgrade, and when a check found that it is
-- wrong.

INSERT OR IGNORE INTO path_use (binding, view, used, referrers) SELECT id, view, unixepoch(), 0 FROM binding;
UPDATE path_use SET referrers = (SELECT count(*) FROM reference WHERE referred = path_use.binding);

UPDATE view SET
	paths = (SELECT count(*) FROM binding WHERE binding.view = view.id),
	nar_bytes = (SELECT coalesce(sum(nar_size), 0) FROM binding JOIN nar ON nar.id = nar WHERE binding.view = view.id),
	bytes = (SELECT coalesce(sum(bytes), 0) FROM binding WHERE binding.view = view.id),
	pending_bytes = (SELECT coalesce(sum(bytes), 0) FROM pending WHERE pending.view = view.id);
UPDATE repository SET
	blobs = (SELECT count(*) FROM repository_blob WHERE repository = repository.id),
	manifests = (SELECT count(*) FROM manifest WHERE repository = repository.id),
	tags = (SELECT count(*) FROM tag WHERE repository = repository.id),
	bytes = (SELECT coalesce(sum(size), 0) FROM repository_blob JOIN blob ON blob.id = blob
			WHERE repository = repository.id)
		+ (SELECT coalesce(sum(length(manifest.bytes)), 0) FROM manifest WHERE repository = repository.id);
DELETE FROM total;
INSERT INTO total SELECT 1,
	(SELECT coalesce(sum(size), 0) FROM object WHERE file IS NOT NULL),
	(SELECT coalesce(sum(size), 0) FROM object WHERE kind = 1),
	(SELECT coalesce(sum(size), 0) FROM object WHERE kind = 2),
	(SELECT coalesce(sum(size), 0) FROM object WHERE kind = 3),
	(SELECT count(*) FROM nar),
	(SELECT coalesce(sum(nar_size), 0) FROM nar),
	(SELECT coalesce(sum(zstd_size), 0) FROM body),
	(SELECT count(*) FROM blob),
	(SELECT count(*) FROM blob WHERE form <> 1),
	(SELECT coalesce(sum(size), 0) FROM blob WHERE form <> 1 AND layer = 2),
	(SELECT count(*) FROM manifest),
	(SELECT count(*) FROM tag),
	(SELECT count(*) FROM repository),
	(SELECT count(*) FROM binding);

-- Garbage that nobody would look at.

INSERT INTO candidate (kind, a, b, name, since, due)
	SELECT 3, id, 0, '', unixepoch(), 0 FROM manifest
	WHERE NOT EXISTS (SELECT 1 FROM tag WHERE tag.manifest = manifest.id)
	ON CONFLICT DO NOTHING;
INSERT INTO candidate (kind, a, b, name, since, due)
	SELECT 4, repository, blob, '', unixepoch(), 0 FROM repository_blob AS link
	WHERE NOT EXISTS (SELECT 1 FROM manifest_blob WHERE blob = link.blob AND repository = link.repository)
	ON CONFLICT DO NOTHING;
INSERT INTO candidate (kind, a, b, name, since, due)
	SELECT 5, id, 0, '', unixepoch(), 0 FROM blob
	WHERE NOT EXISTS (SELECT 1 FROM repository_blob WHERE blob = blob.id)
	ON CONFLICT DO NOTHING;
INSERT INTO candidate (kind, a, b, name, since, due)
	SELECT 0, view, 0, name, unixepoch(), 0 FROM document
	WHERE tree = 0 AND NOT EXISTS
		(SELECT 1 FROM binding WHERE view = document.view AND hash_part = document.name)
	ON CONFLICT DO NOTHING;
INSERT INTO pending (view, nar, added) SELECT (SELECT min(id) FROM view), id, 0 FROM nar
	WHERE NOT EXISTS (SELECT 1 FROM binding WHERE nar = nar.id)
	AND NOT EXISTS (SELECT 1 FROM nar_name WHERE nar = nar.id)
	AND NOT EXISTS (SELECT 1 FROM layer_path WHERE nar = nar.id)
	AND NOT EXISTS (SELECT 1 FROM pending WHERE nar = nar.id);
INSERT OR IGNORE INTO garbage (object) SELECT id FROM object AS o
	WHERE NOT EXISTS (SELECT 1 FROM nar WHERE object = o.id)
	AND NOT EXISTS (SELECT 1 FROM body WHERE glue = o.id)
	AND NOT EXISTS (SELECT 1 FROM blob WHERE object = o.id)
	AND NOT EXISTS (SELECT 1 FROM blob_part WHERE object = o.id)
	AND NOT EXISTS (SELECT 1 FROM nar_name WHERE object = o.id)
	AND NOT EXISTS (SELECT 1 FROM document WHERE object = o.id);
