//! The place a value is sealed for.

/// Where a value lives. All of it is authenticated with the value: opening takes the same context again.
///
/// Fields are length-prefixed, so `tenant("a").row("bc")` and `tenant("ab").row("c")` differ, and a field left out
/// differs from an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    purpose: String,
    tenant: Option<String>,
    row: Option<String>,
    name: Option<String>,
    version: Option<u64>,
}

impl Context {
    /// A context for a table or purpose, such as `"secrets"`.
    pub fn new(purpose: impl Into<String>) -> Self {
        Self {
            purpose: purpose.into(),
            tenant: None,
            row: None,
            name: None,
            version: None,
        }
    }

    /// The tenant the value belongs to. With [`KeyScope::PerTenant`](crate::KeyScope::PerTenant) it also chooses the key.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The row's primary key.
    pub fn row(mut self, row: impl Into<String>) -> Self {
        self.row = Some(row.into());
        self
    }

    /// The value's name within its row.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A version that the caller keeps elsewhere, so that an older value put back does not open. The value itself
    /// names its version too, unencrypted, so that a mismatch is told from a changed value.
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    pub(crate) fn tenant_name(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    pub(crate) fn version_number(&self) -> Option<u64> {
        self.version
    }

    /// Appends everything but the version, which the header of a sealed value states.
    pub(crate) fn append_place(&self, data: &mut Vec<u8>) {
        field(data, Some(self.purpose.as_bytes()));
        field(data, self.tenant.as_deref().map(str::as_bytes));
        field(data, self.row.as_deref().map(str::as_bytes));
        field(data, self.name.as_deref().map(str::as_bytes));
    }
}

/// Appends a field so that no two lists of fields give the same bytes.
pub(crate) fn field(data: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => data.push(0),
        Some(value) => {
            data.push(1);
            data.extend_from_slice(&(value.len() as u64).to_be_bytes());
            data.extend_from_slice(value);
        }
    }
}
