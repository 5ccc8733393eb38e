-- For SQLite and PostgreSQL alike: BIGINT and TEXT only. Times are seconds of the Unix epoch.
CREATE TABLE bmm_vault_keys (
    id TEXT NOT NULL PRIMARY KEY,
    -- The first characters of every value sealed with it.
    prefix TEXT NOT NULL UNIQUE,
    purpose TEXT NOT NULL,
    number BIGINT NOT NULL,
    tenant TEXT,
    state TEXT NOT NULL,
    staged_at BIGINT NOT NULL,
    promoted_at BIGINT,
    replaced_at BIGINT,
    emptied_at BIGINT,
    retired_at BIGINT,
    sealed_values BIGINT NOT NULL,
    sealed_bytes BIGINT NOT NULL,
    wrapped TEXT NOT NULL,
    known TEXT NOT NULL,
    UNIQUE (purpose, number)
);
-- One key at a time is staged and one is active, for each tenant and for all who share.
CREATE UNIQUE INDEX bmm_vault_keys_state
    ON bmm_vault_keys (purpose, state, (coalesce(tenant, '')), (tenant IS NULL))
    WHERE state IN ('staged', 'active');

-- How far a sweep has come. key_id is the key that it empties, or 'legacy'.
CREATE TABLE bmm_vault_sweeps (
    target TEXT NOT NULL,
    key_id TEXT NOT NULL,
    -- The primary key of the last row looked at, as a JSON array; NULL between passes.
    position TEXT,
    moved BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (target, key_id)
);

-- Rows that do not open. row_key is their primary key as a JSON array.
CREATE TABLE bmm_vault_poison (
    target TEXT NOT NULL,
    key_id TEXT NOT NULL,
    row_key TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (target, key_id, row_key)
);
