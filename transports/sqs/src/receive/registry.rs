//! Who consumes which queue in this program. Other processes are found by [their tag](super::owner).

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

static CONSUMERS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// One consumer; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Consumer(String);

/// Enters a consumer; `None` where it wants to be alone and is not.
pub(crate) fn enter(url: &str, alone: bool) -> Option<Consumer> {
    let mut consumers = lock();
    let count = consumers.entry(url.to_owned()).or_default();
    if alone && *count > 0 {
        return None;
    }
    *count += 1;
    Some(Consumer(url.to_owned()))
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut consumers = lock();
        if let Some(count) = consumers.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                consumers.remove(&self.0);
            }
        }
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<String, usize>> {
    CONSUMERS.lock().unwrap_or_else(PoisonError::into_inner)
}
