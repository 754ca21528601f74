//! An executor for virtual time: whenever nothing can run, the clock jumps to its next timer.
//!
//! It deliberately knows no I/O. Threads outside it (a database's writer) are waited for while
//! [`VirtualTime::also_waiting_for`] says that they are busy; only then does time stand still for them.

mod stalled;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use longhaul_core::clock::{Clock, ManualClock, Timestamp};
use tokio::sync::oneshot;

pub use stalled::Stalled;

/// How long one look at threads outside lasts when none of them wakes us.
const PATIENCE: Duration = Duration::from_millis(1);

/// Runs futures on one thread, on a [`ManualClock`] that it moves itself: a wait of years takes no time.
///
/// Whatever can run runs, in the order in which it was woken. When nothing can, and nobody outside is busy, the clock
/// jumps to its next timer. Two runs of one program that uses no threads and no other clock are the same.
///
/// ```
/// use std::time::Duration;
/// use longhaul_core::clock::{Clock, ManualClock, Timestamp};
/// use longhaul_testing::virtual_time::VirtualTime;
///
/// let clock = ManualClock::starting_at(Timestamp::parse("2026-01-01T00:00:00Z")?);
/// let ten_years = Duration::from_secs(10 * 365 * 86_400);
/// let time = VirtualTime::new(clock.clone());
/// time.block_on(clock.sleep_until(clock.now() + ten_years));
/// assert_eq!(clock.now().to_string(), "2035-12-30T00:00:00Z");
/// # Ok::<(), longhaul_core::clock::InvalidTimestamp>(())
/// ```
pub struct VirtualTime {
    clock: ManualClock,
    busy: Vec<Box<dyn Fn() -> bool>>,
    deadline: Option<Timestamp>,
    spawner: Spawner,
    tasks: RefCell<FuturesUnordered<LocalBoxFuture<'static, ()>>>,
}

impl VirtualTime {
    /// An executor that moves `clock`, and that nobody else should move.
    #[must_use]
    pub fn new(clock: ManualClock) -> Self {
        Self {
            clock,
            busy: Vec::new(),
            deadline: None,
            spawner: Spawner {
                newcomers: Rc::default(),
            },
            tasks: RefCell::default(),
        }
    }

    /// While `busy` says yes, time stands still and this thread waits to be woken by whoever is busy.
    ///
    /// Whoever is busy must wake its futures before it says no: otherwise time may jump past its answer.
    ///
    /// ```
    /// # use longhaul_core::clock::{ManualClock, Timestamp};
    /// # use longhaul_testing::virtual_time::VirtualTime;
    /// # use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    /// let in_flight = Arc::new(AtomicUsize::new(0));
    /// let seen = Arc::clone(&in_flight);
    /// let time = VirtualTime::new(ManualClock::starting_at(Timestamp::UNIX_EPOCH))
    ///     .also_waiting_for(move || seen.load(Ordering::Acquire) > 0);
    /// # drop((time, in_flight));
    /// ```
    #[must_use]
    pub fn also_waiting_for(mut self, busy: impl Fn() -> bool + 'static) -> Self {
        self.busy.push(Box::new(busy));
        self
    }

