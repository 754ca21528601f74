//! Delays over 900 s without a store, on virtual time: how often a message goes round, and that it is never early.

use std::time::Duration;

use longhaul_core::{
    address::Address,
    clock::Clock,
    envelope::Envelope,
    headers::Headers,
    ids::{MessageId, Randomness, SeededRandomness},
    transport::{
        Accepted, Declare, Destination, Dispatch, Receiver, ReceiverOptions, Topology, Transport,
        TransportErrorKind,
    },
};
use tokio::time::Instant;

use crate::{
    Sqs,
    double::{Double, TokioClock, model::Model},
    laps::{LAP, Next, laps, next},
};

const SEND: &str = "SendMessageBatch";
const ROUND: &str = "sales-delay.fifo";

fn address() -> Address {
    Address::new("sales").unwrap()
}

struct World {
    model: Model,
    double: Double,
    sqs: Sqs,
}

impl World {
    async fn new() -> Self {
        let model = Model::default();
        let double = model.double();
        let sqs = double.builder().long_delays();
        let sqs = sqs.connect().await.unwrap();
        let topology = Topology {
            queues: vec![address()],
            delays: true,
            ..Topology::default()
        };
        sqs.prepare(&topology, Declare::Declare).await.unwrap();
        Self { model, double, sqs }
    }

    fn due_in(&self, id: &str, delay: Duration) -> Dispatch {
        Dispatch {
            envelope: Envelope::new(MessageId::new(id).unwrap(), Headers::new(), "{}".into()),
            to: Destination::Queue(address()),
            due: Some(TokioClock.now() + delay),
        }
    }

    async fn send(&self, id: &str, delay: Duration) -> Result<Accepted, TransportErrorKind> {
        let sent = self.sqs.dispatch(&[self.due_in(id, delay)]).await.remove(0);
        sent.map_err(|error| error.kind())
    }

    async fn receiver(&self) -> Box<dyn Receiver> {
        let opened = self.sqs.receiver(&address(), ReceiverOptions::default()).await;
        opened.unwrap()
    }

    /// How many messages were sent to the queue in which they go round.
    fn laps(&self) -> usize {
        let to_round = |body: &&serde_json::Value| body["QueueUrl"].as_str().unwrap().ends_with(ROUND);
        self.double.seen(SEND).iter().filter(to_round).count()
    }
}

async fn next_id(receiver: &mut Box<dyn Receiver>) -> Vec<u8> {
    let (incoming, settlement) = receiver.receive().await.unwrap().into_parts();
    settlement.acknowledge().await.unwrap();
    incoming.id.unwrap()
}

