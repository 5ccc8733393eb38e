-- The tokens that users brought from upstreams; `sealed` holds them, bound to subject, upstream and generation.

CREATE TABLE oauth_upstream_tokens (
    subject       TEXT PRIMARY KEY NOT NULL,
    upstream      TEXT NOT NULL,
    revision      BIGINT NOT NULL,
    generation    BIGINT NOT NULL,
    sealed        TEXT NOT NULL,
    lease_until   BIGINT,
    needs_sign_in BIGINT NOT NULL DEFAULT 0,
    ends_at       BIGINT NOT NULL
);
CREATE INDEX oauth_upstream_tokens_ended ON oauth_upstream_tokens (ends_at);
-- For the sweep of the vault's keys.
CREATE INDEX oauth_upstream_tokens_sealed_key ON oauth_upstream_tokens (substr(sealed, 1, 44), subject);
