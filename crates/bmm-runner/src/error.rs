//! Why a spec cannot be served.

/// Why a spec cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The compiled spec is not what its digest says.
    #[error("the spec has changed since it was compiled; compile it again")]
    Drifted,
    /// The machine gives no random numbers, or the host's process may not ask for them.
    #[error("there are no random numbers to make a key of")]
    NoRandomNumbers,
    /// A tool's declaration cannot be used.
    #[error("the {which} of the tool {tool} cannot be used: {message}")]
    Schema {
        /// The tool's name.
        tool: String,
        /// Which part of it.
        which: &'static str,
        /// What is wrong.
        message: String,
    },
}
