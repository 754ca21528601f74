//! Where things lie in the database: one range of keys per endpoint and kind.
//!
//! Every part of a key but the last has its length in front, so that no name is the beginning of another.

use bytes::Bytes;
use longhaul_core::address::EndpointName;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::RecordKey;

/// In front of all keys of all stores, so that others may keep theirs in the same database.
const NAMESPACE: &[u8] = b"store/";

/// The format of the whole: which version wrote it.
const FORMAT: u8 = b'f';
/// What is known of messages, by id.
const INBOX: u8 = b'i';
/// Messages that are done, by the time of it.
const DONE: u8 = b'd';
/// Records, by collection and id.
const RECORD: u8 = b'r';
/// Records that expire, by the time of it.
const EXPIRY: u8 = b'x';
/// Pending rows, by id.
const ROW: u8 = b'p';

/// The keys of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Vec<u8>,
}

impl Keys {
    pub(crate) fn of(endpoint: &EndpointName) -> Self {
        let mut prefix = NAMESPACE.to_vec();
        push_named(&mut prefix, endpoint.as_str());
        Self { prefix }
    }

    pub(crate) fn format(&self) -> Bytes {
        self.range(FORMAT).into()
    }

    pub(crate) fn inbox(&self, id: &MessageId) -> Bytes {
        self.key(INBOX, &[id.as_str().as_bytes()])
    }

    pub(crate) fn all_inbox(&self) -> Vec<u8> {
        self.range(INBOX)
    }

    /// In the order of time. The entry may be out of date: it only says where to look.
    pub(crate) fn done(&self, at: Timestamp, id: &MessageId) -> Bytes {
        self.key(DONE, &[&in_order(at), id.as_str().as_bytes()])
    }

    pub(crate) fn all_done(&self) -> Vec<u8> {
        self.range(DONE)
    }

    /// The end of the range of what was done before `at`.
    pub(crate) fn done_before(&self, at: Timestamp) -> Vec<u8> {
        self.key(DONE, &[&in_order(at)]).into()
    }

    /// The time and the id in a key of the range.
    pub(crate) fn parse_done(&self, key: &[u8]) -> Option<(Timestamp, MessageId)> {
        let (at, id) = self.after_range(key)?.split_first_chunk()?;
        let id = MessageId::new(std::str::from_utf8(id).ok()?).ok()?;
        Some((from_order(*at), id))
    }

    pub(crate) fn record(&self, key: &RecordKey) -> Bytes {
        let mut bytes = self.collection(&key.collection);
        bytes.extend_from_slice(key.id.as_bytes());
        bytes.into()
    }

    /// The range of the records of one collection, in the order of their ids.
    pub(crate) fn collection(&self, collection: &str) -> Vec<u8> {
        let mut bytes = self.range(RECORD);
        push_named(&mut bytes, collection);
        bytes
    }

    pub(crate) fn all_records(&self) -> Vec<u8> {
        self.range(RECORD)
    }

    /// In the order of time. The entry may be out of date: it only says where to look.
    pub(crate) fn expiry(&self, at: Timestamp, key: &RecordKey) -> Bytes {
        let mut bytes = self.range(EXPIRY);
        bytes.extend_from_slice(&in_order(at));
        push_named(&mut bytes, &key.collection);
        bytes.extend_from_slice(key.id.as_bytes());
        bytes.into()
    }

    pub(crate) fn all_expiries(&self) -> Vec<u8> {
        self.range(EXPIRY)
    }

    /// The end of the range of what has expired at `now`.
    pub(crate) fn expired_at(&self, now: Timestamp) -> Vec<u8> {
        let after = Timestamp::from_micros(now.as_micros().saturating_add(1));
        if after == now {
            // The last moment there is: everything has expired.
            return self.range(EXPIRY + 1);
        }
        self.key(EXPIRY, &[&in_order(after)]).into()
    }

    /// The time and the record in a key of the range.
    pub(crate) fn parse_expiry(&self, key: &[u8]) -> Option<(Timestamp, RecordKey)> {
        let (at, rest) = self.after_range(key)?.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (collection, id) = rest.split_at_checked(usize::from(*length))?;
        let key = RecordKey::new(
            std::str::from_utf8(collection).ok()?,
            std::str::from_utf8(id).ok()?,
        );
        Some((from_order(*at), key))
    }

