-- Times are seconds since the Unix epoch. Hashes are SHA-256 of a secret, which itself is never stored.
-- For SQLite and PostgreSQL: BIGINT, TEXT and BLOB only; PostgreSQL reads BYTEA for BLOB.

CREATE TABLE oauth_clients (
    id            TEXT PRIMARY KEY NOT NULL,
    secret_hash   BLOB,
    auth_method   TEXT NOT NULL,
    name          TEXT NOT NULL,
    redirect_uris TEXT NOT NULL, -- JSON array
    created_at    BIGINT NOT NULL,
    used_at       BIGINT,
    metadata      TEXT NOT NULL -- JSON object
);
CREATE INDEX oauth_clients_unused ON oauth_clients (created_at) WHERE used_at IS NULL;

CREATE TABLE oauth_once (
    kind          TEXT NOT NULL,
    key_hash      BLOB NOT NULL,
    value         BLOB NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (kind, key_hash)
);
CREATE INDEX oauth_once_ended ON oauth_once (expires_at);

CREATE TABLE oauth_codes (
    code_hash     BLOB PRIMARY KEY NOT NULL,
    request       TEXT NOT NULL, -- JSON
    subject       TEXT NOT NULL,
    grant_id      TEXT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
);
CREATE INDEX oauth_codes_ended ON oauth_codes (expires_at);

CREATE TABLE oauth_grants (
    id            TEXT PRIMARY KEY NOT NULL,
    client_id     TEXT NOT NULL,
    subject       TEXT NOT NULL,
    resource      TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    expires_at    BIGINT NOT NULL,
    revoked       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX oauth_grants_ended ON oauth_grants (expires_at);
CREATE INDEX oauth_grants_of_client ON oauth_grants (client_id);

CREATE TABLE oauth_refresh_tokens (
    token_hash    BLOB PRIMARY KEY NOT NULL,
    grant_id      TEXT NOT NULL,
    expires_at    BIGINT NOT NULL,
    rotated_at    BIGINT
);
CREATE INDEX oauth_refresh_tokens_ended ON oauth_refresh_tokens (expires_at);

CREATE TABLE oauth_signing_keys (
    id            BIGINT PRIMARY KEY NOT NULL,
    sealed        TEXT NOT NULL
);

CREATE TABLE oauth_state (
    id             BIGINT PRIMARY KEY NOT NULL, -- 1
    epoch          TEXT NOT NULL,
    revocation_seq BIGINT NOT NULL
);

CREATE TABLE oauth_revocations (
    seq           BIGINT PRIMARY KEY NOT NULL,
    grant_id      TEXT NOT NULL UNIQUE,
    ends_at       BIGINT NOT NULL -- when the last access token of the grant has ended
);
CREATE INDEX oauth_revocations_ended ON oauth_revocations (ends_at);
