//! Names of queues and topics: what an address is called at AWS, and back.
//!
//! SQS takes at most 80 of the characters `A-Z a-z 0-9 - _`. Letters, digits and `-` stay as they are; a dot becomes
//! two underscores; every other byte of the UTF-8 text becomes an underscore and its two hexadecimal digits. So no two
//! addresses share a queue, and the address can be read back. Nothing is cut: a name that is too long is refused.
//!
//! | address | queue |
//! |---|---|
//! | `sales` | `sales` |
//! | `sales.orders` | `sales__orders` |
//! | `order_placed` | `order_5fplaced` |
//! | `größe` | `gr_c3_b6_c3_9fe` |
//! | `sales`, kept in order | `sales.fifo`, and beside it `sales_inlet` |

use std::{collections::BTreeSet, fmt::Write};

use longhaul_core::{
    address::Address,
    transport::{TransportError, TransportErrorKind},
};

/// The longest name of a queue.
pub(crate) const QUEUE_CHARACTERS: usize = 80;
/// What the name of a queue for long delays ends with, after that of the input queue.
pub(crate) const DELAYS: &str = "-delay.fifo";
/// The same without what SQS asks for.
const DELAY: &str = "-delay";
/// What SQS has the name of a FIFO queue end with.
pub(crate) const FIFO: &str = ".fifo";
/// What the name of the inlet of a FIFO queue ends with. No address makes it: `in` are no hexadecimal digits.
pub(crate) const INLET: &str = "_inlet";
/// The longest name of a topic.
const TOPIC_CHARACTERS: usize = 256;

/// Names that start alike, so that several systems can share an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    prefix: String,
    /// Whose queues keep the order of messages.
    ordered: BTreeSet<Address>,
}

impl Names {
    /// Checks the prefix, which is put in front as it is.
    pub(crate) fn new(prefix: impl Into<String>) -> Result<Self, TransportError> {
        let prefix = prefix.into();
        if prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Ok(Self {
                prefix,
                ordered: BTreeSet::new(),
            });
        }
        Err(TransportError::new(
            TransportErrorKind::Configuration,
            format!(
                "use the prefix {prefix:?}: SQS takes only letters of ASCII, digits, `-` and `_`; choose another one"
            ),
        ))
    }

    /// Has these queues keep the order of messages.
    pub(crate) fn ordered(mut self, queues: BTreeSet<Address>) -> Result<Self, TransportError> {
        for address in &queues {
            let name = self.plain(address)?;
            if name.ends_with(DELAY) {
                return Err(TransportError::new(
                    TransportErrorKind::Configuration,
                    format!(
                        "keep the order of `{address}`: its queue `{name}{FIFO}` would be called like one in which delayed \
                         messages go round; choose a name that does not end with `-delay`"
                    ),
                ));
            }
            fits("queue", &name, INLET, QUEUE_CHARACTERS)?;
        }
        self.ordered = queues;
        Ok(self)
    }

    /// Whether the queue of an address keeps the order of messages.
    pub(crate) fn is_ordered(&self, address: &Address) -> bool {
        self.ordered.contains(address)
    }

    /// Whether any queue does.
    pub(crate) fn is_any_ordered(&self) -> bool {
        !self.ordered.is_empty()
    }

    /// What all names begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of an address's queue.
    pub(crate) fn queue(&self, address: &Address) -> Result<String, TransportError> {
        let plain = self.plain(address)?;
        match self.is_ordered(address) {
            true => Ok(format!("{plain}{FIFO}")),
            false => Ok(plain),
        }
    }

    /// The name of an address's queue if it keeps no order.
    pub(crate) fn plain(&self, address: &Address) -> Result<String, TransportError> {
        fits(
            "queue",
            &self.prefix,
            &escaped(address.as_str()),
            QUEUE_CHARACTERS,
        )
    }

    /// The name of the queue beside one that keeps order, which takes what that one can't: delayed messages and events.
    pub(crate) fn inlet(&self, address: &Address) -> Result<String, TransportError> {
        fits("queue", &self.plain(address)?, INLET, QUEUE_CHARACTERS)
    }

    /// The name of the queue in which messages for an address wait that are delayed for longer than SQS keeps.
    pub(crate) fn delays(&self, address: &Address) -> Result<String, TransportError> {
        let full = format!("{}{DELAYS}", self.plain(address)?);
        if full.len() <= QUEUE_CHARACTERS {
            return Ok(full);
        }
        Err(TransportError::new(
            TransportErrorKind::Configuration,
            format!(
                "use the name {:?}: with long delays it has a second queue, `{full}`, which has {} characters of at most \
                 {QUEUE_CHARACTERS}; choose a name of at most {} with the prefix, or do without \
                 SqsBuilder::long_delays",
                address.as_str(),
                full.len(),
                QUEUE_CHARACTERS - DELAYS.len()
            ),
        ))
    }

    /// The names of queues that an address has only if its messages are kept in order where they are not, or the other way
    /// round: what is in one of them waits for ever.
    pub(crate) fn instead_of(&self, address: &Address) -> Result<Vec<String>, TransportError> {
        let plain = self.plain(address)?;
        let mut names = match self.is_ordered(address) {
            true => vec![format!("{plain}{DELAYS}"), plain],
            // Its messages can't be kept in order, and the queue in which those of another one go round is called so.
            false if plain.ends_with(DELAY) => Vec::new(),
            false => vec![format!("{plain}{FIFO}"), format!("{plain}{INLET}")],
        };
        // One that is too long can't be there.
        names.retain(|name| name.len() <= QUEUE_CHARACTERS);
        Ok(names)
    }

    /// The name of an event's topic.
    pub(crate) fn topic(&self, event: &str) -> Result<String, TransportError> {
        fits("topic", &self.prefix, &escaped(event), TOPIC_CHARACTERS)
    }

    /// The address that a queue's name stands for; `None` for one that this rule does not make.
    pub(crate) fn address(&self, queue: &str) -> Option<Address> {
        let name = queue.strip_prefix(self.prefix.as_str())?;
        let (name, is_fifo) = match name.strip_suffix(FIFO) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let address = Address::new(unescaped(name)?).ok()?;
        (self.is_ordered(&address) == is_fifo).then_some(address)
    }
}

