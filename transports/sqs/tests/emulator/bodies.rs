//! Bodies that SQS and SNS don't take, in the emulator's S3.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::{
    Client,
    types::{
        BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
        LifecycleRuleFilter,
    },
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use longhaul_core::{
    claim_check::{BodyErrorKind, BodyKey, BodyStore, ClaimCheck},
    envelope::{Envelope, read},
    headers::Headers,
    ids::MessageId,
    limits::Limits,
    reason::Reason,
    transport::{
        Accepted, Declare, Destination, Dispatch, Receiver, ReceiverOptions, Subscription, Topology,
        Transport, TransportErrorKind,
    },
};
use longhaul_sqs::Sqs;

use crate::support::{address, builder_at, endpoint, unique};

const MIB: usize = 1024 * 1024;

async fn s3() -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .endpoint_url(endpoint())
        .load()
        .await;
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
    Client::from_conf(config.build())
}

async fn bucket() -> (Client, String) {
    let (client, bucket) = (s3().await, format!("bodies-{}", unique()));
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    (client, bucket)
}

async fn sqs() -> Sqs {
    let prefix = format!("b{}-", unique());
    builder_at(&endpoint()).prefix(prefix).connect().await.unwrap()
}

fn topology() -> Topology {
    Topology {
        queues: vec![address("sales")],
        error_queues: vec![address("error")],
        subscriptions: vec![Subscription {
            event: "a.b.v1".to_owned(),
            queue: address("sales"),
        }],
        ..Topology::default()
    }
}

fn message(id: &str, body: usize, to: Destination) -> Dispatch {
    let body: Vec<u8> = (0..=250).cycle().take(body).collect();
    Dispatch {
        envelope: Envelope::new(MessageId::new(id).unwrap(), Headers::new(), body.into()),
        to,
        due: None,
    }
}

fn limits() -> Limits {
    Limits {
        body_bytes: 16 * MIB,
        ..Limits::default()
    }
}

async fn take(receiver: &mut Box<dyn Receiver>) -> longhaul_core::envelope::Incoming {
    let next = tokio::time::timeout(Duration::from_secs(20), receiver.receive()).await;
    let (incoming, settlement) = next.expect("a message comes").unwrap().into_parts();
    settlement.acknowledge().await.unwrap();
    incoming
}

