//! Tells the broker what was settled, as it comes, without waiting for answers: there are none.

use std::{pin::Pin, sync::Arc};

use futures_util::poll;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions, BasicQosOptions},
};
use tokio::time::Instant;

use super::Incarnation;
use crate::{
    ack_window::Frame,
    fault::{Fault, within},
    link::Link,
    timing::Timing,
};

/// Sends acknowledgements until the incarnation is dead, or closing and settled.
pub(super) async fn run(incarnation: Arc<Incarnation>, channel: Channel, link: Arc<Link>, timing: Timing) {
    loop {
        let work = incarnation.work();
        if incarnation.is_dead() {
            break;
        }
        if !work.frames.is_empty() {
            if let Err(fault) = tell(&channel, &work.frames, &timing).await {
                tracing::debug!(reason = fault.text, "acknowledgements were lost with the channel");
                incarnation.kill();
                if !channel.status().connected() || !link.is_up() {
                    break;
                }
                // Not written in time: the connection is stuck.
                link.cut();
                break;
            }
            continue;
        }
        if work.finished {
            finish(&channel, &timing).await;
            break;
        }
        wait(&incarnation, work.again).await;
    }
    incarnation.kill();
}

async fn wait(incarnation: &Incarnation, again: Option<Instant>) {
    match again {
        Some(again) => tokio::select! {
            () = incarnation.wake.notified() => {}
            () = tokio::time::sleep_until(again) => {}
        },
        None => incarnation.wake.notified().await,
    }
}

/// Queues all frames, then waits until they are written; what is settled meanwhile makes the next range longer.
async fn tell(channel: &Channel, frames: &[Frame], timing: &Timing) -> Result<(), Fault> {
    let all = async {
        let mut writing: Vec<Pin<Box<dyn Future<Output = lapin::Result<()>> + Send + '_>>> = Vec::new();
        for frame in frames {
            let mut write = write(channel, *frame);
            match poll!(&mut write) {
                std::task::Poll::Ready(written) => written?,
                std::task::Poll::Pending => writing.push(write),
            }
        }
        for write in writing {
            write.await?;
        }
        Ok(())
    };
    within(timing.answer, "acknowledgements", all).await
}

fn write(channel: &Channel, frame: Frame) -> Pin<Box<dyn Future<Output = lapin::Result<()>> + Send + '_>> {
    match frame {
        Frame::One(tag) => Box::pin(channel.basic_ack(tag, BasicAckOptions { multiple: false })),
        Frame::UpTo(tag) => Box::pin(channel.basic_ack(tag, BasicAckOptions { multiple: true })),
        Frame::Requeue(tag) => Box::pin(channel.basic_nack(
            tag,
            BasicNackOptions {
                multiple: false,
                requeue: true,
            },
        )),
    }
}

/// The broker works through a channel in order: its answer to a harmless request means that it has read the
/// acknowledgements before it.
async fn finish(channel: &Channel, timing: &Timing) {
    let barrier = channel.basic_qos(1, BasicQosOptions::default());
    let done = async {
        within(timing.close, "acknowledgements", barrier).await?;
        within(
            timing.close,
            "closing a channel",
            channel.close(200, "closed".into()),
        )
        .await
    };
    if let Err(fault) = done.await {
        tracing::debug!(reason = fault.text, "the channel did not close in good order");
    }
}
