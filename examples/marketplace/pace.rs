//! Keeps the time from running ahead of what happened: by events that are on their way to the sagas.
//!
//! A clock that runs a million times as fast as the real one passes days while a message crosses a broker. The sagas
//! wait for such messages, with patience; this makes sure that they never have to wait longer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use longhaul::envelope::Envelope;
use longhaul::pipeline::PipelineStep;
use longhaul::prelude::*;
use tokio::sync::watch;

/// The longest nap of a sleeper: the clock may have been stopped, and go on.
const NAP: Duration = Duration::from_millis(20);

/// Which events have arrived.
pub(crate) struct Transit {
    lead: Duration,
    events: Mutex<Events>,
    /// How many events, from the first one on, have all arrived.
    arrived: watch::Sender<usize>,
}

struct Events {
    /// When each is played, in order.
    played: Vec<Timestamp>,
    arrived: Vec<bool>,
    on_the_way: HashMap<MessageId, usize>,
}

impl Transit {
    /// Nothing has arrived yet of events played at these times, in order. Time may run ahead of them by `lead`.
    pub(crate) fn new(played: Vec<Timestamp>, lead: Duration) -> Self {
        let arrived = vec![false; played.len()];
        let events = Events {
            played,
            arrived,
            on_the_way: HashMap::new(),
        };
        Self {
            lead,
            events: Mutex::new(events),
            arrived: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event of this number is published under this id.
    pub(crate) fn send(&self, id: MessageId, number: usize) {
        self.lock().on_the_way.insert(id, number);
    }

    /// The event of this number has arrived, or nobody waits for it.
    pub(crate) fn arrive(&self, number: usize) {
        let mut events = self.lock();
        events.arrived[number] = true;
        let first = *self.arrived.borrow();
        let more = events.arrived[first..]
            .iter()
            .take_while(|arrived| **arrived)
            .count();
        self.arrived.send_if_modified(|arrived| {
            *arrived += more;
            more > 0
        });
    }

    /// How many events, from the first one on, have all arrived.
    pub(crate) fn arrived(&self) -> watch::Receiver<usize> {
        self.arrived.subscribe()
    }

    /// Everything up to this instant has arrived.
    pub(crate) fn position(&self) -> Option<Timestamp> {
        let events = self.lock();
        let first = *self.arrived.borrow();
        let next = events.played.get(first);
        events.played[..first]
            .iter()
            .rfind(|played| next.is_none_or(|next| *played < next))
            .copied()
    }

    /// Time must not pass this yet.
    fn horizon(&self) -> Timestamp {
        let first = *self.arrived.borrow();
        self.lock()
            .played
            .get(first)
            .map_or(Timestamp::MAX, |played| *played + self.lead)
    }
}

/// Notes what arrives at an endpoint.
pub(crate) struct Arrivals(pub(crate) Arc<Transit>);

impl PipelineStep for Arrivals {
    fn name(&self) -> &str {
        "arrivals"
    }

    fn incoming(&self, envelope: &mut Envelope) -> HandlerResult {
        let number = self.0.lock().on_the_way.remove(&envelope.id);
        if let Some(number) = number {
            self.0.arrive(number);
        }
        Ok(())
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arrivals(..)")
    }
}

/// A clock that runs faster than the real one, and stops where events would come too late.
#[derive(Clone)]
pub(crate) struct PacedClock {
    speed: f64,
    transit: Arc<Transit>,
    /// The real time at which this clock showed a time.
    base: Arc<Mutex<(Timestamp, Timestamp)>>,
}

impl PacedClock {
    /// A clock that shows `start` now and runs `speed` times as fast as the real one.
    pub(crate) fn starting_at(start: Timestamp, speed: f64, transit: Arc<Transit>) -> Self {
        Self {
            speed,
            transit,
            base: Arc::new(Mutex::new((SystemClock.now(), start))),
        }
    }

    fn at(&self, real: Timestamp) -> Timestamp {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, shown) = *base;
        let passed = real.since(since).as_secs_f64() * self.speed;
        let now = shown + Duration::try_from_secs_f64(passed).unwrap_or(Duration::MAX);
        let horizon = self.transit.horizon().max(shown);
        if now > horizon {
            // It goes on from there, and does not catch up.
            *base = (real, horizon);
        }
        now.min(horizon)
    }

    /// Whether it stands still for an event that is on its way.
    pub(crate) fn stands(&self) -> bool {
        self.now() >= self.transit.horizon()
    }
}

impl Clock for PacedClock {
    fn now(&self) -> Timestamp {
        self.at(SystemClock.now())
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = due.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(clock.to_real(left).clamp(Duration::from_micros(1), NAP)).await;
            }
        })
    }

    fn to_real(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() / self.speed).unwrap_or(Duration::MAX)
    }
}

impl fmt::Debug for PacedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacedClock")
            .field("speed", &self.speed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use longhaul::headers::Headers;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Timestamp {
        Timestamp::UNIX_EPOCH + SECOND * seconds
    }

    #[test]
    fn when_events_arrive_out_of_order_the_position_is_before_the_first_that_is_missing() {
        let transit = Transit::new(vec![at(1), at(2), at(2), at(3)], SECOND);
        assert_eq!(transit.position(), None);
        transit.arrive(0);
        transit.arrive(1);
        assert_eq!(
            transit.position(),
            Some(at(1)),
            "another event of that instant is missing"
        );
        transit.arrive(3);
        assert_eq!(transit.position(), Some(at(1)));
        transit.arrive(2);
        assert_eq!(
            (transit.position(), *transit.arrived().borrow()),
            (Some(at(3)), 4)
        );
    }

    #[test]
    fn when_a_message_comes_in_that_is_no_event_of_the_feed_nothing_has_arrived() {
        let transit = Arc::new(Transit::new(vec![at(1)], SECOND));
        let id = |text| MessageId::new(text).expect("an id");
        transit.send(id("event"), 0);
        let arrivals = Arrivals(Arc::clone(&transit));
        let come = |text| arrivals.incoming(&mut Envelope::new(id(text), Headers::new(), Default::default()));
        come("alarm").expect("passes");
        assert_eq!(*transit.arrived().borrow(), 0);
        come("event").expect("passes");
        come("event").expect("passes, a duplicate too");
        assert_eq!(*transit.arrived().borrow(), 1);
    }

    #[test]
    fn when_an_event_does_not_arrive_the_clock_stops_and_goes_on_from_there() {
        let transit = Arc::new(Transit::new(vec![at(100)], SECOND * 10));
        let clock = PacedClock::starting_at(at(0), 1000.0, Arc::clone(&transit));
        let (real, _) = *clock.base.lock().expect("not poisoned");
        assert_eq!(clock.at(real + SECOND / 20), at(50));
        assert_eq!(clock.at(real + SECOND), at(110));
        assert!(clock.stands());
        transit.arrive(0);
        assert_eq!(clock.at(real + SECOND + SECOND / 1000), at(111));
    }

    #[test]
    fn when_it_runs_as_fast_as_the_real_time_looking_often_does_not_slow_it_down() {
        let clock = PacedClock::starting_at(at(0), 0.5, Arc::new(Transit::new(Vec::new(), SECOND)));
        let (real, _) = *clock.base.lock().expect("not poisoned");
        for micros in 1..=1000 {
            clock.at(real + Duration::from_micros(micros));
        }
        assert_eq!(clock.at(real + SECOND), at(0) + SECOND / 2);
    }
}
