-- From version 4 of the database to version 5: a build log goes with the last path that was built so.

CREATE INDEX binding_deriver ON binding (view, deriver) WHERE deriver IS NOT NULL;
