//! The limits on what an endpoint takes in.

/// Limits on incoming and outgoing messages. Everything over one goes to the error queue, or is refused when sent.
///
/// ```
/// let limits = longhaul_core::limits::Limits::default();
/// assert_eq!(limits.headers, 64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most headers of a message; those that retries, timeouts and the error queue add are not counted.
    pub headers: usize,
    /// The longest value (and name) of a header, in bytes.
    pub header_bytes: usize,
    /// The longest body, in bytes; a transport may allow less.
    pub body_bytes: usize,
    /// The deepest nesting of a JSON body.
    pub json_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: 64,
            header_bytes: 8 * 1024,
            body_bytes: 1024 * 1024,
            json_depth: 64,
        }
    }
}
