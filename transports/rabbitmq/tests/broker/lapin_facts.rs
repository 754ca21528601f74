//! What the transport relies on in lapin and in the broker: one probe each, so that an upgrade which changes it shows.

use std::task::Poll;

use futures_util::{StreamExt, poll};
use lapin::{
    BasicProperties, Confirmation, ErrorKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    },
    types::{AMQPValue, FieldTable},
};

use crate::support::{raw::Raw, scratch::scratch, soon, until};

async fn quorum_queue(raw: &Raw, name: &str) {
    raw.declare(name, &[("x-queue-type", AMQPValue::LongString("quorum".into()))])
        .await
        .unwrap();
}

/// A publish is numbered and queued when it is first polled, so one task can have many on their way in order.
#[tokio::test]
async fn when_publishes_are_polled_once_in_order_and_awaited_later_confirmations_match_them() {
    scratch(async |scratch| {
        let raw = Raw::connect().await;
        let (good, full) = (scratch.queue("good"), scratch.queue("full"));
        quorum_queue(&raw, good.as_str()).await;
        let refuse = ("x-overflow", AMQPValue::LongString("reject-publish".into()));
        raw.declare(
            full.as_str(),
            &[refuse, ("x-max-length", AMQPValue::LongLongInt(0))],
        )
        .await
        .unwrap();
        let channel = raw.connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        for _ in 0..5 {
            let mut sending = Vec::new();
            for number in 0..1000 {
                let queue = if number % 3 == 0 { &full } else { &good };
                let publish = channel.basic_publish(
                    "".into(),
                    queue.as_str().into(),
                    BasicPublishOptions::default(),
                    b"x",
                    BasicProperties::default(),
                );
                let mut publish = Box::pin(publish);
                let first = poll!(&mut publish);
                sending.push((number, publish, first));
            }
            for (number, publish, first) in sending {
                let confirm = if let Poll::Ready(written) = first {
                    written
                } else {
                    publish.await
                };
                let confirmed = soon("a confirmation", confirm.unwrap()).await.unwrap();
                assert_eq!(confirmed.is_nack(), number % 3 == 0, "{number}");
            }
        }
    })
    .await;
}

/// The reason for matching by message id: a return comes with some confirmation of its window, not with its own.
#[tokio::test]
async fn when_every_second_publish_of_a_window_is_returned_all_returns_come_with_the_windows_confirmations() {
    scratch(async |scratch| {
        let raw = Raw::connect().await;
        let good = scratch.queue("good");
        quorum_queue(&raw, good.as_str()).await;
        let channel = raw.connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        let mut sending = Vec::new();
        for number in 0..2000_u32 {
            let queue = if number.is_multiple_of(2) {
                good.as_str()
            } else {
                "nowhere"
            };
            let options = BasicPublishOptions {
                mandatory: true,
                immediate: false,
            };
            let properties = BasicProperties::default().with_message_id(number.to_string().into());
            let mut publish =
                Box::pin(channel.basic_publish("".into(), queue.into(), options, b"x", properties));
            let first = poll!(&mut publish);
            sending.push((publish, first));
        }
        let mut returned = Vec::new();
        for (publish, first) in sending {
            let confirm = if let Poll::Ready(written) = first {
                written
            } else {
                publish.await
            };
            let confirmation: Confirmation = soon("a confirmation", confirm.unwrap()).await.unwrap();
            assert!(confirmation.is_ack());
            let message = confirmation.take_message();
            returned.extend(message.map(|one| one.properties.message_id().clone().unwrap().to_string()));
        }
        returned.sort_by_key(|id| id.parse::<u32>().unwrap());
        let odd: Vec<_> = (0..2000)
            .filter(|number| number % 2 == 1)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(returned, odd);
    })
    .await;
}

#[tokio::test]
async fn when_confirm_mode_was_not_selected_the_answer_is_not_an_acknowledgement() {
    scratch(async |scratch| {
        let (raw, queue) = (Raw::connect().await, scratch.queue("in"));
        quorum_queue(&raw, queue.as_str()).await;
        let options = BasicPublishOptions::default();
        let publish = raw.channel.basic_publish(
            "".into(),
            queue.as_str().into(),
            options,
            b"x",
            Default::default(),
        );
        assert_eq!(publish.await.unwrap().await.unwrap(), Confirmation::NotRequested);
    })
    .await;
}

