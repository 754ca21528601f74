//! When things happen, where commits take a moment: in virtual time, and nothing goes wrong.

use std::time::Duration;

use longhaul_core::Command;
use longhaul_core::clock::Timestamp;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::recoverability::RetryPolicy;
use longhaul_sagas::{Definition, Saga, SagaContext, SagaEndpoint};
use longhaul_simulation::{Faults, Outside, Personality, Simulation, Workload, systems};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("timing.begin.v1")]
struct Begin {}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("timing.hurry.v1")]
struct Hurry {}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("timing.ring.v1")]
struct Ring {}

/// Rings.
struct Bell(Outside);

impl Handler<Ring> for Bell {
    async fn handle(&self, _: Ring, _: &mut Context) -> HandlerResult {
        self.0.each("ring", "", 0).await.map_err(HandlerError::transient)
    }
}

#[derive(Serialize, Deserialize)]
struct Waiting {
    timeout: longhaul_sagas::TimeoutId,
}

#[derive(Serialize, Deserialize)]
struct Alarm;

impl Saga for Waiting {
    const NAME: &'static str = "waiting";
    type Id = u64;
    type Timeout = Alarm;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |_: &Begin| 0u64,
            |_, ctx| {
                let timeout = ctx.request_timeout(Duration::from_secs(6 * 3600), Alarm);
                Ok(Self { timeout })
            },
        );
        saga.handles(
            |_: &Hurry| 0u64,
            |saga: &mut Self, _, ctx: &mut SagaContext<Self>| {
                ctx.move_timeout(&saga.timeout, Duration::from_secs(60));
                Ok(())
            },
        );
        saga.times_out(|_, _, ctx| {
            ctx.send(Ring {});
            ctx.complete();
            Ok(())
        });
    }
}

#[test]
fn when_a_timeout_is_moved_to_an_earlier_time_it_fires_then() {
    for personality in Personality::ALL {
        let waiting =
            |endpoint: EndpointBuilder, _: &Outside| endpoint.saga::<Waiting>().route::<Ring>("bell");
        let bell = |endpoint: EndpointBuilder, outside: &Outside| {
            endpoint.idempotent_handler::<Ring>(Bell(outside.clone()))
        };
        let moved = Workload::new()
            .send("waiting", Begin {})
            .after(Duration::from_secs(12))
            .send("waiting", Hurry {});
        Simulation::of(|world| world.endpoint("waiting", waiting).storeless("bell", bell))
            .workload(moved)
            .faults(Faults::none())
            .on(personality)
            .invariant("it rings a minute after it was moved, and not again", |effects| {
                let begin = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
                let rings: Vec<_> = effects
                    .calls("ring")
                    .map(|ring| ring.at.since(begin).as_secs())
                    .collect();
                if matches!(rings.as_slice(), [72..=74]) {
                    Ok(())
                } else {
                    Err(format!("{rings:?}"))
                }
            })
            .check(1);
    }
}

/// How long the saga that is put off waits at first.
const SOON: Duration = Duration::from_secs(600);
/// Farther than a broker with leases keeps a delay.
const FAR: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("timing.put_off.v1")]
struct PutOff {}

/// A timeout that is moved far away, and near again.
#[derive(Serialize, Deserialize)]
struct Moved {
    timeout: longhaul_sagas::TimeoutId,
}

impl Saga for Moved {
    const NAME: &'static str = "moved";
    type Id = u64;
    type Timeout = Alarm;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |_: &Begin| 0u64,
            |_, ctx| {
                let timeout = ctx.request_timeout(SOON, Alarm);
                Ok(Self { timeout })
            },
        );
        saga.handles(
            |_: &PutOff| 0u64,
            |saga: &mut Self, _, ctx: &mut SagaContext<Self>| {
                ctx.move_timeout(&saga.timeout, FAR);
                Ok(())
            },
        );
        saga.handles(
            |_: &Hurry| 0u64,
            |saga: &mut Self, _, ctx: &mut SagaContext<Self>| {
                ctx.move_timeout(&saga.timeout, Duration::from_secs(60));
                Ok(())
            },
        );
        saga.times_out(|_, _, ctx| {
            ctx.send(Ring {});
            ctx.complete();
            Ok(())
        });
    }
}

/// What the relay finds out about the far row, it writes down a moment later.
#[test]
fn when_a_timeout_is_moved_near_while_the_relay_puts_off_the_far_one_it_fires_in_time() {
    let moved = |endpoint: EndpointBuilder, _: &Outside| endpoint.saga::<Moved>().route::<Ring>("bell");
    let bell = |endpoint: EndpointBuilder, outside: &Outside| {
        endpoint.idempotent_handler::<Ring>(Bell(outside.clone()))
    };
    // The relay looks at once after a move, and its mark waits for 50 milliseconds at most.
    for gap in (0..80).map(Duration::from_millis) {
        let workload = Workload::new()
            .send("moved", Begin {})
            .after(Duration::from_secs(1))
            .send("moved", PutOff {})
            .after(gap)
            .send("moved", Hurry {});
        Simulation::of(|world| world.endpoint("moved", moved).storeless("bell", bell))
            .workload(workload)
            .faults(Faults::none())
            .on(Personality::Sqs)
            .invariant("it rings a minute after it was moved near", move |effects| {
                let begin = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
                let rings: Vec<_> = effects
                    .calls("ring")
                    .map(|ring| ring.at.since(begin + gap).as_secs())
                    .collect();
                if matches!(rings.as_slice(), [61..=63]) {
                    Ok(())
                } else {
                    Err(format!("{rings:?}, with {gap:?} between the moves"))
                }
            })
            .check(1);
    }
}

struct Failing;

impl Handler<Begin> for Failing {
    async fn handle(&self, _: Begin, _: &mut Context) -> HandlerResult {
        Err(HandlerError::transient("reach the bank: nobody answers"))
    }
}

#[test]
fn when_a_retry_is_farther_away_than_the_broker_reaches_it_comes_all_the_same() {
    const DELAY: Duration = Duration::from_secs(40 * 60);
    let failing = |endpoint: EndpointBuilder, _: &Outside| {
        endpoint.handler::<Begin>(Failing).retries(RetryPolicy {
            immediate: 0,
            delayed: 1,
            first_delay: DELAY,
            longest_delay: DELAY,
            give_up_after: DELAY * 4,
            jitter: false,
        })
    };
    let summary = Simulation::of(|world| world.endpoint("failing", failing))
        .workload(Workload::new().send("failing", Begin {}))
        .faults(Faults::none())
        .on(Personality::Sqs)
        .invariant("it is in the error queue", |effects| effects.failed() == 1)
        .run_seed(0)
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(summary.virtual_time >= DELAY, "{:?}", summary.virtual_time);
}

/// A claim that was made before the clock went back an hour lasts an hour longer: the timeout fires late, as it may.
#[test]
fn when_the_clock_goes_back_after_a_claim_a_timeout_may_fire_as_much_later() {
    systems::alarms(3).replay(
        "rabbit requests:6,8 world#1=at:5460790:step:1:-3600000000 claim#0=silence:0 arrival#2=late:20000000",
    );
}

/// So does one that was made before the clock went back twice.
#[test]
fn when_the_clock_goes_back_twice_after_a_claim_a_timeout_may_fire_later_by_both() {
    systems::alarms(1).replay(
        "sqs requests:0 world#0=at:27940216:step:1:-3600000000 world#1=at:527:step:1:-3600000000 claim#0=silence:0",
    );
}
