//! A hand on a connection's socket, from anywhere: to hold it while too much is unsettled, and to cut it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;
use tokio::sync::watch;

/// Controls one socket. Clones control the same.
#[derive(Clone, Debug)]
pub(crate) struct Tap(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cut: AtomicBool,
    /// The socket is closed, for whatever reason.
    gone: watch::Sender<bool>,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Bytes of messages that were taken and not yet settled.
    load: AtomicUsize,
    most: usize,
    was_full: AtomicBool,
}

impl Tap {
    /// For a socket that is read while at most so many bytes of messages are unsettled.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            cut: AtomicBool::new(false),
            gone: watch::Sender::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            load: AtomicUsize::new(0),
            most,
            was_full: AtomicBool::new(false),
        }))
    }

    /// Makes every read and write fail from now on; whoever waits in one is woken. Twice does nothing more.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::SeqCst);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    /// Counts a message that was taken. Above the limit nothing more is read: AMQP itself limits only the number of
    /// messages, not their size.
    pub(crate) fn take(&self, bytes: usize) {
        let before = self.0.load.fetch_add(bytes, Ordering::SeqCst);
        if before.saturating_add(bytes) >= self.0.most {
            self.0.was_full.store(true, Ordering::SeqCst);
        }
    }

    /// A message of that size was settled.
    pub(crate) fn give_back(&self, bytes: usize) {
        let before = self.0.load.fetch_sub(bytes, Ordering::SeqCst);
        if before >= self.0.most && before - bytes < self.0.most {
            self.0.reader.wake();
        }
    }

    /// Whether reading ever had to stop.
    pub(crate) fn was_full(&self) -> bool {
        self.0.was_full.load(Ordering::SeqCst)
    }

    /// Resolves when the socket is closed, for whatever reason.
    pub(crate) async fn gone(&self) {
        let mut gone = self.0.gone.subscribe();
        // The sender is in the same place as we are: it can't be gone.
        drop(gone.wait_for(|gone| *gone).await);
    }

    /// Whether the socket is closed.
    pub(crate) fn is_gone(&self) -> bool {
        *self.0.gone.borrow()
    }

    /// The socket is closed.
    pub(crate) fn close(&self) {
        self.0.gone.send_replace(true);
    }

    /// Whether there may be a read now. Where not, the waker is called when that changes.
    pub(crate) fn may_read(&self, waker: &Waker) -> io::Result<bool> {
        self.0.reader.register(waker);
        self.check()?;
        Ok(self.0.load.load(Ordering::SeqCst) < self.0.most)
    }

    /// Fails where there may be no more writes. The waker is called when that changes.
    pub(crate) fn may_write(&self, waker: &Waker) -> io::Result<()> {
        self.0.writer.register(waker);
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        if self.0.cut.load(Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was given up",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn when_too_much_is_unsettled_reading_stops_until_enough_is_settled() {
        let (tap, woken) = (Tap::new(100), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        tap.take(99);
        assert!(tap.may_read(&waker).unwrap() && !tap.was_full());
        tap.take(50);
        assert!(!tap.may_read(&waker).unwrap() && tap.was_full());
        tap.give_back(40);
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        tap.give_back(10);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(tap.may_read(&waker).unwrap());
    }

    #[test]
    fn when_it_is_cut_whoever_waits_is_woken_and_everything_fails() {
        let (tap, woken) = (Tap::new(1), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(tap.may_read(&waker).unwrap());
        tap.may_write(&waker).unwrap();
        tap.cut();
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert!(tap.may_read(&waker).is_err() && tap.may_write(&waker).is_err());
    }
}
