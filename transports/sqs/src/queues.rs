//! Addresses of queues at AWS, asked for once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    fault::{Fault, FaultKind},
    inner::Inner,
};

/// How many addresses are remembered.
const MOST: usize = 1024;

/// URLs by name.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<BTreeMap<String, String>>);

impl Queues {
    /// The URL of a queue.
    pub(crate) async fn url(&self, inner: &Inner, name: &str) -> Result<String, Fault> {
        let known = self.lock().get(name).cloned();
        match known {
            Some(url) => Ok(url),
            None => self.look_up(inner, name).await,
        }
    }

    /// The URL of a queue, asked for even where it is known.
    pub(crate) async fn look_up(&self, inner: &Inner, name: &str) -> Result<String, Fault> {
        let request = || inner.sqs.get_queue_url().queue_name(name).send();
        let found = inner.caller.again(request).await;
        let Some(url) = found.inspect_err(|_| self.forget(name))?.queue_url else {
            return Err(Fault::new(FaultKind::Unanswered, "the answer has no URL"));
        };
        self.remember(inner, name, &url);
        Ok(url)
    }

    pub(crate) fn remember(&self, inner: &Inner, name: &str, url: &str) {
        inner.learn_account(url);
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name.to_owned(), url.to_owned());
    }

    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
