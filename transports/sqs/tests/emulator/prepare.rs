//! What is made, what is left as it is, and what is refused.

use aws_sdk_sqs::types::QueueAttributeName;
use longhaul_core::transport::{Declare, Subscription, Topology, Transport, TransportErrorKind};

use crate::support::{address, builder_at, endpoint, raw, unique};

fn topology(event: &str) -> Topology {
    Topology {
        queues: vec![address("sales")],
        error_queues: vec![address("error")],
        subscriptions: vec![Subscription {
            event: event.to_owned(),
            queue: address("sales"),
        }],
        ..Topology::default()
    }
}

#[tokio::test]
async fn when_a_topology_is_prepared_exactly_the_plan_is_made_and_a_second_time_changes_nothing() {
    let prefix = format!("p{}-", unique());
    let sqs = builder_at(&endpoint()).prefix(&prefix).connect().await.unwrap();
    let topology = topology("billing.paid.v1");
    let plan = sqs.plan(&topology).unwrap();
    assert_eq!(plan.queues[0].name, format!("{prefix}sales"));
    let mut policies = Vec::new();
    for _ in 0..2 {
        let report = sqs.prepare(&topology, Declare::Declare).await.unwrap();
        assert!(report.present.contains(&format!("queue {prefix}error")));
        assert_eq!(report.unverified, Vec::<String>::new());
        for queue in &plan.queues {
            for (name, value) in &queue.attributes {
                let found = raw::attribute(&queue.name, QueueAttributeName::from(name.as_str())).await;
                assert_eq!(found.as_ref(), Some(value), "{} of {}", name, queue.name);
            }
        }
        policies.push(raw::attribute(&plan.queues[0].name, QueueAttributeName::Policy).await);
    }
    assert_eq!(policies[0], policies[1]);
    let policy = policies[0].clone().unwrap_or_default();
    assert!(
        policy.contains(&format!("arn:aws:sns:us-east-1:000000000000:{prefix}*")),
        "{policy}"
    );
    let report = sqs.prepare(&topology, Declare::Verify).await.unwrap();
    assert_eq!(report.unverified.len(), 1, "{report:?}");
}

#[tokio::test]
async fn when_a_queue_is_there_with_other_attributes_only_what_loses_messages_is_refused() {
    let prefix = format!("p{}-", unique());
    let sqs = builder_at(&endpoint()).prefix(&prefix).connect().await.unwrap();
    let client = raw::client().await;
    let create = async |name: &str, attribute, value: &str| {
        let request = client.create_queue().queue_name(format!("{prefix}{name}"));
        let made = request.attributes(attribute, value).send().await.unwrap();
        made.queue_url.unwrap()
    };
    let four_days = "345600";
    let sales = create("sales", QueueAttributeName::MessageRetentionPeriod, four_days).await;
    let error = create("error", QueueAttributeName::MessageRetentionPeriod, four_days).await;
    let topology = topology("billing.paid.v1");
    let refused = sqs.prepare(&topology, Declare::Declare).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Topology);
    assert!(refused.to_string().contains("1209600"), "{refused}");

    let set = async |url: &str, attribute, value: &str| {
        let request = client.set_queue_attributes().queue_url(url);
        request.attributes(attribute, value).send().await.unwrap();
    };
    set(&error, QueueAttributeName::MessageRetentionPeriod, "1209600").await;
    sqs.prepare(&topology, Declare::Declare).await.unwrap();

    let redrive = format!(
        r#"{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:{prefix}error","maxReceiveCount":"3"}}"#
    );
    set(&sales, QueueAttributeName::RedrivePolicy, &redrive).await;
    let refused = sqs.prepare(&topology, Declare::Declare).await.unwrap_err();
    assert!(refused.to_string().contains("redrive policy"), "{refused}");
}

#[tokio::test]
async fn when_a_name_does_not_fit_nothing_is_made() {
    let sqs = builder_at(&endpoint()).connect().await.unwrap();
    let topology = Topology {
        queues: vec![address(&"x".repeat(81))],
        ..Topology::default()
    };
    let refused = sqs.prepare(&topology, Declare::Declare).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Configuration);
    assert!(refused.to_string().contains("at most 80"), "{refused}");
}

#[tokio::test]
async fn when_nobody_answers_the_error_says_that_it_was_not_reached() {
    // Bound by a socket that does not listen, so that nobody else does.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed = format!("http://{}", silent.local_addr().unwrap());
    let sqs = builder_at(&closed).connect().await.unwrap();
    let refused = sqs.prepare(&topology("a"), Declare::Declare).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Disconnected, "{refused}");
    drop(silent);
}
