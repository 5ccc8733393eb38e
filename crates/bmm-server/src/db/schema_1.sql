CREATE TABLE instance (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE vault_keys (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    wrapped TEXT NOT NULL
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL,
    display_name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE login_tokens (
    hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX login_tokens_expiry ON login_tokens (expires_at);

CREATE TABLE servers (
    slug TEXT PRIMARY KEY,
    organisation TEXT NOT NULL,
    revision INTEGER NOT NULL,
    spec_digest TEXT NOT NULL,
    source BLOB NOT NULL,
    compiled TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- A slug that was in use is never given to another organisation.
CREATE TABLE slug_tombstones (
    slug TEXT PRIMARY KEY,
    organisation TEXT NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT;