#[tokio::test]
async fn when_the_queue_is_deleted_the_consumer_only_ends_and_its_channel_stays() {
    scratch(async |scratch| {
        let (raw, queue) = (Raw::connect().await, scratch.queue("in"));
        quorum_queue(&raw, queue.as_str()).await;
        let channel = raw.connection.create_channel().await.unwrap();
        let consume = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = consume.await.unwrap();
        raw.delete_queue(queue.as_str()).await;
        assert!(soon("the end", consumer.next()).await.is_none());
        assert!(channel.status().connected());
    })
    .await;
}

#[tokio::test]
async fn when_the_broker_closes_the_channel_the_consumer_gives_the_error_then_ends_and_acknowledging_fails_at_once()
 {
    scratch(async |scratch| {
        let (raw, queue) = (Raw::connect().await, scratch.queue("in"));
        quorum_queue(&raw, queue.as_str()).await;
        let channel = raw.connection.create_channel().await.unwrap();
        channel.basic_qos(10, BasicQosOptions::default()).await.unwrap();
        let consume = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = consume.await.unwrap();
        raw.publish(queue.as_str(), b"x", BasicProperties::default())
            .await;
        let delivery = soon("the message", consumer.next()).await.unwrap().unwrap();
        // A tag that the broker does not wait for.
        channel.basic_ack(4711, BasicAckOptions::default()).await.unwrap();
        let error = soon("the error", consumer.next()).await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ProtocolError(_)));
        assert!(soon("the end", consumer.next()).await.is_none());
        assert!(
            soon(
                "a refusal",
                channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default())
            )
            .await
            .is_err()
        );
        assert!(
            !soon("a refusal", delivery.ack(BasicAckOptions::default()))
                .await
                .unwrap()
        );
    })
    .await;
}

/// Ranges of acknowledgements must end at a tag that is still waited for.
#[tokio::test]
async fn when_a_range_ends_at_a_settled_tag_the_broker_closes_the_channel_and_gaps_below_are_fine() {
    scratch(async |scratch| {
        let (raw, queue) = (Raw::connect().await, scratch.queue("in"));
        quorum_queue(&raw, queue.as_str()).await;
        for good in [true, false] {
            let channel = raw.connection.create_channel().await.unwrap();
            let options = BasicConsumeOptions::default();
            let consume =
                channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
            let mut consumer = consume.await.unwrap();
            for _ in 0..4 {
                raw.publish(queue.as_str(), b"x", BasicProperties::default())
                    .await;
                soon("a message", consumer.next()).await.unwrap().unwrap();
            }
            channel.basic_ack(2, BasicAckOptions::default()).await.unwrap();
            let last = if good { 4 } else { 2 };
            channel
                .basic_ack(last, BasicAckOptions { multiple: true })
                .await
                .unwrap();
            if good {
                until("an empty queue", async || {
                    (raw.look(queue.as_str()).await == Some((0, 1))).then_some(())
                })
                .await;
                assert!(channel.status().connected());
            } else {
                assert!(soon("the error", consumer.next()).await.unwrap().is_err());
            }
        }
    })
    .await;
}

/// The reason for the guard: lapin gives up the whole connection.
#[tokio::test]
async fn when_a_message_id_is_not_utf8_lapin_alone_loses_its_connection() {
    scratch(async |scratch| {
        let (raw, queue) = (Raw::connect().await, scratch.queue("in"));
        quorum_queue(&raw, queue.as_str()).await;
        let id = crate::support::wild::short(b"\xff");
        crate::support::wild::publish(queue.as_str(), crate::support::wild::MESSAGE_ID, &id, b"x").await;
        let victim = Raw::connect().await;
        let options = BasicConsumeOptions::default();
        let consume =
            victim
                .channel
                .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
        let mut consumer = consume.await.unwrap();
        assert!(soon("the error", consumer.next()).await.unwrap().is_err());
        let gone = async || (!victim.connection.status().connected()).then_some(());
        until("the end of the connection", gone).await;
    })
    .await;
}