fn fits(what: &str, prefix: &str, name: &str, most: usize) -> Result<String, TransportError> {
    let full = format!("{prefix}{name}");
    if full.len() <= most {
        return Ok(full);
    }
    Err(TransportError::new(
        TransportErrorKind::Configuration,
        format!(
            "use the {what} `{full}`: its name has {} characters of at most {most} that SQS and SNS take; choose a shorter one",
            full.len()
        ),
    ))
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'.' => text.push_str("__"),
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => text.push(char::from(byte)),
            // Writing to a text can't fail.
            byte => drop(write!(text, "_{byte:02x}")),
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'_', b'_', rest @ ..] => {
                bytes.push(b'.');
                rest
            }
            [b'_', high, low, rest @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest
            }
            [b'_', ..] => return None,
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() || *byte == b'-' => {
                bytes.push(*byte);
                rest
            }
            // Nothing else is left as it is: a queue for long delays, for one, has no address.
            [_, ..] => return None,
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new("prod-").expect("a good prefix")
    }

    fn queue(address: &str) -> Result<String, TransportErrorKind> {
        let address = Address::new(address).expect("an address");
        names().queue(&address).map_err(|error| error.kind())
    }

    #[test]
    fn when_characters_are_refused_by_sqs_they_are_written_out() {
        assert_eq!(queue("sales").as_deref(), Ok("prod-sales"));
        assert_eq!(queue("sales.orders").as_deref(), Ok("prod-sales__orders"));
        assert_eq!(queue("order_placed").as_deref(), Ok("prod-order_5fplaced"));
        assert_eq!(queue("größe").as_deref(), Ok("prod-gr_c3_b6_c3_9fe"));
        assert_eq!(queue("a._b").as_deref(), Ok("prod-a___5fb"));
        assert_eq!(queue("a_.b").as_deref(), Ok("prod-a_5f__b"));
        assert_eq!(queue("x.fifo").as_deref(), Ok("prod-x__fifo"), "not a FIFO queue");
    }

    #[test]
    fn when_a_name_is_too_long_it_is_refused_and_never_cut() {
        assert_eq!(queue(&"x".repeat(75)).map(|name| name.len()), Ok(80));
        assert_eq!(queue(&"x".repeat(76)), Err(TransportErrorKind::Configuration));
        assert_eq!(queue(&"ß".repeat(13)), Err(TransportErrorKind::Configuration));
    }

    #[test]
    fn when_an_endpoint_takes_long_delays_its_name_may_be_eleven_characters_shorter() {
        let delays = |name: &str| names().delays(&Address::new(name).expect("an address"));
        assert_eq!(
            delays("sales.orders").expect("it fits"),
            "prod-sales__orders-delay.fifo"
        );
        assert_eq!(delays(&"x".repeat(64)).map(|name| name.len()).ok(), Some(80));
        let error = delays(&"x".repeat(65)).expect_err("it is too long");
        assert_eq!(error.kind(), TransportErrorKind::Configuration);
        let text = error.to_string();
        assert!(
            text.contains("81 characters") && text.contains("at most 69"),
            "{text}"
        );
    }

    fn ordered(addresses: &[&str]) -> Result<Names, TransportError> {
        let all = addresses
            .iter()
            .map(|text| Address::new(*text).expect("an address"));
        names().ordered(all.collect())
    }

    #[test]
    fn when_a_queue_keeps_order_its_name_says_so_and_no_other_address_has_it_or_its_inlet() {
        let names = ordered(&["sales.orders"]).expect("it fits");
        let address = Address::new("sales.orders").expect("an address");
        let fifo = "prod-sales__orders.fifo";
        assert_eq!(names.queue(&address).expect("it fits"), fifo);
        assert_eq!(
            names.inlet(&address).expect("it fits"),
            "prod-sales__orders_inlet"
        );
        assert_eq!(names.address(fifo), Some(address));
        let beside = names.instead_of(&Address::new("sales.orders").expect("an address"));
        assert_eq!(
            beside.expect("it fits"),
            ["prod-sales__orders-delay.fifo", "prod-sales__orders"]
        );
        let other = names.instead_of(&Address::new("billing").expect("an address"));
        assert_eq!(
            other.expect("it fits"),
            ["prod-billing.fifo", "prod-billing_inlet"]
        );
        let round = names.instead_of(&Address::new("billing-delay").expect("an address"));
        assert_eq!(round.expect("it fits"), [""; 0], "it belongs to `billing`");
        // A standard queue of that name is somebody else's, and so is what stands beside.
        for foreign in [
            "prod-sales__orders",
            "prod-sales__orders_inlet",
            "prod-billing.fifo",
        ] {
            assert_eq!(names.address(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn when_a_queue_is_to_keep_order_its_inlet_must_fit_and_be_nobody_elses() {
        assert!(ordered(&[&"x".repeat(69)]).is_ok());
        let error = ordered(&[&"x".repeat(70)]).expect_err("81 characters");
        assert!(error.to_string().contains("81 characters"), "{error}");
        let error = ordered(&["sales-delay"]).expect_err("a queue for long delays is called so");
        assert_eq!(error.kind(), TransportErrorKind::Configuration);
    }

    #[test]
    fn when_the_prefix_has_other_characters_it_is_refused() {
        assert!(Names::new("").is_ok());
        for prefix in ["prod.", "größe", "a b"] {
            assert!(Names::new(prefix).is_err(), "{prefix:?}");
        }
    }

    #[test]
    fn when_a_queue_was_not_named_by_this_rule_it_has_no_address() {
        for foreign in [
            "sales",
            "prod-a_",
            "prod-a_zz",
            "prod-a_4",
            "prod-_ff",
            "prod-sales-delay.fifo",
        ] {
            assert_eq!(names().address(foreign), None, "{foreign:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_address_it_can_be_read_back(text in "\\PC{1,12}") {
            let address = Address::new(&text);
            prop_assume!(address.is_ok());
            let address = address.expect("checked");
            if let Ok(name) = names().queue(&address) {
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
                prop_assert_eq!(names().address(&name), Some(address));
            }
        }
    }
}