#[tokio::test]
async fn when_messages_and_events_are_over_the_limits_their_bodies_go_through_the_bucket() {
    let ((client, bucket), sqs) = (bucket().await, sqs().await);
    let bodies = sqs.bodies(&bucket);
    let around = ClaimCheck::new(sqs, bodies);
    around.prepare(&topology(), Declare::Declare).await.unwrap();
    let mut receiver = around
        .receiver(&address("sales"), ReceiverOptions::default())
        .await
        .unwrap();
    let queue = || Destination::Queue(address("sales"));
    let event = || Destination::Subscribers("a.b.v1".to_owned());
    for (id, bytes, to, kept) in [
        ("small", 1000, queue(), 0),
        ("command", 3 * MIB, queue(), 1),
        ("event", MIB / 2, event(), 2),
    ] {
        let sent = message(id, bytes, to);
        around.check(&sent).unwrap();
        let accepted = around.dispatch(std::slice::from_ref(&sent)).await.remove(0);
        assert_eq!(accepted.unwrap(), Accepted::Queued);
        let came = read(&take(&mut receiver).await, &limits()).unwrap();
        assert_eq!(came, sent.envelope);
        let listed = client.list_objects_v2().bucket(&bucket).send().await.unwrap();
        assert_eq!(listed.contents().len(), kept, "after {id}");
    }
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn when_a_body_is_gone_the_message_says_so_and_can_be_passed_on_as_it_is() {
    let ((client, bucket), sqs) = (bucket().await, sqs().await);
    let around = {
        let bodies = sqs.bodies(&bucket);
        ClaimCheck::new(sqs, bodies)
    };
    around.prepare(&topology(), Declare::Declare).await.unwrap();
    let sent = message("m-1", MIB, Destination::Queue(address("sales")));
    assert!(around.dispatch(&[sent]).await.remove(0).is_ok());
    let listed = client.list_objects_v2().bucket(&bucket).send().await.unwrap();
    let key = listed.contents()[0].key().unwrap();
    client
        .delete_object()
        .bucket(&bucket)
        .key(key)
        .send()
        .await
        .unwrap();
    let mut receiver = around
        .receiver(&address("sales"), ReceiverOptions::default())
        .await
        .unwrap();
    let came = take(&mut receiver).await;
    let missing = read(&came, &limits()).unwrap().check_body().unwrap_err();
    assert_eq!(missing.reason(), Reason::MissingBody);
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn when_there_is_no_such_bucket_nothing_is_sent_and_the_error_names_it() {
    let sqs = sqs().await;
    let bodies = sqs.bodies("no-such-bucket-here");
    let refused = bodies.prepare(Declare::Declare).await.unwrap_err();
    assert!(refused.to_string().contains("no-such-bucket-here"), "{refused}");
    let around = ClaimCheck::new(sqs, bodies);
    around.prepare(&topology(), Declare::Declare).await.unwrap();
    let sent = message("m-1", MIB, Destination::Queue(address("sales")));
    let error = around.dispatch(&[sent]).await.remove(0).unwrap_err();
    assert!(error.is_retryable(), "the bucket may be made: {error}");
    assert!(error.to_string().contains("no-such-bucket-here"), "{error}");
}

#[tokio::test]
async fn when_the_bucket_has_rules_of_others_ours_stands_beside_them_and_is_changed_with_its_days() {
    let ((client, bucket), sqs) = (bucket().await, sqs().await);
    let theirs = LifecycleRule::builder()
        .id("theirs")
        .filter(LifecycleRuleFilter::builder().prefix("logs/").build())
        .expiration(LifecycleExpiration::builder().days(7).build())
        .status(ExpirationStatus::Enabled);
    let rules = BucketLifecycleConfiguration::builder().rules(theirs.build().unwrap());
    client
        .put_bucket_lifecycle_configuration()
        .bucket(&bucket)
        .lifecycle_configuration(rules.build().unwrap())
        .send()
        .await
        .unwrap();
    let bodies = || sqs.bodies(&bucket).prefix("large/");
    let refused = bodies().prepare(Declare::Verify).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Topology);
    bodies().prepare(Declare::Declare).await.unwrap();
    bodies().prepare(Declare::Verify).await.unwrap();
    bodies().days(60).prepare(Declare::Declare).await.unwrap();
    assert!(bodies().prepare(Declare::Verify).await.is_err(), "of 30 days");
    let found = client
        .get_bucket_lifecycle_configuration()
        .bucket(&bucket)
        .send()
        .await
        .unwrap();
    let mut days: Vec<_> = found
        .rules()
        .iter()
        .map(|rule| {
            let days = rule.expiration().and_then(LifecycleExpiration::days);
            (rule.id().unwrap_or_default(), days)
        })
        .collect();
    days.sort_unstable();
    assert_eq!(days, [("LonghaulBodies-large/", Some(60)), ("theirs", Some(7))]);
}

#[tokio::test]
async fn when_a_body_was_kept_twice_it_is_there_once_and_reads_back() {
    let ((client, bucket), sqs) = (bucket().await, sqs().await);
    let bodies = sqs.bodies(&bucket);
    let body = bytes::Bytes::from(vec![7; 100_000]);
    let key = BodyKey::of(&body);
    for _ in 0..2 {
        bodies.put(&key, &body).await.unwrap();
    }
    assert_eq!(bodies.get(&key, body.len()).await.unwrap(), body);
    let another = bodies.get(&key, 1).await.unwrap_err();
    assert_eq!(another.kind(), BodyErrorKind::Missing, "{another}");
    let missing = bodies.get(&BodyKey::of(b"x"), 1).await.unwrap_err();
    assert_eq!(missing.kind(), BodyErrorKind::Missing, "{missing}");
    let listed = client.list_objects_v2().bucket(&bucket).send().await.unwrap();
    assert_eq!(listed.contents().len(), 1);
}
