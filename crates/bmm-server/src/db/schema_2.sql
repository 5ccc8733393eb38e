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
