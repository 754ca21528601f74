//! What poison and outages cost, in figures on virtual time: `cargo nextest run --test endpoint outage --no-capture`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul::clock::ManualClock;
use longhaul::ids::{Randomness, SeededRandomness};
use longhaul::prelude::*;

use crate::breakers::{Ask, ask};
use crate::world::{Do, World, command};

/// Two attempts, at once and after 10 s.
const FOUR_ATTEMPTS: RetryPolicy = RetryPolicy {
    immediate: 1,
    delayed: 1,
    jitter: false,
    ..RetryPolicy::machine()
};

/// Takes ten milliseconds for everything; fails with what is poison.
#[derive(Clone)]
struct Steady {
    clock: ManualClock,
    attempts: Arc<Mutex<BTreeMap<String, u32>>>,
    /// When the last good one was handled.
    last_good: Arc<Mutex<Timestamp>>,
}

impl Handler<Do> for Steady {
    async fn handle(&self, command: Do, ctx: &mut Context) -> HandlerResult {
        let until = self.clock.now() + Duration::from_millis(10);
        self.clock.sleep_until(until).await;
        let id = ctx.message_id().to_string();
        *self.attempts.lock().expect("not poisoned").entry(id).or_default() += 1;
        if command.what == "poison" {
            return Err(HandlerError::transient(
                "it can't be handled, and does not say so",
            ));
        }
        *self.last_good.lock().expect("not poisoned") = self.clock.now();
        Ok(())
    }
}

/// How a queue of messages was handled.
struct Run {
    good_per_second: f64,
    calls: u32,
    attempts_of_poison: Vec<u32>,
    failed: Vec<(Option<Vec<u8>>, longhaul::envelope::Body)>,
    openings: u64,
}

/// Handles a queue of 3,000 messages, eight at once, some of them poison.
fn run(is_poison: impl Fn(usize) -> bool, policy: RetryPolicy) -> Run {
    const COUNT: usize = 3000;
    let world = World::new();
    let steady = Steady {
        clock: world.clock.clone(),
        attempts: Arc::default(),
        last_good: Arc::new(Mutex::new(world.clock.now())),
    };
    let builder = || {
        let doer = world.endpoint("doer").handler::<Do>(steady.clone());
        doer.retries(policy).concurrency(8).prefetch(16)
    };
    world.start(builder()).stop(&world).expect("prepares the queue");
    let poison = (0..COUNT).filter(|n| is_poison(*n)).count();
    for n in 0..COUNT {
        let what = if is_poison(n) { "poison" } else { "sweep" };
        world.inject("doer", command(&format!("m-{n}"), what).into());
    }
    let begin = world.clock.now();
    let doer = world.start(builder());
    let done = || {
        let stats = doer.monitor.stats();
        stats.handled == (COUNT - poison) as u64 && world.browse("error").len() == poison
    };
    world.until("all", done);
    let attempts = steady.attempts.lock().expect("not poisoned").clone();
    let of_poison = attempts
        .iter()
        .filter(|(id, _)| id[2..].parse().is_ok_and(&is_poison));
    let took = steady.last_good.lock().expect("not poisoned").since(begin);
    let failed = world.browse("error").into_iter();
    Run {
        good_per_second: (COUNT - poison) as f64 / took.as_secs_f64(),
        calls: attempts.values().sum(),
        attempts_of_poison: of_poison.map(|(_, attempts)| *attempts).collect(),
        failed: failed
            .map(|browsed| (browsed.incoming.id, browsed.incoming.body))
            .collect(),
        openings: doer.monitor.stats().breaker_openings,
    }
}

#[test]
fn when_one_message_in_a_hundred_is_poison_the_others_keep_their_throughput_and_it_ends_in_the_error_queue() {
    // One of each hundred, drawn from a seed.
    let randomness = SeededRandomness::new(11);
    let chosen: Vec<usize> = (0..30)
        .map(|hundred| hundred * 100 + usize::try_from(randomness.next_u64() % 100).expect("small"))
        .collect();
    let clean = run(|_| false, FOUR_ATTEMPTS);
    let poisoned = run(|n| chosen.contains(&n), FOUR_ATTEMPTS);
    let kept = poisoned.good_per_second / clean.good_per_second;
    println!(
        "poison in every 100 of 3000: {:.1} good messages a second of {:.1} without it, {:.1} %; {} calls, {} of poison",
        poisoned.good_per_second,
        clean.good_per_second,
        kept * 100.0,
        poisoned.calls,
        poisoned.attempts_of_poison.iter().sum::<u32>(),
    );
    assert!(kept >= 0.95, "{kept}");
    assert_eq!(poisoned.openings, 0, "the breaker stays closed");
    assert_eq!(
        poisoned.attempts_of_poison,
        vec![4; 30],
        "as often as the policy says"
    );
    assert_eq!(poisoned.calls, 2970 + 30 * 4);
    let mut failed: Vec<_> = poisoned.failed;
    failed.sort();
    let mut expected: Vec<_> = chosen
        .iter()
        .map(|n| {
            let poison = command(&format!("m-{n}"), "poison");
            (Some(poison.id.as_str().as_bytes().to_vec()), poison.body)
        })
        .collect();
    expected.sort();
    assert_eq!(failed, expected, "all of it, and byte for byte");
}

