//! What one commit changes, and what must hold for it.

use bytes::Bytes;

/// Something that must hold when the batch is applied. A check that does not hold fails its batch, and only that
/// one, with [`CommitErrorKind::Conflict`](crate::CommitErrorKind::Conflict).
///
/// Checks see every batch that was queued before, whether it is durable already or not, and nothing of their own
/// batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The key holds nothing.
    Absent(Bytes),
    /// The key holds a value.
    Present(Bytes),
    /// The key holds exactly this value.
    Equals(Bytes, Bytes),
    /// The key holds a value that starts with these bytes.
    StartsWith(Bytes, Bytes),
}

impl Check {
    /// The key that is looked at.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Equals(key, _) | Self::StartsWith(key, _) => key,
        }
    }

    pub(crate) fn holds(&self, found: Option<&[u8]>) -> bool {
        match (self, found) {
            (Self::Absent(_), found) => found.is_none(),
            (Self::Present(_), found) => found.is_some(),
            (Self::Equals(_, wanted), Some(found)) => found == wanted,
            (Self::StartsWith(_, wanted), Some(found)) => found.starts_with(wanted),
            (Self::Equals(..) | Self::StartsWith(..), None) => false,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Absent(key) | Self::Present(key) => key.len(),
            Self::Equals(key, bytes) | Self::StartsWith(key, bytes) => key.len() + bytes.len(),
        }
    }
}

/// Writes that become durable together or not at all, with the checks that must hold for them.
///
/// When one key is written twice, the later write wins. A batch without writes is useful too: its commit returns
/// when everything queued before it is durable and its checks held.
///
/// ```
/// use longhaul_embedded::{Batch, Check};
///
/// let mut batch = Batch::new();
/// batch.check(Check::Absent("order/7".into()));
/// batch.put("order/7", "open");
/// batch.delete("draft/7");
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) checks: Vec<Check>,
    pub(crate) writes: Vec<(Bytes, Option<Bytes>)>,
    bytes: usize,
}

impl Batch {
    /// A batch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the batch depend on `check`.
    pub fn check(&mut self, check: Check) {
        self.bytes += check.bytes();
        self.checks.push(check);
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.writes.push((key, Some(value)));
    }

    /// Removes `key`; nothing happens when it is not there.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.writes.push((key, None));
    }

    /// How many writes it carries.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it carries neither writes nor checks.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.checks.is_empty()
    }

    /// The bytes of all its keys and values, checks included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
