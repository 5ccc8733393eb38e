//! The steps of the schema.

/// Each entry is one step of the schema, applied once and never edited after a release.
pub(super) const MIGRATIONS: [&str; 2] = [
    include_str!("../../../../migrations/0001_create_tables.sql"),
    include_str!("../../../../migrations/0002_upstream_tokens.sql"),
];

/// Whether the database has the tables of this version.
pub(super) enum Migrated {
    Current,
    TooNew,
}

impl From<i64> for Migrated {
    fn from(version: i64) -> Self {
        match usize::try_from(version).is_ok_and(|version| version <= MIGRATIONS.len()) {
            true => Self::Current,
            false => Self::TooNew,
        }
    }
}
