//! The life of one consumer channel, from its opening to its end.
//!
//! Every delivery belongs to the incarnation that brought it. When that is dead, settling does nothing: the broker
//! brings the message again over the next one, under another tag.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longhaul_core::transport::Settled;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    ack_window::{AckWindow, Frame},
    tap::Tap,
};

/// How long an acknowledgement may wait for one before it.
const GAP_PATIENCE: Duration = Duration::from_millis(20);

/// What is settled over one channel, and what of it the broker has been told.
pub(crate) struct Incarnation {
    book: Mutex<Book>,
    /// There is something to tell the broker.
    pub(super) wake: Notify,
    pub(super) tap: Tap,
    dead: watch::Sender<bool>,
}

struct Book {
    window: AckWindow,
    /// Messages to give back at a time; the number tells apart those of one instant.
    later: BTreeMap<(Instant, u64), ()>,
    /// Nothing more is delivered: everything settled goes out at once, and delays are cut short.
    closing: bool,
    /// When acknowledgements that wait for one before them go out anyway.
    overdue: Option<Instant>,
}

/// What the settler has to do now, and when to look again.
pub(super) struct Work {
    pub(super) frames: Vec<Frame>,
    pub(super) again: Option<Instant>,
    /// Nobody has a message any more and nothing is left to tell.
    pub(super) finished: bool,
}

impl Incarnation {
    pub(crate) fn new(prefetch: u16, tap: Tap) -> Self {
        let book = Book {
            window: AckWindow::new(usize::from(prefetch / 8)),
            later: BTreeMap::new(),
            closing: false,
            overdue: None,
        };
        Self {
            book: Mutex::new(book),
            wake: Notify::new(),
            tap,
            dead: watch::Sender::new(false),
        }
    }

    /// A message was delivered over this channel.
    pub(super) fn delivered(&self, tag: u64, bytes: usize) {
        self.tap.take(bytes);
        self.book().window.delivered(tag);
    }

    pub(super) fn acknowledge(&self, tag: u64) -> Settled {
        self.settle(|book| book.window.acknowledge(tag))
    }

    pub(super) fn release(&self, tag: u64, after: Duration) -> Settled {
        self.settle(|book| {
            if after.is_zero() || book.closing {
                return book.window.requeue(tag);
            }
            // tokio's timers hold about two years; the broker gives the message back long before.
            let due = Instant::now() + after.min(Duration::from_secs(86_400));
            book.later.insert((due, tag), ()).is_none()
        })
    }

    fn settle(&self, change: impl FnOnce(&mut Book) -> bool) -> Settled {
        if self.is_dead() {
            return Settled::Lost;
        }
        let changed = change(&mut self.book());
        self.wake.notify_one();
        if changed { Settled::Done } else { Settled::Lost }
    }

    /// Ends it: nothing is settled over it any more.
    pub(super) fn kill(&self) {
        self.dead.send_replace(true);
        self.wake.notify_one();
    }

    /// Nothing more will be delivered.
    pub(super) fn begin_closing(&self) {
        self.book().closing = true;
        self.wake.notify_one();
    }

    /// Whether nobody has a message of it any more.
    pub(super) fn is_settled(&self) -> bool {
        self.book().window.is_settled()
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Resolves when it is dead.
    pub(super) async fn dead(&self) {
        let mut dead = self.dead.subscribe();
        // The sender is ours: it can't be gone.
        drop(dead.wait_for(|dead| *dead).await);
    }

    /// Takes what is to be told to the broker.
    pub(super) fn work(&self) -> Work {
        let now = Instant::now();
        let mut book = self.book();
        let book = &mut *book;
        while let Some(first) = book
            .later
            .first_entry()
            .filter(|first| first.key().0 <= now || book.closing)
        {
            let ((_, tag), ()) = first.remove_entry();
            book.window.requeue(tag);
        }
        let all = book.closing || book.overdue.is_some_and(|overdue| overdue <= now);
        let frames = book.window.take(all);
        book.overdue = match book.overdue {
            _ if !book.window.holds_back() => None,
            Some(overdue) => Some(overdue),
            None => Some(now + GAP_PATIENCE),
        };
        let next_release = book.later.first_key_value().map(|((due, _), ())| *due);
        let again = [book.overdue, next_release].into_iter().flatten().min();
        Work {
            frames,
            again,
            finished: book.closing && book.window.is_settled(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incarnation")
            .field("dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}
