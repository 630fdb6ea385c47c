-- What the server keeps, without the bulk bytes. Embedded into the program; see docs/architecture.md, "The server's store".
-- This is version 1, and stays as it is; upgrade-2.sql and so on are applied behind it.
--
-- A digest is 32 bytes (sha256) or 64 (sha512). Times are seconds since the epoch. Names of tables are singular; a column
-- that is called like a table holds an id of it. A table of large rows is a rowid table with an index, one of small rows is
-- clustered by its key, so that every hot read is a handful of index steps, whatever the number of rows.

CREATE TABLE view (
	id INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,              -- '' is the root
	store_dir TEXT,                         -- NULL: not known yet
	generation INTEGER NOT NULL DEFAULT 0   -- counts changes of bindings
) STRICT;

-- Layer 1: bytes. Below every view, so never looked up by a name that a client chose.

CREATE TABLE object (                           -- immutable bytes
	id INTEGER PRIMARY KEY,
	sha256 BLOB NOT NULL UNIQUE,
	size INTEGER NOT NULL,
	kind INTEGER NOT NULL,                  -- enum object_kind
	file TEXT,                              -- below objects/; NULL: small, the bytes are in data
	data BLOB,
	CHECK ((file IS NULL) <> (data IS NULL))
) STRICT;

CREATE TABLE garbage (                          -- objects without use; see garbage.h
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	object INTEGER NOT NULL UNIQUE
) STRICT;

CREATE TABLE nar (                              -- one content, under whatever store paths
	id INTEGER PRIMARY KEY,
	nar_hash BLOB NOT NULL UNIQUE,          -- sha256
	nar_size INTEGER NOT NULL,
	object INTEGER NOT NULL REFERENCES object,      -- the framed NAR
	frames BLOB NOT NULL,                   -- of the object, as src/layer writes them
	encoder TEXT NOT NULL,                  -- who made the frames
	added INTEGER NOT NULL
) STRICT;
CREATE INDEX nar_object ON nar (object);

CREATE TABLE body (                             -- what a NAR needs besides to be the layer of one store path
	id INTEGER PRIMARY KEY,
	path TEXT NOT NULL,                     -- whole store path
	nar INTEGER NOT NULL REFERENCES nar,
	glue INTEGER NOT NULL REFERENCES object,
	frames BLOB NOT NULL,                   -- of the body, as src/layer writes them
	tar_digest BLOB NOT NULL,               -- of the layer of exactly this path: uncompressed,
	tar_size INTEGER NOT NULL,
	zstd_digest BLOB NOT NULL,              -- and framed
	zstd_size INTEGER NOT NULL,
	encoder TEXT NOT NULL,                  -- who made the glue's frames
	UNIQUE (path, nar)
) STRICT;
CREATE INDEX body_nar ON body (nar);
CREATE INDEX body_glue ON body (glue);

CREATE TABLE blob (                             -- what a digest names, in whatever repositories
	id INTEGER PRIMARY KEY,
	digest BLOB NOT NULL UNIQUE,
	size INTEGER NOT NULL,
	form INTEGER NOT NULL,                  -- enum blob_form
	object INTEGER REFERENCES object,       -- BLOB_OBJECT: its bytes
	splice BLOB,                            -- other forms: what it is put together from; see splices.c
	layer INTEGER NOT NULL DEFAULT 0,       -- enum layer_kind
	added INTEGER NOT NULL,
	CHECK ((object IS NULL) <> (splice IS NULL))
) STRICT;
CREATE INDEX blob_object ON blob (object) WHERE object IS NOT NULL;

