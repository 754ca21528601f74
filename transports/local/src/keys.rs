//! The keys of one broker in the database that it shares with stores.

use longhaul_core::address::Address;
use longhaul_core::transport::Subscription;

/// Before every key of ours. No key that begins with the length of an address can begin like this.
const PREFIX: &[u8] = b"broker\0";

/// What lies under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue,
    Subscription,
    Message,
    /// A body too large to be stored with its message.
    Body,
    /// What changes of a message while it waits.
    Progress,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Queue => b'q',
            Self::Subscription => b's',
            Self::Message => b'm',
            Self::Body => b'b',
            Self::Progress => b'p',
        }
    }

    /// Before every key of this kind.
    pub(crate) fn prefix(self) -> Vec<u8> {
        [PREFIX, &[self.byte()]].concat()
    }
}

/// The key of a queue.
pub(crate) fn queue(queue: &Address) -> Vec<u8> {
    let mut key = Kind::Queue.prefix();
    push(&mut key, queue.as_str());
    key
}

/// The key of a subscription.
pub(crate) fn subscription(subscription: &Subscription) -> Vec<u8> {
    let mut key = Kind::Subscription.prefix();
    push(&mut key, &subscription.event);
    push(&mut key, subscription.queue.as_str());
    key
}

/// The key of a message, its body or its progress: in the order of acceptance within a queue.
pub(crate) fn message(kind: Kind, queue: &Address, sequence: u64) -> Vec<u8> {
    let mut key = kind.prefix();
    push(&mut key, queue.as_str());
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// Whether it is the key of a body or of a progress: of something that belongs to a message.
pub(crate) fn is_part(key: &[u8]) -> bool {
    [Kind::Body, Kind::Progress]
        .iter()
        .any(|kind| key.starts_with(&kind.prefix()))
}

/// Reads the key of a queue.
pub(crate) fn read_queue(key: &[u8]) -> Option<Address> {
    let (name, rest) = pop(key.strip_prefix(&*Kind::Queue.prefix())?)?;
    rest.is_empty().then_some(Address::new(name).ok())?
}

/// Reads the key of a subscription.
pub(crate) fn read_subscription(key: &[u8]) -> Option<Subscription> {
    let (event, rest) = pop(key.strip_prefix(&*Kind::Subscription.prefix())?)?;
    let (queue, rest) = pop(rest)?;
    let queue = Address::new(queue).ok()?;
    let event = event.to_owned();
    rest.is_empty().then_some(Subscription { event, queue })
}

/// Reads the key of a message, its body or its progress.
pub(crate) fn read_message(kind: Kind, key: &[u8]) -> Option<(Address, u64)> {
    let (queue, rest) = pop(key.strip_prefix(&*kind.prefix())?)?;
    Some((
        Address::new(queue).ok()?,
        u64::from_be_bytes(rest.try_into().ok()?),
    ))
}

/// A text with its length in front, so that no two lists of texts are spelled alike.
fn push(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

fn pop(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> Address {
        Address::new(name).expect("valid")
    }

    #[test]
    fn when_a_key_is_made_it_reads_back() {
        let sales = address("Foo.Sales");
        assert_eq!(read_queue(&queue(&sales)), Some(sales.clone()));
        let wanted = Subscription {
            event: "sales.order_placed.v1".to_owned(),
            queue: sales.clone(),
        };
        assert_eq!(read_subscription(&subscription(&wanted)), Some(wanted));
        let key = message(Kind::Body, &sales, 7);
        assert_eq!(read_message(Kind::Body, &key), Some((sales, 7)));
        assert_eq!(read_message(Kind::Message, &key), None);
    }

    #[test]
    fn when_one_name_ends_with_or_begins_another_their_messages_lie_apart() {
        let mut short = message(Kind::Message, &address("Sales"), 0);
        short.truncate(short.len() - 8);
        for name in ["Sales2", "Foo.Sales", "Sales.Foo"] {
            assert!(
                !message(Kind::Message, &address(name), 0).starts_with(&short),
                "{name}"
            );
        }
    }
}
