//! How many messages go into one request: by count and by bytes.

use std::ops::Range;

/// The most entries of a batch.
pub(crate) const ENTRIES: usize = 10;
/// The largest message of SQS and the largest batch, attributes included.
pub(crate) const SQS_BYTES: usize = 1024 * 1024;
/// The same of SNS.
pub(crate) const SNS_BYTES: usize = 256 * 1024;

/// Cuts messages of these sizes into batches, in order. One that is too large by itself gets its own.
pub(crate) fn batches(sizes: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, size) in sizes.iter().enumerate() {
        if at > start && (at - start == ENTRIES || bytes + size > most) {
            batches.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        batches.push(start..sizes.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn when_there_are_many_or_large_ones_they_are_split() {
        assert_eq!(batches(&[], SQS_BYTES), []);
        assert_eq!(batches(&[1; 10], SQS_BYTES).len(), 1);
        assert_eq!(batches(&[1; 21], SQS_BYTES), [0..10, 10..20, 20..21]);
        assert_eq!(batches(&[60, 40, 1, 99, 1], 100), [0..2, 2..4, 4..5]);
        assert_eq!(batches(&[200, 1], 100), [0..1, 1..2]);
    }

    proptest! {
        #[test]
        fn whatever_the_sizes_each_message_is_in_one_batch_within_the_limits(
            sizes in proptest::collection::vec(1_usize..100, 0..60),
        ) {
            let cut = batches(&sizes, 100);
            let all: Vec<usize> = cut.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
            for batch in cut {
                prop_assert!(!batch.is_empty() && batch.len() <= ENTRIES);
                prop_assert!(sizes[batch].iter().sum::<usize>() <= 100);
            }
        }
    }
}