#[tokio::test(start_paused = true)]
async fn when_a_delay_is_over_900_s_the_message_goes_round_and_comes_within_a_second_of_its_time() {
    for (delay, expected, last) in [(900, 0, 900), (901, 1, 1), (1925, 2, 125), (86_400, 95, 900)] {
        let world = World::new().await;
        let mut receiver = world.receiver().await;
        let began = Instant::now();
        let delay = Duration::from_secs(delay);
        assert_eq!(world.send("m-1", delay).await, Ok(Accepted::Queued));
        assert_eq!(next_id(&mut receiver).await, b"m-1");
        let took = began.elapsed();
        assert!(took >= delay, "{took:?} for {delay:?}");
        assert!(took <= delay + Duration::from_secs(1), "{took:?} for {delay:?}");
        assert_eq!(world.laps(), expected, "laps of {delay:?}");
        let sends = world.double.seen(SEND);
        let entry = &sends.last().unwrap()["Entries"][0];
        assert_eq!(entry["DelaySeconds"], last);
        let attributes = entry["MessageAttributes"].as_object().unwrap();
        assert_eq!(attributes.len(), 2, "nothing of the laps is left: {attributes:?}");
        assert_eq!(world.model.length(ROUND), 0);
        receiver.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn when_many_go_round_each_comes_once_and_in_time() {
    let world = World::new().await;
    let mut receiver = world.receiver().await;
    let began = Instant::now();
    let delay = |number: u64| Duration::from_secs(901 + number * 37);
    let batch: Vec<_> = (0..60)
        .map(|number| world.due_in(&number.to_string(), delay(number)))
        .collect();
    assert!(world.sqs.dispatch(&batch).await.iter().all(Result::is_ok));
    for number in 0..60 {
        assert_eq!(next_id(&mut receiver).await, number.to_string().into_bytes());
        let (took, delay) = (began.elapsed(), delay(number));
        assert!(
            took >= delay && took <= delay + Duration::from_secs(1),
            "{number}: {took:?}"
        );
    }
    assert_eq!(world.model.length("sales"), 0);
    receiver.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_answers_are_lost_the_message_comes_all_the_same_and_never_early() {
    let world = World::new().await;
    let mut receiver = world.receiver().await;
    let began = Instant::now();
    let delay = Duration::from_secs(2000);
    world.model.leave_unanswered(1);
    assert_eq!(world.send("m-1", delay).await, Err(TransportErrorKind::Unknown));
    // The sender does not know, and sends it again: within its five minutes, SQS takes it for the same.
    let again = Dispatch {
        due: Some(TokioClock.now() + (delay - began.elapsed())),
        ..world.due_in("m-1", delay)
    };
    assert!(world.sqs.dispatch(&[again]).await.remove(0).is_ok());
    world.model.leave_unanswered(1);
    assert_eq!(next_id(&mut receiver).await, b"m-1");
    assert!(began.elapsed() >= delay);
    receiver.close().await.unwrap();
    assert_eq!(world.model.length(ROUND), 0);
}

#[tokio::test(start_paused = true)]
async fn when_one_message_is_sent_for_two_times_within_five_minutes_it_comes_at_both() {
    let world = World::new().await;
    let mut receiver = world.receiver().await;
    for delay in [1000, 1200] {
        let sent = world.send("m-1", Duration::from_secs(delay)).await;
        assert_eq!(sent, Ok(Accepted::Queued));
    }
    let began = Instant::now();
    for delay in [1000, 1200] {
        assert_eq!(next_id(&mut receiver).await, b"m-1");
        assert_eq!(began.elapsed().as_secs(), delay);
    }
    receiver.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_the_endpoint_is_down_for_days_what_goes_round_waits_and_then_comes_at_once() {
    let world = World::new().await;
    let delay = Duration::from_secs(3600);
    assert_eq!(world.send("m-1", delay).await, Ok(Accepted::Queued));
    tokio::time::advance(Duration::from_secs(13 * 86_400)).await;
    assert_eq!(world.model.length(ROUND), 1);
    let mut receiver = world.receiver().await;
    assert_eq!(next_id(&mut receiver).await, b"m-1");
    receiver.close().await.unwrap();
}

/// The limit that the documentation tells of: SQS keeps nothing for longer than 14 days.
#[tokio::test(start_paused = true)]
async fn when_the_endpoint_is_down_for_over_14_days_what_goes_round_is_lost() {
    let world = World::new().await;
    assert_eq!(
        world.send("m-1", Duration::from_secs(3600)).await,
        Ok(Accepted::Queued)
    );
    tokio::time::advance(Duration::from_secs(14 * 86_400 + 1)).await;
    assert_eq!(world.model.length(ROUND), 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_destination_takes_no_long_delays_the_error_names_it_and_the_limit() {
    let world = World::new().await;
    let elsewhere = Dispatch {
        to: Destination::Queue(Address::new("billing").unwrap()),
        ..world.due_in("m-1", Duration::from_secs(901))
    };
    let error = world.sqs.dispatch(&[elsewhere]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Unroutable);
    let text = error.to_string();
    for part in ["billing", "900 s", "long_delays"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_receiver_closes_what_came_round_is_sent_on_first() {
    let world = World::new().await;
    assert_eq!(
        world.send("m-1", Duration::from_secs(2000)).await,
        Ok(Accepted::Queued)
    );
    let receiver = world.receiver().await;
    // The message comes round in the middle of a poll.
    tokio::time::sleep(Duration::from_secs(899)).await;
    receiver.close().await.unwrap();
    let sends = world.double.seen(SEND);
    assert_eq!(sends.len(), 2);
    assert_eq!(world.model.length(ROUND), 1);
}

#[test]
fn when_a_delay_is_a_year_it_takes_35_039_laps_and_their_lateness_does_not_add_up() {
    let year = Duration::from_secs(365 * 86_400);
    let draw = SeededRandomness::new(7);
    let (mut now, mut count) = (Duration::ZERO, 0_u64);
    let last = loop {
        match next(year.saturating_sub(now)) {
            Next::Direct(rest) => break rest,
            Next::Lap(_) => {
                count += 1;
                // Polls, requests and queues take up to two seconds a lap.
                now += LAP + Duration::from_millis(draw.next_u64() % 2000);
            }
        }
    };
    // Late laps are made up for: there are fewer of them, and the last part ends in time.
    assert!(count <= laps(year).0 && count >= laps(year).0 - 40, "{count}");
    assert_eq!(laps(year).0, 35_039);
    assert_eq!(now + last, year);
}
