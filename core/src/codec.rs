//! How bodies are written and read: a seam, and JSON as its default.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::reason::Reason;

/// Writes and reads bodies of one content type. Object safe.
///
/// Encoding the same value twice gives the same bytes, in every process and version: ids and bytes of a message
/// must not change between retries. Decoding never panics and never allocates without a bound.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// The media type, as it stands in the header.
    fn content_type(&self) -> &'static str;

    /// Writes a value.
    ///
    /// # Errors
    /// The value has no form in this content type.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, CodecError>;

    /// Checks `body` and hands a deserializer over it to `visit`, once.
    ///
    /// # Errors
    /// [`Reason::BadBody`] or [`Reason::TooDeep`].
    fn decode(&self, body: &[u8], visit: &mut Visit<'_>) -> Result<(), CodecError>;
}

/// What [`Codec::decode`] calls with a deserializer over the body.
pub type Visit<'a> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> + 'a;

/// Writes a value with a codec.
///
/// # Errors
/// See [`Codec::encode`].
pub fn encode<T: Serialize>(codec: &dyn Codec, value: &T) -> Result<Bytes, CodecError> {
    codec.encode(value)
}

/// Reads a value with a codec.
///
/// ```
/// use longhaul_core::codec::{decode, JsonCodec};
/// let numbers: Vec<u8> = decode(&JsonCodec::default(), b"[1,2]")?;
/// assert_eq!(numbers, [1, 2]);
/// # Ok::<(), longhaul_core::codec::CodecError>(())
/// ```
///
/// # Errors
/// See [`Codec::decode`].
pub fn decode<T: DeserializeOwned>(codec: &dyn Codec, body: &[u8]) -> Result<T, CodecError> {
    let mut value = None;
    codec.decode(body, &mut |deserializer| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    })?;
    value.ok_or_else(|| CodecError::new(Reason::BadBody, "the codec read nothing"))
}

/// A body that can't be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError {
    reason: Reason,
    detail: String,
}

impl CodecError {
    /// A reason with the detail for people.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// The word for programs.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read or write the body ({}): {}", self.reason, self.detail)
    }
}

impl std::error::Error for CodecError {}

/// JSON (RFC 8259), strictly: no key twice in one object, no byte-order mark, no lone surrogates, bounded depth.
///
/// Unknown fields are accepted unless the type refuses them (`#[serde(deny_unknown_fields)]`).
#[derive(Debug, Clone, Copy)]
pub struct JsonCodec {
    max_depth: usize,
}

impl JsonCodec {
    /// JSON with nesting up to `max_depth`, at most 100.
    #[must_use]
    pub fn with_max_depth(max_depth: usize) -> Self {
        Self {
            max_depth: max_depth.min(100),
        }
    }
}

impl Default for JsonCodec {
    fn default() -> Self {
        Self::with_max_depth(64)
    }
}

impl Codec for JsonCodec {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, CodecError> {
        let bytes =
            serde_json::to_vec(value).map_err(|fault| CodecError::new(Reason::BadBody, fault.to_string()))?;
        Ok(Bytes::from(bytes))
    }

    fn decode(&self, body: &[u8], visit: &mut Visit<'_>) -> Result<(), CodecError> {
        check(body, self.max_depth)?;
        let mut json = serde_json::Deserializer::from_slice(body);
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(&mut json);
        visit(&mut erased).map_err(|fault| CodecError::new(Reason::BadBody, fault.to_string()))
    }
}

/// One pass over the whole text: syntax, depth, duplicate keys, nothing after the end.
fn check(body: &[u8], max_depth: usize) -> Result<(), CodecError> {
    let mut too_deep = false;
    let mut json = serde_json::Deserializer::from_slice(body);
    let checked = Check {
        left: max_depth,
        too_deep: &mut too_deep,
    }
    .deserialize(&mut json)
    .and_then(|()| json.end());
    checked.map_err(|fault| match too_deep {
        true => CodecError::new(Reason::TooDeep, format!("it is nested deeper than {max_depth}")),
        false => CodecError::new(Reason::BadBody, fault.to_string()),
    })
}

struct Check<'a> {
    left: usize,
    too_deep: &'a mut bool,
}

impl Check<'_> {
    fn deeper<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        self.left.checked_sub(1).ok_or_else(|| {
            *self.too_deep = true;
            E::custom("too deep")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let left = self.deeper()?;
        while items
            .next_element_seed(Check {
                left,
                too_deep: self.too_deep,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let left = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!(
                    "the key {key:?} stands twice"
                )));
            }
            seen.insert(key);
            entries.next_value_seed(Check {
                left,
                too_deep: self.too_deep,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &[u8]) -> Reason {
        decode::<serde_json::Value>(&JsonCodec::default(), body)
            .expect_err("must be refused")
            .reason()
    }

    #[test]
    fn when_the_body_is_not_strict_json_it_is_refused() {
        for body in [
            &b""[..],
            b"<xml/>",
            b"\xef\xbb\xbf{}",
            br#"{"a":1,"a":2}"#,
            br#"{"a":{"b":1,"b":1}}"#,
            b"[NaN]",
            b"[Infinity]",
            br#"["\ud800"]"#,
            b"{} {}",
            b"[1,]",
            b"\xff",
        ] {
            assert_eq!(reason(body), Reason::BadBody, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn when_the_body_is_nested_too_deep_it_is_refused_without_overflowing_the_stack() {
        for depth in [65, 200, 100_000] {
            let body = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(reason(body.as_bytes()), Reason::TooDeep, "{depth}");
        }
        let body = "[".repeat(64) + &"]".repeat(64);
        assert!(decode::<serde_json::Value>(&JsonCodec::default(), body.as_bytes()).is_ok());
    }

    #[test]
    fn when_a_field_is_unknown_the_type_decides() {
        #[derive(serde::Deserialize)]
        struct Lenient {
            a: u8,
        }
        #[derive(serde::Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            #[expect(dead_code, reason = "only read")]
            a: u8,
        }
        let body = br#"{"a":1,"b":2}"#;
        assert_eq!(
            decode::<Lenient>(&JsonCodec::default(), body)
                .expect("accepted")
                .a,
            1
        );
        assert_eq!(
            decode::<Strict>(&JsonCodec::default(), body)
                .expect_err("refused")
                .reason(),
            Reason::BadBody
        );
    }

    #[test]
    fn when_the_seam_is_used_as_an_object_it_compiles() {
        let codec: &dyn Codec = &JsonCodec::default();
        assert_eq!(&encode(codec, &1).expect("encodes")[..], b"1");
    }
}
