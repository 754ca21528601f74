//! Tells SQS what is settled, and keeps invisible what is being handled.

use std::sync::Arc;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use crate::{
    fault::{Fault, FaultKind},
    inner::Inner,
    receive::ledger::{Ledger, Task, Work},
    send::Answer,
};

/// How many requests are under way at the same time.
const AT_ONCE: usize = 8;

/// Works until nothing is held and nobody brings anything any more.
pub(crate) async fn keep(inner: Arc<Inner>, url: String, ledger: Arc<Ledger>) {
    let mut running = FuturesUnordered::new();
    loop {
        let (all, wake) = ledger.next(Instant::now(), AT_ONCE - running.len());
        for work in all {
            running.push(tell(&inner, &url, &ledger, work));
        }
        if running.is_empty() && ledger.is_over() {
            break;
        }
        let has_room = running.len() < AT_ONCE;
        tokio::select! {
            Some(()) = running.next() => {}
            () = ledger.work.notified(), if has_room => {}
            () = until(wake), if has_room => {}
        }
    }
    let stale = ledger.stale();
    if stale > 0 {
        tracing::info!(stale, "messages were settled too late, and came again");
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn tell(inner: &Inner, url: &str, ledger: &Ledger, work: Work) {
    let sent = Instant::now();
    inner.caller.requests.note_settlement(work.entries.len());
    let answer = match work.task {
        Task::Delete => delete(inner, url, &work).await,
        Task::Release | Task::Renew => change(inner, url, &work).await,
    };
    let results = (0..work.entries.len())
        .map(|at| match &answer {
            Ok(answer) => answer.of(at),
            Err(fault) => Err(fault.clone()),
        })
        .collect();
    ledger.note(work, results, sent);
}

async fn delete(inner: &Inner, url: &str, work: &Work) -> Result<Answer, Fault> {
    let mut entries = Vec::with_capacity(work.entries.len());
    for (at, entry) in work.entries.iter().enumerate() {
        let request = DeleteMessageBatchRequestEntry::builder();
        let request = request.id(at.to_string()).receipt_handle(&*entry.receipt);
        entries.push(request.build().map_err(incomplete)?);
    }
    let request = inner
        .sqs
        .delete_message_batch()
        .queue_url(url)
        .set_entries(Some(entries));
    let answer = inner.caller.once(request.send()).await?;
    Ok(Answer {
        done: answer.successful.into_iter().map(|entry| entry.id).collect(),
        failed: answer
            .failed
            .into_iter()
            .map(|entry| {
                let fault = Fault::of_entry(&entry.code, entry.message.as_deref(), entry.sender_fault);
                (entry.id, fault)
            })
            .collect(),
    })
}

async fn change(inner: &Inner, url: &str, work: &Work) -> Result<Answer, Fault> {
    let mut entries = Vec::with_capacity(work.entries.len());
    for (at, entry) in work.entries.iter().enumerate() {
        let request = ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(at.to_string())
            .receipt_handle(&*entry.receipt)
            .visibility_timeout(entry.seconds);
        entries.push(request.build().map_err(incomplete)?);
    }
    let request = inner.sqs.change_message_visibility_batch();
    let request = request.queue_url(url).set_entries(Some(entries));
    let answer = inner.caller.once(request.send()).await?;
    Ok(Answer {
        done: answer.successful.into_iter().map(|entry| entry.id).collect(),
        failed: answer
            .failed
            .into_iter()
            .map(|entry| {
                let fault = Fault::of_entry(&entry.code, entry.message.as_deref(), entry.sender_fault);
                (entry.id, fault)
            })
            .collect(),
    })
}

fn incomplete(error: impl std::error::Error) -> Fault {
    Fault::new(FaultKind::Refused, error.to_string())
}
