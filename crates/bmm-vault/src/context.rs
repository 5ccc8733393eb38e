//! The place a value is sealed for.

/// Where a value lives. All of it is authenticated with the value, none of it is stored in it: opening takes the
/// same context again.
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

    /// The tenant the value belongs to.
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

    /// A version that the caller keeps elsewhere, so that an older value put back does not open.
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// The associated data of a value with this header.
    pub(crate) fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(160);
        data.extend_from_slice(b"bmm-vault value");
        field(&mut data, Some(header));
        field(&mut data, Some(self.purpose.as_bytes()));
        field(&mut data, self.tenant.as_deref().map(str::as_bytes));
        field(&mut data, self.row.as_deref().map(str::as_bytes));
        field(&mut data, self.name.as_deref().map(str::as_bytes));
        field(
            &mut data,
            self.version
                .map(u64::to_be_bytes)
                .as_ref()
                .map(<[u8; 8]>::as_slice),
        );
        data
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
