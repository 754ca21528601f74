//! Sends to a queue that keeps order: what is behind a message of its group goes out when SQS has that one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    batch::{ENTRIES, SQS_BYTES},
    fault::{Fault, FaultKind},
    inner::Inner,
    send::{
        Outcome, Outgoing, Place,
        attempt::{for_the_rest, one_batch},
    },
};

/// Sends all messages for one queue. A request holds one message of each group at most, since any entry may fail by itself;
/// behind one that failed nothing of its group is sent.
pub(crate) async fn in_order(
    inner: &Inner,
    place: &Place,
    messages: &[Outgoing<'_>],
) -> Vec<(usize, Outcome)> {
    let group = |message: &Outgoing<'_>| {
        let standing = message.standing.as_ref();
        standing
            .map(|standing| standing.group.clone())
            .unwrap_or_default()
    };
    let (groups, sizes): (Vec<String>, Vec<usize>) = messages
        .iter()
        .map(|message| (group(message), message.bytes()))
        .unzip();
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut held_back: BTreeMap<&str, Fault> = BTreeMap::new();
    let mut stop: Option<Fault> = None;
    let mut open: Vec<usize> = (0..messages.len()).collect();
    while !open.is_empty() {
        let taken = take(&groups, &sizes, &mut open);
        let mut batch = Vec::with_capacity(taken.len());
        for at in taken {
            let message = &messages[at];
            match stop.as_ref().or(held_back.get(groups[at].as_str())) {
                Some(fault) => outcomes.push((message.at, message.outcome(Err(fault.clone())))),
                None => batch.push(at),
            }
        }
        if batch.is_empty() {
            continue;
        }
        let sent: Vec<&Outgoing<'_>> = batch.iter().map(|at| &messages[*at]).collect();
        let (results, fault) = one_batch(inner, place, &sent).await;
        stop = fault.and_then(|fault| for_the_rest(&fault));
        for (at, result) in batch.into_iter().zip(results) {
            let message = &messages[at];
            if let Err(fault) = &result {
                let text = format!(
                    "it was not sent, since {} of its group before it was not: {}",
                    message.written.id(),
                    fault.text
                );
                held_back.insert(&groups[at], Fault::new(FaultKind::Unreached, text));
            }
            outcomes.push((message.at, message.outcome(result)));
        }
    }
    outcomes
}

/// Takes the messages of the next request out of those that are open, in order, one of each group.
fn take(groups: &[String], sizes: &[usize], open: &mut Vec<usize>) -> Vec<usize> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    open.retain(|at| {
        let is_first = seen.insert(&groups[*at]);
        let fits = taken.is_empty() || taken.len() < ENTRIES && bytes + sizes[*at] <= SQS_BYTES;
        if is_first && fits {
            taken.push(*at);
            bytes += sizes[*at];
        }
        !(is_first && fits)
    });
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_groups_each_request_has_one_of_each_and_their_order_stays(
            messages in proptest::collection::vec((0_u8..6, 1..SQS_BYTES / 3), 0..60),
        ) {
            let groups: Vec<String> = messages.iter().map(|(group, _)| group.to_string()).collect();
            let sizes: Vec<usize> = messages.iter().map(|(_, size)| *size).collect();
            let mut open: Vec<usize> = (0..messages.len()).collect();
            let mut sent: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            while !open.is_empty() {
                let taken = take(&groups, &sizes, &mut open);
                prop_assert!(!taken.is_empty() && taken.len() <= ENTRIES);
                prop_assert!(taken.iter().map(|at| sizes[*at]).sum::<usize>() <= SQS_BYTES);
                let of: BTreeSet<&str> = taken.iter().map(|at| groups[*at].as_str()).collect();
                prop_assert_eq!(of.len(), taken.len());
                for at in taken {
                    sent.entry(&groups[at]).or_default().push(at);
                }
            }
            prop_assert_eq!(sent.values().map(Vec::len).sum::<usize>(), messages.len());
            for one in sent.values() {
                prop_assert!(one.is_sorted());
            }
        }
    }
}
