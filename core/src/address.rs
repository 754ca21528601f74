//! Names of queues and endpoints.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a queue, which is where messages for an endpoint are sent.
///
/// 1 to [`Address::MAX_BYTES`] bytes; no control characters, no white space at either end, and none of the
/// dotted words `*` and `#`, which brokers read as wildcards.
///
/// ```
/// use longhaul_core::address::Address;
/// assert_eq!(Address::new("sales")?.as_str(), "sales");
/// assert!(Address::new("sales.#").is_err());
/// # Ok::<(), longhaul_core::address::InvalidAddress>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

/// The name of an endpoint; its input queue has the same name.
pub type EndpointName = Address;

impl Address {
    /// The longest address in bytes: an AMQP routing key holds 255, and a delay takes 56 of them.
    pub const MAX_BYTES: usize = 199;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// See the rules of the type.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidAddress> {
        let name = name.as_ref();
        let fault = |why| {
            Err(InvalidAddress {
                name: name.chars().take(60).collect(),
                why,
            })
        };
        if name.is_empty() {
            return fault("it is empty");
        }
        if name.len() > Self::MAX_BYTES {
            return fault("it is longer than 199 bytes");
        }
        if name.chars().any(char::is_control) {
            return fault("it contains control characters");
        }
        if name.trim() != name {
            return fault("it begins or ends with white space");
        }
        if name.split('.').any(|word| word == "*" || word == "#") {
            return fault("the words `*` and `#` are wildcards for brokers");
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A text that can't be the name of a queue or endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress {
    name: String,
    why: &'static str,
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use {:?} as the name of a queue: {}", self.name, self.why)
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_name_breaks_a_rule_of_the_brokers_it_is_refused() {
        for name in ["", " sales", "sales\n", "a.*.b", "#", &"x".repeat(200)] {
            assert!(Address::new(name).is_err(), "{name:?}");
        }
        for name in ["sales", "Foo.Sales", "a*b", "日本.注文", &"x".repeat(199)] {
            assert!(Address::new(name).is_ok(), "{name:?}");
        }
    }
}
