//! The password is nowhere to be seen.

use longhaul_core::transport::Transport;
use longhaul_rabbitmq::RabbitMq;

use crate::support::{messages::event, raw::Raw, scratch::scratch, url};

#[tokio::test]
async fn when_anything_is_shown_the_password_is_not() {
    scratch(async |scratch| {
        let raw = Raw::connect().await;
        drop(raw);
        let canary = "c4nary-s3cret";
        let bad = url().replace("guest:guest", &format!("guest:{canary}"));
        let builder = RabbitMq::builder(&bad);
        let mut shown = vec![format!("{builder:?}")];
        let error = builder.connect().await.expect_err("the password is wrong");
        shown.push(format!("{error} {error:?}"));
        for refused in [
            format!("amqp://u:{canary}@broker.example"),
            format!("amqp://u:{canary}@ h"),
        ] {
            let error = RabbitMq::connect(&refused).await.expect_err("the address is bad");
            shown.push(format!("{error} {error:?}"));
        }
        let transport = scratch.transport().await;
        shown.push(format!("{transport:?}"));
        let outcomes = transport.dispatch(&[event(&"e".repeat(300), "1")]).await;
        shown.push(format!("{outcomes:?}"));
        for text in shown {
            assert!(!text.contains(canary) && !text.contains(":guest@"), "{text}");
        }
    })
    .await;
}
