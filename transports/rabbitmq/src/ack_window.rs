//! Which acknowledgements to send for what was settled: a few ranges instead of one frame per message.
//!
//! Delivery tags of a channel count up from one. Settled tags without a gap at the front go out as one
//! acknowledgement of everything up to the last; settled ones behind a gap wait a little for the gap to close, since
//! they use up the prefetch limit meanwhile.

use std::collections::VecDeque;

/// What happens to the tags of one channel.
#[derive(Debug)]
pub(crate) struct AckWindow {
    /// The tag of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// Acknowledged and not yet sent, wherever they are.
    unsent: usize,
    requeued: Vec<u64>,
    /// How many may wait behind a gap.
    patience: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Somebody still has it.
    Open,
    /// To be acknowledged.
    Acknowledged,
    /// The broker was told.
    Told,
}

/// What to tell the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// This one is done with.
    One(u64),
    /// All up to this one are done with.
    UpTo(u64),
    /// This one goes back to its queue.
    Requeue(u64),
}

impl AckWindow {
    pub(crate) fn new(patience: usize) -> Self {
        Self {
            first: 1,
            slots: VecDeque::new(),
            unsent: 0,
            requeued: Vec::new(),
            patience: patience.max(1),
        }
    }

    /// A message with this tag was delivered.
    pub(crate) fn delivered(&mut self, tag: u64) {
        while self.first + self.slots.len() as u64 <= tag {
            self.slots.push_back(Slot::Open);
        }
    }

    /// The message is done with. False where it was settled before.
    pub(crate) fn acknowledge(&mut self, tag: u64) -> bool {
        let Some(slot) = self.open(tag) else { return false };
        *slot = Slot::Acknowledged;
        self.unsent += 1;
        true
    }

    /// The message goes back. False where it was settled before.
    pub(crate) fn requeue(&mut self, tag: u64) -> bool {
        let Some(slot) = self.open(tag) else { return false };
        *slot = Slot::Told;
        self.requeued.push(tag);
        true
    }

    /// What to send now. Acknowledgements behind a gap are held back while they are few, unless `all` are wanted.
    pub(crate) fn take(&mut self, all: bool) -> Vec<Frame> {
        let mut frames: Vec<_> = self.requeued.drain(..).map(Frame::Requeue).collect();
        let (mut last, mut count) = (0, 0);
        while let Some(slot) = self.slots.front().filter(|slot| **slot != Slot::Open) {
            if *slot == Slot::Acknowledged {
                (last, count) = (self.first, count + 1);
            }
            self.slots.pop_front();
            self.first += 1;
        }
        self.unsent -= count;
        match count {
            0 => {}
            1 => frames.push(Frame::One(last)),
            // The last of a range must be one that the broker still waits for, or it closes the channel.
            _ => frames.push(Frame::UpTo(last)),
        }
        if all || self.unsent >= self.patience {
            self.take_behind_gaps(&mut frames);
        }
        frames
    }

    /// Whether acknowledgements are held back.
    pub(crate) fn holds_back(&self) -> bool {
        self.unsent > 0
    }

    /// Whether nobody has a message of this channel any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.slots.iter().all(|slot| *slot != Slot::Open)
    }

    fn take_behind_gaps(&mut self, frames: &mut Vec<Frame>) {
        for (slot, tag) in self.slots.iter_mut().zip(self.first..) {
            if *slot == Slot::Acknowledged {
                *slot = Slot::Told;
                frames.push(Frame::One(tag));
            }
        }
        self.unsent = 0;
    }

    fn open(&mut self, tag: u64) -> Option<&mut Slot> {
        let index = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index).filter(|slot| **slot == Slot::Open)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn window(delivered: u64) -> AckWindow {
        let mut window = AckWindow::new(4);
        window.delivered(delivered);
        window
    }

    #[test]
    fn when_messages_are_settled_in_order_one_range_covers_them() {
        let mut window = window(5);
        (1..=3).for_each(|tag| assert!(window.acknowledge(tag)));
        assert_eq!(window.take(false), [Frame::UpTo(3)]);
        assert!(window.acknowledge(4));
        assert_eq!(window.take(false), [Frame::One(4)]);
        assert_eq!(window.take(true), []);
    }

    #[test]
    fn when_a_slow_message_leaves_a_gap_the_others_wait_only_while_they_are_few() {
        let mut window = window(9);
        (2..=4).for_each(|tag| assert!(window.acknowledge(tag)));
        assert_eq!(window.take(false), []);
        assert!(window.holds_back());
        assert!(window.acknowledge(5));
        assert_eq!(window.take(false), [2, 3, 4, 5].map(Frame::One));
        assert!(window.acknowledge(1));
        assert_eq!(window.take(false), [Frame::One(1)]);
    }

    #[test]
    fn when_the_last_of_a_run_was_requeued_the_range_ends_before_it() {
        let mut window = window(3);
        assert!(window.acknowledge(1) && window.acknowledge(2) && window.requeue(3));
        assert_eq!(window.take(false), [Frame::Requeue(3), Frame::UpTo(2)]);
        assert!(window.is_settled());
    }

    #[test]
    fn when_a_message_is_settled_twice_the_second_time_does_nothing() {
        let mut window = window(2);
        assert!(window.acknowledge(2) && !window.acknowledge(2) && !window.requeue(2));
        assert!(!window.acknowledge(3));
    }

    /// What the broker does with the frames; it closes the channel on a tag that it does not wait for.
    fn play(
        frames: &[Frame],
        waiting: &mut BTreeSet<u64>,
        done: &mut BTreeSet<u64>,
        back: &mut BTreeSet<u64>,
    ) {
        for frame in frames {
            match *frame {
                Frame::One(tag) => assert!(waiting.remove(&tag) && done.insert(tag)),
                Frame::Requeue(tag) => assert!(waiting.remove(&tag) && back.insert(tag)),
                Frame::UpTo(tag) => {
                    assert!(waiting.contains(&tag));
                    let later = waiting.split_off(&(tag + 1));
                    done.extend(std::mem::replace(waiting, later));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_settled_in_whatever_order_the_broker_learns_exactly_that(
            steps in proptest::collection::vec((1_u64..40, any::<bool>(), 0_u8..4), 0..120),
        ) {
            let mut window = AckWindow::new(5);
            window.delivered(39);
            let mut waiting: BTreeSet<u64> = (1..40).collect();
            let (mut done, mut back) = (BTreeSet::new(), BTreeSet::new());
            let (mut acknowledged, mut requeued) = (BTreeSet::new(), BTreeSet::new());
            for (tag, good, take) in steps {
                if good && window.acknowledge(tag) {
                    acknowledged.insert(tag);
                } else if !good && window.requeue(tag) {
                    requeued.insert(tag);
                }
                if take == 0 {
                    play(&window.take(false), &mut waiting, &mut done, &mut back);
                }
            }
            play(&window.take(true), &mut waiting, &mut done, &mut back);
            prop_assert!(!window.holds_back());
            prop_assert_eq!(done, acknowledged);
            prop_assert_eq!(back, requeued);
        }
    }
}