/// A bank that is down for ten minutes, from the second minute on.
#[derive(Clone)]
struct Bank {
    clock: ManualClock,
    begin: Timestamp,
    /// When each call began, and whether it succeeded.
    calls: Arc<Mutex<Vec<(Duration, bool)>>>,
}

const DOWN: std::ops::Range<Duration> = Duration::from_secs(60)..Duration::from_secs(660);

impl Handler<Ask> for Bank {
    fn depends_on(&self) -> Option<&str> {
        Some("bank")
    }

    async fn handle(&self, _: Ask, _: &mut Context) -> HandlerResult {
        let since = self.clock.now().since(self.begin);
        self.clock
            .sleep_until(self.clock.now() + Duration::from_millis(20))
            .await;
        let is_up = !DOWN.contains(&since);
        self.calls.lock().expect("not poisoned").push((since, is_up));
        if is_up {
            return Ok(());
        }
        Err(HandlerError::transient("ask the bank: it does not answer"))
    }
}

#[test]
fn when_a_destination_is_down_for_ten_minutes_under_load_nothing_is_lost_to_it_and_it_is_only_probed() {
    const EVERY: Duration = Duration::from_millis(100);
    const COUNT: usize = 9000;
    const AT_ONCE: usize = 8;
    let world = World::new();
    let bank = Bank {
        clock: world.clock.clone(),
        begin: world.clock.now(),
        calls: Arc::default(),
    };
    // 12 attempts over 70 s: without the breaker, whatever comes in the first nine minutes of the outage is given up.
    let policy = RetryPolicy {
        immediate: 2,
        delayed: 3,
        jitter: false,
        ..RetryPolicy::machine()
    };
    let doer = world
        .endpoint("doer")
        .handler::<Ask>(bank.clone())
        .retries(policy)
        .concurrency(AT_ONCE)
        .prefetch(64);
    let doer = world.start(doer);
    for n in 0..COUNT {
        world.inject("doer", ask(format!("m-{n}"), "money").into());
        world.pass(EVERY);
    }
    world.until("all", || doer.monitor.stats().handled == COUNT as u64);
    let drained = world.clock.now().since(bank.begin);
    let calls = bank.calls.lock().expect("not poisoned").clone();
    let failed: Vec<Duration> = calls
        .iter()
        .filter(|(_, is_up)| !is_up)
        .map(|(at, _)| *at)
        .collect();
    let first_after = calls.iter().find(|(at, is_up)| *is_up && *at >= DOWN.end);
    let stats = doer.monitor.stats();
    println!(
        "ten minutes without the bank at {} messages a second: {} calls failed, {} put off, {} in the error queue; \
         first call after it came back within {:.1} s, all handled {:.1} s after the last was sent",
        1000 / EVERY.as_millis(),
        failed.len(),
        stats.deferred,
        world.browse("error").len(),
        first_after
            .map_or(Duration::MAX, |(at, _)| *at - DOWN.end)
            .as_secs_f64(),
        (drained.saturating_sub(EVERY * 9000)).as_secs_f64(),
    );
    assert_eq!(world.browse("error").len(), 0);
    assert_eq!(
        calls.len(),
        COUNT + failed.len(),
        "each is asked for once more only where it failed"
    );
    // Five to open it, those that were under way by then, and one in five seconds.
    assert!(failed.len() <= 5 + AT_ONCE + 600 / 5, "{}", failed.len());
    let probes = failed
        .iter()
        .filter(|at| **at > DOWN.start + Duration::from_secs(1));
    for pair in probes.collect::<Vec<_>>().windows(2) {
        assert!(*pair[1] - *pair[0] >= Duration::from_secs(5), "{pair:?}");
    }
    let first_after = first_after.expect("it is asked again").0 - DOWN.end;
    assert!(first_after <= Duration::from_secs(6), "{first_after:?}");
    assert_eq!(stats.breaker_openings, 1);
}
