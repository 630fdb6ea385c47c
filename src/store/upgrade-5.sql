-- From version 4 of the database to version 5.

-- Layers are taken in when a manifest names them, and framed later (settle.h).

-- A NAR whose encoder is '' has no frames yet: its object is a layer that was pushed, in which it lies.
CREATE INDEX nar_unframed ON nar (object) WHERE encoder = '';
ALTER TABLE blob ADD COLUMN unframed INTEGER NOT NULL DEFAULT 0;        -- 1: whether it is a splice was not looked at
CREATE INDEX blob_unframed ON blob (object) WHERE unframed = 1;
ALTER TABLE binding ADD COLUMN plain INTEGER NOT NULL DEFAULT 0;        -- 1: its narinfo names the NAR uncompressed
CREATE INDEX binding_plain ON binding (id) WHERE plain = 1;

-- As in version 2, but what has no frames yet counts as what it is.
DROP TRIGGER pending_new;
CREATE TRIGGER pending_new AFTER INSERT ON pending BEGIN
	UPDATE pending SET bytes = (SELECT CASE encoder WHEN '' THEN nar_size ELSE size END
		FROM nar JOIN object ON object.id = nar.object WHERE nar.id = new.nar)
		WHERE view = new.view AND nar = new.nar;
	UPDATE view SET pending_bytes = pending_bytes
		+ (SELECT bytes FROM pending WHERE view = new.view AND nar = new.nar) WHERE id = new.view;
END;

-- A build log goes with the last path that was built so.
CREATE INDEX binding_deriver ON binding (view, deriver) WHERE deriver IS NOT NULL;
