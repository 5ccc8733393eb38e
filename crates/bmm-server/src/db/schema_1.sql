CREATE TABLE instance (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
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

-- Values of servers' required secrets, sealed to (organisation, slug, name). A server's largest `revision` tells a change.
CREATE TABLE server_secrets (
    slug TEXT NOT NULL REFERENCES servers (slug) ON DELETE CASCADE,
    name TEXT NOT NULL,
    organisation TEXT NOT NULL,
    revision INTEGER NOT NULL,
    sealed TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (slug, name)
) STRICT;