    /// Gives up when the next timer is after `deadline`: something that ticks for ever then ends a test that never would.
    #[must_use]
    pub const fn giving_up_at(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The clock that it moves.
    #[must_use]
    pub const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// A handle by which running futures spawn others.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Adds a future that runs beside the main one, as long as some `block_on` runs. See [`Spawner::spawn`].
    pub fn spawn<F>(&self, future: F) -> Spawned<F::Output>
    where
        F: Future + 'static,
    {
        self.spawner.spawn(future)
    }

    /// Runs `future` to its end. What was spawned and has not ended stays, and goes on with the next call.
    ///
    /// # Panics
    /// Where [`VirtualTime::try_block_on`] returns an error.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(stalled) => panic!("failed to {stalled}"),
        }
    }

    /// Runs `future` to its end, or until it is certain that it has none.
    ///
    /// # Errors
    /// Nothing can run, nobody outside is busy, and no timer is set; or the next timer is after the deadline.
    ///
    /// # Panics
    /// Called from within a future that it runs.
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, Stalled> {
        let mut future = pin!(future);
        let wakeup = Arc::new(WakeUp {
            thread: thread::current(),
            woken: AtomicBool::new(true),
        });
        let waker = Waker::from(Arc::clone(&wakeup));
        let mut context = Context::from_waker(&waker);
        loop {
            while wakeup.woken.swap(false, Ordering::AcqRel) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return Ok(output);
                }
                self.poll_tasks(&mut context);
            }
            if self.busy.iter().any(|busy| busy()) {
                if !wakeup.woken.load(Ordering::Acquire) {
                    thread::park_timeout(PATIENCE);
                }
            } else if !wakeup.woken.load(Ordering::Acquire) {
                self.advance()?;
            }
        }
    }

    fn poll_tasks(&self, context: &mut Context<'_>) {
        let mut tasks = self.tasks.borrow_mut();
        loop {
            tasks.extend(self.spawner.newcomers.take());
            match tasks.poll_next_unpin(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending if self.spawner.newcomers.borrow().is_empty() => return,
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
    }

    fn advance(&self) -> Result<(), Stalled> {
        let now = self.clock.now();
        let next = self.clock.next_timer().ok_or(Stalled { now, next: None })?;
        if self.deadline.is_some_and(|deadline| next > deadline) {
            return Err(Stalled {
                now,
                next: Some(next),
            });
        }
        self.clock.advance_to(next);
        Ok(())
    }
}

impl fmt::Debug for VirtualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualTime")
            .field("clock", &self.clock)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Adds futures to the [`VirtualTime`] that it came from. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Spawner {
    newcomers: Rc<RefCell<Vec<LocalBoxFuture<'static, ()>>>>,
}

impl Spawner {
    /// Adds a future. Await the answer for its output, or drop it and let the future run alone.
    ///
    /// ```
    /// # use longhaul_core::clock::{ManualClock, Timestamp};
    /// # use longhaul_testing::virtual_time::VirtualTime;
    /// let time = VirtualTime::new(ManualClock::starting_at(Timestamp::UNIX_EPOCH));
    /// let spawner = time.spawner();
    /// assert_eq!(time.block_on(async move { spawner.spawn(async { 6 * 7 }).await }), 42);
    /// ```
    pub fn spawn<F>(&self, future: F) -> Spawned<F::Output>
    where
        F: Future + 'static,
    {
        let (answer, output) = oneshot::channel();
        self.newcomers.borrow_mut().push(Box::pin(async move {
            // Nobody has to wait for the output.
            drop(answer.send(future.await));
        }));
        Spawned(output)
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner(..)")
    }
}

/// The output of a spawned future. Dropping it lets the future run on.
#[derive(Debug)]
pub struct Spawned<T>(oneshot::Receiver<T>);

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(context) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            // The executor is gone, and with it whoever could be told.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

struct WakeUp {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for WakeUp {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn clock() -> ManualClock {
        ManualClock::starting_at(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn when_several_sleep_they_wake_in_the_order_of_their_times() {
        let clock = clock();
        let time = VirtualTime::new(clock.clone());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let sleepers: Vec<_> = [3u32, 1, 2]
            .into_iter()
            .map(|hours| {
                let (clock, seen) = (clock.clone(), Rc::clone(&seen));
                time.spawn(async move {
                    clock.sleep_until(Timestamp::UNIX_EPOCH + HOUR * hours).await;
                    seen.borrow_mut().push((hours, clock.now()));
                })
            })
            .collect();
        time.block_on(futures_util::future::join_all(sleepers));
        let expected: Vec<_> = (1..=3)
            .map(|hours| (hours, Timestamp::UNIX_EPOCH + HOUR * hours))
            .collect();
        assert_eq!(*seen.borrow(), expected);
    }

    #[test]
    fn when_the_main_future_ends_the_others_stay_and_go_on_next_time() {
        let clock = clock();
        let time = VirtualTime::new(clock.clone());
        let sleeper = time.spawn(clock.sleep_until(clock.now() + HOUR * 2));
        time.block_on(clock.sleep_until(clock.now() + HOUR));
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + HOUR);
        time.block_on(sleeper);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + HOUR * 2);
    }

    #[test]
    fn when_nothing_can_make_progress_it_says_so() {
        let time = VirtualTime::new(clock());
        let stalled = time
            .try_block_on(std::future::pending::<()>())
            .expect_err("stalls");
        assert!(
            stalled
                .to_string()
                .contains("deadlock at 1970-01-01T00:00:00Z: nothing can make progress")
        );
    }

    #[test]
    fn when_something_ticks_for_ever_the_deadline_ends_it() {
        let clock = clock();
        let time = VirtualTime::new(clock.clone()).giving_up_at(Timestamp::UNIX_EPOCH + HOUR);
        drop(time.spawn(async move {
            loop {
                clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            }
        }));
        let stalled = time
            .try_block_on(std::future::pending::<()>())
            .expect_err("gives up");
        assert!(
            stalled
                .to_string()
                .contains("the next timer is only at 1970-01-01T01:00:01Z"),
            "{stalled}"
        );
    }

    #[test]
    fn when_a_thread_outside_is_busy_time_waits_for_its_answer() {
        let clock = clock();
        let in_flight = Arc::new(AtomicUsize::new(1));
        let seen = Arc::clone(&in_flight);
        let time = VirtualTime::new(clock.clone()).also_waiting_for(move || seen.load(Ordering::Acquire) > 0);
        let (go, gone) = mpsc::channel();
        let (answer, answered) = oneshot::channel();
        let outside = thread::spawn(move || {
            gone.recv().expect("is told to go");
            answer.send(()).expect("is awaited");
            in_flight.fetch_sub(1, Ordering::AcqRel);
        });
        // A timer that would fire first if time did not wait.
        drop(time.spawn(clock.sleep_until(clock.now() + HOUR)));
        time.block_on(async move {
            go.send(()).expect("is listened to");
            answered.await.expect("is answered");
        });
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        outside.join().expect("ends");
    }

    #[test]
    fn when_a_task_spawns_another_that_one_runs_too() {
        let time = VirtualTime::new(clock());
        let (outer, inner) = (time.spawner(), time.spawner());
        let answer = time.block_on(async move {
            outer
                .spawn(async move { inner.spawn(async { 7 }).await + 1 })
                .await
        });
        assert_eq!(answer, 8);
    }
}
