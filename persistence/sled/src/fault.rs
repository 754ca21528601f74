//! The engine's errors in the words of the seam.

use longhaul_core::store::{RecordKey, StoreError, StoreErrorKind};
use longhaul_embedded::{
    CommitError, CommitErrorKind, FailureKind, OpenError, OpenErrorKind, ReadError, ReadErrorKind,
};

use crate::seal::Unreadable;

pub(crate) fn on_open(error: OpenError) -> StoreError {
    let kind = match error.kind() {
        OpenErrorKind::Damaged => StoreErrorKind::Damaged,
        OpenErrorKind::InUse => StoreErrorKind::InUse,
        OpenErrorKind::StorageFull => StoreErrorKind::Full,
        OpenErrorKind::Newer => StoreErrorKind::Newer,
        OpenErrorKind::Foreign
        | OpenErrorKind::NotADirectory
        | OpenErrorKind::MissingParent
        | OpenErrorKind::PermissionDenied
        | OpenErrorKind::ReadOnly
        | OpenErrorKind::Symlink => StoreErrorKind::Configuration,
        _ => StoreErrorKind::Failed,
    };
    StoreError::new(kind, error.to_string()).with_source(error)
}

pub(crate) fn on_commit(error: CommitError) -> StoreError {
    let kind = match error.kind() {
        CommitErrorKind::Conflict => {
            return conflict("something it expects has changed meanwhile").with_source(error);
        }
        CommitErrorKind::TooLarge => StoreErrorKind::Refused,
        CommitErrorKind::Busy => StoreErrorKind::Unavailable,
        CommitErrorKind::StorageFull => StoreErrorKind::Full,
        _ if is_damage(&error) => StoreErrorKind::Damaged,
        _ => StoreErrorKind::Failed,
    };
    StoreError::new(kind, error.to_string()).with_source(error)
}

fn is_damage(error: &CommitError) -> bool {
    error
        .failure()
        .is_some_and(|failure| failure.kind() == FailureKind::Damaged)
}

pub(crate) fn on_read(error: ReadError) -> StoreError {
    let kind = match error.kind() {
        ReadErrorKind::Damaged => StoreErrorKind::Damaged,
        _ => StoreErrorKind::Failed,
    };
    StoreError::new(kind, error.to_string()).with_source(error)
}

pub(crate) fn conflict(why: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Conflict,
        format!("commit: {why}; load it again and run again"),
    )
}

/// What `of` names can't be read; nothing else is concerned.
pub(crate) fn unreadable(of: &str, why: Unreadable) -> StoreError {
    StoreError::new(StoreErrorKind::Unreadable, format!("read {of}: {why}"))
}

pub(crate) fn unreadable_record(key: &RecordKey, why: Unreadable) -> StoreError {
    unreadable(&format!("the record {:?} of {:?}", key.id, key.collection), why)
}

/// Refuses a key over the limits.
pub(crate) fn check_key(key: &RecordKey) -> Result<(), StoreError> {
    let (collection, id) = (key.collection.len(), key.id.len());
    if collection <= RecordKey::MAX_COLLECTION_BYTES && id <= RecordKey::MAX_ID_BYTES {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Refused,
        format!(
            "use a record key of {collection} and {id} bytes: a collection has at most {} and an id at most {}; \
             choose a shorter one",
            RecordKey::MAX_COLLECTION_BYTES,
            RecordKey::MAX_ID_BYTES
        ),
    ))
}