    pub(crate) fn row(&self, id: &MessageId) -> Bytes {
        self.key(ROW, &[id.as_str().as_bytes()])
    }

    pub(crate) fn all_rows(&self) -> Vec<u8> {
        self.range(ROW)
    }

    /// The id at the end of a key whose only part it is.
    pub(crate) fn parse_id(&self, key: &[u8]) -> Option<MessageId> {
        MessageId::new(std::str::from_utf8(self.after_range(key)?).ok()?).ok()
    }

    fn range(&self, kind: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.prefix.len() + 64);
        bytes.extend_from_slice(&self.prefix);
        bytes.push(kind);
        bytes
    }

    fn key(&self, kind: u8, parts: &[&[u8]]) -> Bytes {
        let mut bytes = self.range(kind);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.into()
    }

    fn after_range<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.get(self.prefix.len() + 1..)
    }
}

/// A name with its length in front. Names are at most 200 bytes long.
fn push_named(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name.as_bytes());
}

/// A time as bytes that are in order as the times are.
fn in_order(at: Timestamp) -> [u8; 8] {
    (at.as_micros() ^ i64::MIN).to_be_bytes()
}

fn from_order(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(bytes) ^ i64::MIN)
}

#[cfg(test)]
mod tests {
    use longhaul_core::address::Address;

    use super::*;

    fn keys(name: &str) -> Keys {
        Keys::of(&Address::new(name).expect("a good name"))
    }

    #[test]
    fn when_one_name_begins_like_another_neither_range_holds_the_other() {
        let (short, long) = (keys("a"), keys("ab"));
        assert!(
            !long
                .all_rows()
                .starts_with(&short.all_rows()[..short.all_rows().len() - 1])
        );
        assert!(!keys("a").collection("bc").starts_with(&keys("a").collection("b")));
        let one = keys("a").record(&RecordKey::new("b", "cd"));
        assert_ne!(one, keys("a").record(&RecordKey::new("bc", "d")));
    }

    #[test]
    fn when_a_time_is_earlier_its_key_comes_first() {
        let times = [
            Timestamp::MIN,
            Timestamp::from_micros(-1),
            Timestamp::UNIX_EPOCH,
            Timestamp::MAX,
        ];
        for pair in times.windows(2) {
            assert!(in_order(pair[0]) < in_order(pair[1]));
        }
        times
            .iter()
            .for_each(|time| assert_eq!(from_order(in_order(*time)), *time));
    }

    #[test]
    fn when_a_key_holds_a_time_it_is_read_back() {
        let keys = keys("sales");
        let id = MessageId::new("m/1").expect("a good id");
        let at = Timestamp::from_micros(7);
        assert_eq!(keys.parse_done(&keys.done(at, &id)), Some((at, id.clone())));
        let record = RecordKey::new("order", "7/8");
        assert_eq!(keys.parse_expiry(&keys.expiry(at, &record)), Some((at, record)));
        assert_eq!(keys.parse_id(&keys.row(&id)), Some(id));
        assert!(keys.done(at, &MessageId::new("x").expect("a good id")) > keys.done_before(at));
        assert!(keys.expiry(at, &RecordKey::new("\u{10ffff}", "")) < keys.expired_at(at));
        assert!(
            keys.expiry(Timestamp::MAX, &RecordKey::new("\u{10ffff}", "")) < keys.expired_at(Timestamp::MAX)
        );
    }

    #[test]
    fn when_all_names_are_as_long_as_can_be_the_key_fits_the_engine() {
        let keys = keys(&"e".repeat(Address::MAX_BYTES));
        let longest = RecordKey::new(
            "c".repeat(RecordKey::MAX_COLLECTION_BYTES),
            "i".repeat(RecordKey::MAX_ID_BYTES),
        );
        let bytes = keys.expiry(Timestamp::MAX, &longest).len();
        assert!(bytes <= longhaul_embedded::Options::MAX_KEY_BYTES, "{bytes}");
    }
}
