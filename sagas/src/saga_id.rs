//! What names one instance of a saga.

use std::borrow::Cow;
use std::sync::Arc;

use longhaul_core::handler::{HandlerError, HandlerResult};
use longhaul_core::ids::MessageId;
use longhaul_core::reason::Reason;
use uuid::Uuid;

/// The longest id in bytes.
pub(crate) const MAX_ID_BYTES: usize = 200;

/// What can name an instance of a saga: a UUID, a text, a whole number, or a newtype of one of those.
///
/// Two ids are the same if their keys are the same, byte by byte. A key is 1 to 200 bytes long and holds no control
/// characters; a message with another one is unreadable.
///
/// ```
/// use longhaul_sagas::{SagaId, saga_id};
///
/// struct OrderId(u64);
/// saga_id!(OrderId);
///
/// assert_eq!(OrderId(42).to_key(), "42");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't name an instance of a saga",
    label = "not a saga id",
    note = "an id is a `Uuid`, a `String`, a whole number, or a newtype of one of those: for \
            `struct {Self}(Uuid);` write `saga_id!({Self});`"
)]
pub trait SagaId: 'static {
    /// The text that stands for the id in stores and headers.
    fn to_key(&self) -> Cow<'_, str>;
}

/// Makes newtypes of a UUID, a text or a whole number usable as [`SagaId`].
///
/// ```
/// # use longhaul_sagas::saga_id;
/// struct OrderId(String);
/// struct CustomerId(u32);
/// saga_id!(OrderId, CustomerId);
/// ```
#[macro_export]
macro_rules! saga_id {
    ($($newtype:ty),+ $(,)?) => {$(
        impl $crate::SagaId for $newtype {
            fn to_key(&self) -> ::std::borrow::Cow<'_, str> {
                $crate::SagaId::to_key(&self.0)
            }
        }
    )+};
}

macro_rules! text_ids {
    ($($text:ty),+) => {$(
        impl SagaId for $text {
            fn to_key(&self) -> Cow<'_, str> {
                let text: &str = self;
                Cow::Borrowed(text)
            }
        }
    )+};
}

macro_rules! printed_ids {
    ($($id:ty),+) => {$(
        impl SagaId for $id {
            fn to_key(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        }
    )+};
}

text_ids!(String, Box<str>, Arc<str>);
printed_ids!(
    Uuid, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
);

impl SagaId for MessageId {
    fn to_key(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

/// What a correlation closure returns: an id, or an `Option` of one where a message may carry none.
#[diagnostic::on_unimplemented(
    message = "the closure finds the instance by `{Self}`, but the saga's `type Id` is `{Id}`",
    label = "not the saga's id",
    note = "return the saga's `type Id` (or an `Option` of it) from the closure: `|m: &OrderPlaced| m.order`"
)]
pub trait Correlation<Id: SagaId>: 'static {
    /// The id, if the message carries one.
    fn into_id(self) -> Option<Id>;
}

impl<Id: SagaId> Correlation<Id> for Id {
    fn into_id(self) -> Option<Id> {
        Some(self)
    }
}

impl<Id: SagaId> Correlation<Id> for Option<Id> {
    fn into_id(self) -> Self {
        self
    }
}

/// The key, if it is one that an instance can have.
pub(crate) fn checked_key(key: Option<String>, saga: &str, message: &str) -> HandlerResult<String> {
    let Some(key) = key else {
        let text = format!(
            "find the instance of {saga} for {message}: it has no id; is it sent by code that knows this saga?"
        );
        return Err(HandlerError::unreadable(Reason::NoCorrelation, text));
    };
    check_key(&key, saga, message)?;
    Ok(key)
}

/// Refuses a key that no instance can have, wherever in a message it comes from.
pub(crate) fn check_key(key: &str, saga: &str, message: &str) -> HandlerResult {
    let fault = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_ID_BYTES {
        "is longer than 200 bytes"
    } else if key.chars().any(char::is_control) {
        "contains control characters"
    } else {
        return Ok(());
    };
    let text = format!("find the instance of {saga} for {message}: the id in it {fault}");
    Err(HandlerError::unreadable(Reason::BadCorrelation, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(key: Option<&str>) -> Reason {
        checked_key(key.map(str::to_owned), "order", "a.b.v1")
            .expect_err("must be refused")
            .reason()
    }

    #[test]
    fn when_an_id_is_a_uuid_a_text_a_number_or_a_newtype_it_has_a_key() {
        struct OrderId(Uuid);
        saga_id!(OrderId);
        assert_eq!(
            OrderId(Uuid::nil()).to_key(),
            "00000000-0000-0000-0000-000000000000"
        );
        assert_eq!("a b".to_owned().to_key(), "a b");
        assert_eq!((-7_i64).to_key(), "-7");
    }

    #[test]
    fn when_a_message_has_no_id_the_reason_is_no_correlation() {
        assert_eq!(reason(None), Reason::NoCorrelation);
    }

    #[test]
    fn when_an_id_is_empty_too_long_or_holds_control_characters_the_reason_is_bad_correlation() {
        for key in ["", "a\0b", "a\r\nb", &"x".repeat(201)] {
            assert_eq!(reason(Some(key)), Reason::BadCorrelation, "{key:?}");
        }
        assert!(checked_key(Some("x".repeat(200)), "order", "a.b.v1").is_ok());
        assert!(checked_key(Some("'; DROP TABLE sagas; 🚚".to_owned()), "order", "a.b.v1").is_ok());
    }
}