CREATE TABLE blob_part (                        -- the objects that a splice uses
	blob INTEGER NOT NULL REFERENCES blob,
	object INTEGER NOT NULL REFERENCES object,
	PRIMARY KEY (blob, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_part_object ON blob_part (object);

CREATE TABLE layer_path (                       -- the store paths that a store layer holds, in its order
	blob INTEGER NOT NULL REFERENCES blob,
	position INTEGER NOT NULL,
	path TEXT NOT NULL,                     -- whole store path
	nar INTEGER NOT NULL REFERENCES nar,
	PRIMARY KEY (blob, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_path_nar ON layer_path (nar);

-- Layer 2: the registry, by view and repository.

CREATE TABLE repository (
	id INTEGER PRIMARY KEY,
	view INTEGER NOT NULL REFERENCES view,
	name TEXT NOT NULL,
	UNIQUE (view, name)
) STRICT;

CREATE TABLE repository_blob (
	repository INTEGER NOT NULL REFERENCES repository,
	blob INTEGER NOT NULL REFERENCES blob,
	PRIMARY KEY (repository, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_blob_blob ON repository_blob (blob);

CREATE TABLE manifest (
	id INTEGER PRIMARY KEY,
	repository INTEGER NOT NULL REFERENCES repository,
	digest BLOB NOT NULL,
	media_type TEXT NOT NULL,
	bytes BLOB NOT NULL,
	added INTEGER NOT NULL,
	UNIQUE (repository, digest)
) STRICT;

CREATE TABLE manifest_blob (                    -- what it names; the blobs it keeps alive
	manifest INTEGER NOT NULL REFERENCES manifest ON DELETE CASCADE,
	blob INTEGER NOT NULL REFERENCES blob,
	PRIMARY KEY (manifest, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_blob_blob ON manifest_blob (blob);

CREATE TABLE manifest_member (                  -- of an index; need not be there
	manifest INTEGER NOT NULL REFERENCES manifest ON DELETE CASCADE,
	digest BLOB NOT NULL,
	PRIMARY KEY (manifest, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE tag (
	repository INTEGER NOT NULL REFERENCES repository,
	name TEXT NOT NULL,
	manifest INTEGER NOT NULL REFERENCES manifest ON DELETE CASCADE,
	made INTEGER NOT NULL,                  -- 1: by the server, for a store path
	updated INTEGER NOT NULL,
	PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_manifest ON tag (manifest);

CREATE TABLE referrer (
	repository INTEGER NOT NULL REFERENCES repository,
	subject BLOB NOT NULL,                  -- digest; need not be there
	manifest INTEGER NOT NULL REFERENCES manifest ON DELETE CASCADE,
	artifact_type TEXT NOT NULL,
	descriptor TEXT NOT NULL,               -- JSON, as it is listed
	PRIMARY KEY (repository, subject, manifest)
) STRICT, WITHOUT ROWID;
CREATE INDEX referrer_manifest ON referrer (manifest);

-- Layer 3: the binary cache, by view.

CREATE TABLE binding (                          -- SPEC nacre 1: (view, store path) -> NarHash
	id INTEGER PRIMARY KEY,
	view INTEGER NOT NULL REFERENCES view,
	hash_part TEXT NOT NULL,
	base TEXT NOT NULL,                     -- <hash part>-<name>
	nar INTEGER NOT NULL REFERENCES nar,
	attested INTEGER NOT NULL,              -- enum attestation
	refs TEXT NOT NULL,                     -- base names, sorted, by ' '
	deriver TEXT,
	signatures TEXT NOT NULL,               -- sorted, by ' '
	ca TEXT,
	narinfo TEXT NOT NULL,                  -- as it is served
	added INTEGER NOT NULL,
	UNIQUE (view, hash_part)
) STRICT;
CREATE INDEX binding_nar ON binding (nar);

CREATE TABLE reference (                        -- between bindings of one view, self references aside
	referrer INTEGER NOT NULL REFERENCES binding ON DELETE CASCADE,
	referred INTEGER NOT NULL REFERENCES binding,
	PRIMARY KEY (referrer, referred)
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_referred ON reference (referred);

CREATE TABLE nar_name (                         -- every name under nar/ that a NAR ever had in a view
	view INTEGER NOT NULL REFERENCES view,
	name TEXT NOT NULL,
	nar INTEGER NOT NULL REFERENCES nar,
	codec INTEGER NOT NULL,                 -- enum codec that the name promises
	object INTEGER REFERENCES object,       -- its bytes, where we cannot encode that codec; else NULL
	PRIMARY KEY (view, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX nar_name_nar ON nar_name (nar);
CREATE INDEX nar_name_object ON nar_name (object) WHERE object IS NOT NULL;

CREATE TABLE pending (                          -- NARs of a view that no path is bound to yet
	view INTEGER NOT NULL REFERENCES view,
	nar INTEGER NOT NULL REFERENCES nar,
	added INTEGER NOT NULL,
	PRIMARY KEY (view, nar)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_added ON pending (added);
CREATE INDEX pending_nar ON pending (nar);

CREATE TABLE document (
	view INTEGER NOT NULL REFERENCES view,
	tree INTEGER NOT NULL,                  -- enum store_tree
	name TEXT NOT NULL,
	object INTEGER NOT NULL REFERENCES object,
	coding TEXT,                            -- Content-Encoding of its bytes
	PRIMARY KEY (view, tree, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_object ON document (object);

CREATE TABLE made (                             -- manifests that the server made of store paths
	manifest INTEGER PRIMARY KEY REFERENCES manifest ON DELETE CASCADE,
	hash_part TEXT NOT NULL,                -- of the store path
	whole INTEGER NOT NULL,                 -- of its closure, not of it alone
	infos INTEGER NOT NULL,                 -- the manifest of its path infos; may have been deleted
	generation INTEGER NOT NULL             -- of the view when these were made
) STRICT;
