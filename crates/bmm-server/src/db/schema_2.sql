-- A server that was stopped is not started before somebody says so.
ALTER TABLE servers ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;

-- What a server was before its current revision, to go back to.
CREATE TABLE previous_revisions (
    slug TEXT PRIMARY KEY REFERENCES servers (slug) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    spec_digest TEXT NOT NULL,
    source BLOB NOT NULL,
    compiled TEXT NOT NULL
) STRICT;

-- What the bmm that runs is asked to do with a server, to which revision if it is to go back, and what came of it (empty until then).
-- A later order takes an earlier one's place.
CREATE TABLE server_orders (
    slug TEXT PRIMARY KEY REFERENCES servers (slug) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    revision INTEGER,
    failed INTEGER NOT NULL DEFAULT 0,
    outcome TEXT
) STRICT;
