//! Work that must not stop half way because the client that asked for it has hung up: the server drops a request's future then.

use super::store::StoreError;

/// Runs `work` in a task of its own, which goes on when this is dropped.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(StoreError::new("a step of the store was broken off", error)))
}
