//! What is known of a message, as it is stored: the state, and behind it the time.
//!
//! The state comes first, so that a commit can ask whether the stored value begins with the state it expects.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::InboxState;

use crate::seal::{FORMAT, Unreadable, seal, unseal};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const SCHEDULED: u8 = 2;
const STARTED: u8 = 3;

/// How a stored value begins that holds this state.
pub(crate) fn beginning(state: InboxState) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.push(FORMAT);
    let (tag, numbers, since) = match state {
        InboxState::Done => (DONE, [None; 3], None),
        InboxState::Failed { attempts } => (FAILED, [Some(attempts), None, None], None),
        InboxState::Scheduled {
            generation,
            attempts,
            since,
        } => (SCHEDULED, [Some(generation), Some(attempts), None], Some(since)),
        InboxState::Started {
            generation,
            attempts,
            times,
            since,
        } => (
            STARTED,
            [Some(generation), Some(attempts), Some(times)],
            Some(since),
        ),
    };
    bytes.push(tag);
    for number in numbers.into_iter().flatten() {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    if let Some(since) = since {
        bytes.extend_from_slice(&since.as_micros().to_be_bytes());
    }
    bytes
}

pub(crate) fn encode(state: InboxState, at: Timestamp) -> Bytes {
    let mut bytes = beginning(state);
    bytes.extend_from_slice(&at.as_micros().to_be_bytes());
    seal(bytes)
}

pub(crate) fn decode(value: &Bytes) -> Result<(InboxState, Timestamp), Unreadable> {
    let bytes = unseal(value)?;
    parse(&bytes).ok_or(Unreadable::Damaged)
}

fn parse(bytes: &[u8]) -> Option<(InboxState, Timestamp)> {
    let (tag, mut rest) = bytes.split_first()?;
    let state = match *tag {
        DONE => InboxState::Done,
        FAILED => InboxState::Failed {
            attempts: number(&mut rest)?,
        },
        SCHEDULED => InboxState::Scheduled {
            generation: number(&mut rest)?,
            attempts: number(&mut rest)?,
            since: time(&mut rest)?,
        },
        STARTED => InboxState::Started {
            generation: number(&mut rest)?,
            attempts: number(&mut rest)?,
            times: number(&mut rest)?,
            since: time(&mut rest)?,
        },
        _ => return None,
    };
    let at = time(&mut rest)?;
    rest.is_empty().then_some((state, at))
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*bytes))
}

fn time(rest: &mut &[u8]) -> Option<Timestamp> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(Timestamp::from_micros(i64::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(7);

    #[test]
    fn when_a_state_is_stored_it_reads_back_and_begins_as_expected() {
        let (generation, attempts, since) = (u32::MAX, 2, Timestamp::MIN);
        let states = [
            InboxState::Done,
            InboxState::Failed { attempts },
            InboxState::Scheduled {
                generation,
                attempts,
                since,
            },
            InboxState::Started {
                generation,
                attempts,
                times: 3,
                since,
            },
        ];
        for state in states {
            let value = encode(state, AT);
            assert_eq!(decode(&value), Ok((state, AT)));
            assert!(value.starts_with(&beginning(state)));
        }
    }

    #[test]
    fn when_the_stored_bytes_stay_the_same_from_version_to_version() {
        let scheduled = InboxState::Scheduled {
            generation: 1,
            attempts: 2,
            since: Timestamp::from_micros(3),
        };
        let expected = [
            1, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7,
        ];
        let value = encode(scheduled, AT);
        assert_eq!(value[..value.len() - 4], expected);
    }

    #[test]
    fn when_the_bytes_are_no_state_they_are_damaged() {
        for bytes in [
            &[1][..],
            &[1, 9, 0],
            &[1, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(decode(&seal(bytes.to_vec())), Err(Unreadable::Damaged));
        }
    }
}
