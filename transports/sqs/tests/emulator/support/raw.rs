//! The emulator without the transport: what an operator or a foreign program would do.

use aws_config::BehaviorVersion;
use aws_sdk_sqs::{
    Client,
    types::{MessageAttributeValue, QueueAttributeName},
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::endpoint;

/// A plain client.
pub(crate) async fn client() -> Client {
    let http = aws_smithy_http_client::Builder::new();
    let http = http
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .endpoint_url(endpoint())
        .load()
        .await;
    Client::new(&config)
}

pub(crate) async fn url(client: &Client, queue: &str) -> String {
    let found = client.get_queue_url().queue_name(queue).send().await.unwrap();
    found.queue_url.unwrap()
}

pub(crate) async fn delete(queue: &str) {
    let client = client().await;
    let url = url(&client, queue).await;
    client.delete_queue().queue_url(url).send().await.unwrap();
}

/// Puts a message in a queue, with text attributes.
pub(crate) async fn put(queue: &str, body: &str, attributes: &[(&str, &str)]) {
    let client = client().await;
    let mut request = client
        .send_message()
        .queue_url(url(&client, queue).await)
        .message_body(body);
    if queue.ends_with(".fifo") {
        let id = super::unique();
        request = request.message_group_id(&id).message_deduplication_id(id);
    }
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(*value);
        request = request.message_attributes(*name, value.build().unwrap());
    }
    request.send().await.unwrap();
}

/// One attribute of a queue.
pub(crate) async fn attribute(queue: &str, name: QueueAttributeName) -> Option<String> {
    let client = client().await;
    let request = client.get_queue_attributes().queue_url(url(&client, queue).await);
    let found = request.attribute_names(name.clone()).send().await.unwrap();
    found.attributes.unwrap_or_default().remove(&name)
}
