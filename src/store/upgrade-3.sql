-- From version 2 of the database to version 3: requests whose cost grew with what is beside their subject; blobs of indexes.

-- Referrers of one type, however many there are of others.
CREATE INDEX referrer_type ON referrer (repository, subject, artifact_type, manifest);

-- As in version 2, but the members are looked up one by one (CROSS JOIN keeps the order): there may be many more
-- manifests in the repository.
DROP TRIGGER manifest_goes;
CREATE TRIGGER manifest_goes BEFORE DELETE ON manifest BEGIN
	UPDATE repository SET manifests = manifests - 1, bytes = bytes - length(old.bytes) WHERE id = old.repository;
	UPDATE total SET manifests = manifests - 1;
	DELETE FROM candidate WHERE kind = 3 AND a = old.id AND b = 0 AND name = '';
	INSERT INTO candidate (kind, a, b, name, since, due)
		SELECT 3, m.id, 0, '', unixepoch(), 0 FROM manifest_member AS mm CROSS JOIN manifest AS m
		WHERE mm.manifest = old.id AND m.repository = old.repository AND m.digest = mm.digest
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

-- Indexes may name blobs, which are theirs then.
INSERT OR IGNORE INTO manifest_blob (manifest, blob, repository)
	SELECT member.manifest, blob.id, member.repository FROM manifest_member AS member
	JOIN blob ON blob.digest = member.digest
	JOIN repository_blob AS here ON here.repository = member.repository AND here.blob = blob.id;
