//! Long delays on an unmodified RabbitMQ: the delay in binary, one wait per bit that is set.
//!
//! A delay of 42 units is 101010 in binary: a wait of 32, one of 8 and one of 2. Every bit has a queue of its own in
//! which all messages have the same time to live, so they expire in the order in which they came and nothing blocks
//! behind a longer delay. The bits travel in the routing key, ahead of the address, and topic bindings walk them.
//!
//! This module is names, arguments and arithmetic; it talks to no broker. The layout is NServiceBus's, with two
//! differences: a destination is bound with one `*` per bit instead of `#`, so that `Foo.Sales` never reaches `Sales`,
//! and what nobody is bound for goes to a queue of its own instead of stopping its level for everybody.

use std::{fmt, time::Duration};

use crate::plan::{
    Argument, Binding, Exchange, ExchangeKind, Plan, Queue, bind_exchange, bind_queue, exchange,
    quorum_queue, text,
};

/// The number of levels: 2^28 − 1 seconds are 8.5 years.
const LEVELS: u8 = 28;

/// What AMQP allows in a routing key, in bytes.
const ROUTING_KEY_BYTES: usize = 255;

/// The delay levels on a broker: their names, arguments, bindings and arithmetic.
///
/// ```
/// use longhaul_rabbitmq::DelayTopology;
///
/// let delays = DelayTopology::new("longhaul");
/// let route = delays.route(42, "billing").unwrap().expect("42 units are not now");
/// assert_eq!(route.exchange, "longhaul.delay-level-05");
/// assert!(route.routing_key.ends_with("1.0.1.0.1.0.billing"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayTopology {
    prefix: String,
    unit: Duration,
    levels: u8,
}

/// Where a delayed message is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayRoute {
    /// The exchange of the level of the highest bit that is set.
    pub exchange: String,
    /// The bits, most significant first, each followed by a dot, then the address.
    pub routing_key: String,
}

impl DelayTopology {
    /// Levels of one second and up, with names that start with this prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            unit: Duration::from_secs(1),
            levels: LEVELS,
        }
    }

    /// Another unit than a second, rounded up to whole milliseconds, which is what queues count in: tests wait for 42 units of 20 ms.
    ///
    /// Topologies with different units need different prefixes.
    #[must_use]
    pub fn with_unit(mut self, unit: Duration) -> Self {
        let millis = u64::try_from(unit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.unit = Duration::from_millis(millis.max(1));
        self
    }

    /// The prefix of every name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How long one unit is.
    pub fn unit(&self) -> Duration {
        self.unit
    }

    /// The longest delay that one trip through the levels takes.
    pub fn longest(&self) -> Duration {
        self.unit * self.most_units()
    }

    /// How many units a delay takes, rounded up, so that nothing comes early.
    pub fn units(&self, delay: Duration) -> u64 {
        let units = delay.as_nanos().div_ceil(self.unit.as_nanos());
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Where to publish a message that waits for this many units.
    ///
    /// `None` for zero units: such a message goes straight to its queue.
    ///
    /// # Errors
    ///
    /// The delay is longer than [`longest`](Self::longest), or the address does not fit.
    pub fn route(&self, units: u64, address: &str) -> Result<Option<DelayRoute>, DelayError> {
        self.check_address(address)?;
        let units = u32::try_from(units)
            .ok()
            .filter(|units| *units <= self.most_units())
            .ok_or(DelayError::TooLong {
                units,
                most: self.most_units(),
            })?;
        Ok(units.checked_ilog2().map(|start| DelayRoute {
            exchange: self.level_name(start),
            routing_key: self.routing_key(units, address),
        }))
    }

    /// The bits of a delay, most significant first, each followed by a dot, then the address.
    fn routing_key(&self, units: u32, address: &str) -> String {
        let mut key = String::with_capacity(self.address_offset() + address.len());
        for level in (0..self.levels).rev() {
            key.push(if units >> level & 1 == 1 { '1' } else { '0' });
            key.push('.');
        }
        key.push_str(address);
        key
    }

    /// Reads a routing key back: the units and the address.
    ///
    /// The address starts at a fixed place and may hold dots.
    ///
    /// # Errors
    ///
    /// The key does not start with one bit and one dot per level.
    pub fn parse<'a>(&self, routing_key: &'a str) -> Result<(u32, &'a str), DelayError> {
        let (bits, address) = routing_key
            .split_at_checked(self.address_offset())
            .filter(|(_, address)| !address.is_empty())
            .ok_or(DelayError::NotADelayKey)?;
        let mut units = 0_u32;
        for pair in bits.as_bytes().chunks_exact(2) {
            units = match pair {
                b"0." => units << 1,
                b"1." => units << 1 | 1,
                _ => return Err(DelayError::NotADelayKey),
            };
        }
        Ok((units, address))
    }

    /// Checks that an address can be the destination of a delayed message.
    ///
    /// # Errors
    ///
    /// It is empty, longer than the routing key leaves room for (199 bytes), or holds the word `*` or `#`, which a
    /// topic exchange takes for a wildcard.
    pub fn check_address(&self, address: &str) -> Result<(), DelayError> {
        let most = ROUTING_KEY_BYTES - self.address_offset();
        if address.is_empty() {
            return Err(DelayError::EmptyAddress);
        }
        if address.len() > most {
            return Err(DelayError::AddressTooLong {
                bytes: address.len(),
                most,
            });
        }
        if address.split('.').any(|word| word == "*" || word == "#") {
            return Err(DelayError::Wildcard);
        }
        Ok(())
    }

    /// The binding that brings delayed messages to their queue.
    pub fn destination_binding(&self, address: &str) -> Binding {
        let pattern = format!("{}{address}", "*.".repeat(usize::from(self.levels)));
        bind_queue(address, self.delivery_exchange(), pattern)
    }

    /// The longest that a message which waits in this level can still wait: there, and in the levels below that its units name.
    pub(crate) fn remaining(&self, units: u32, level: u32) -> Duration {
        let below = 2_u32.checked_shl(level).map_or(u32::MAX, |above| above - 1);
        self.unit * (units & below)
    }

    /// The exchange and queue of a level, by the same name.
    pub fn level_name(&self, level: u32) -> String {
        format!("{}.delay-level-{level:02}", self.prefix)
    }

    /// The exchange that hands messages to their destination once they have waited.
    pub fn delivery_exchange(&self) -> String {
        format!("{}.delay-delivery", self.prefix)
    }

    /// The exchange and queue of messages whose destination has no binding (any more), by the same name.
    pub fn undeliverable(&self) -> String {
        format!("{}.delay-undeliverable", self.prefix)
    }

    /// Everything that has to exist on the broker, apart from the bindings of the destinations.
    pub fn plan(&self) -> Plan {
        Plan {
            exchanges: self.exchanges(),
            queues: self.queues(),
            bindings: self.bindings(),
        }
    }

    fn exchanges(&self) -> Vec<Exchange> {
        let mut delivery = exchange(self.delivery_exchange(), ExchangeKind::Topic);
        delivery.arguments = vec![("alternate-exchange", text(self.undeliverable()))];
        let mut all = vec![exchange(self.undeliverable(), ExchangeKind::Fanout), delivery];
        all.extend(
            self.each_level()
                .map(|level| exchange(self.level_name(level), ExchangeKind::Topic)),
        );
        all
    }

    fn queues(&self) -> Vec<Queue> {
        let mut all = vec![quorum_queue(self.undeliverable(), Vec::new())];
        all.extend(self.each_level().map(|level| {
            // No dead-letter routing key: the key with the bits and the address must survive every hop.
            quorum_queue(
                self.level_name(level),
                vec![
                    ("x-message-ttl", Argument::Integer(self.time_to_live(level))),
                    ("x-dead-letter-exchange", text(self.below(level))),
                    ("x-dead-letter-strategy", text("at-least-once")),
                    ("x-overflow", text("reject-publish")),
                ],
            )
        }));
        all
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut all = vec![bind_queue(self.undeliverable(), self.undeliverable(), "")];
        for level in self.each_level() {
            let name = self.level_name(level);
            let bits_above = u32::from(self.levels) - 1 - level;
            let pattern = |bit: char| format!("{}{bit}.#", "*.".repeat(bits_above as usize));
            all.push(bind_queue(&name, &name, pattern('1')));
            all.push(bind_exchange(self.below(level), &name, pattern('0')));
        }
        all
    }

    /// The exchange that a level passes messages on to.
    fn below(&self, level: u32) -> String {
        match level.checked_sub(1) {
            Some(next) => self.level_name(next),
            None => self.delivery_exchange(),
        }
    }

    /// How long messages stay in a level, in milliseconds: over 32 bits from level 22 on.
    fn time_to_live(&self, level: u32) -> i64 {
        let unit = i64::try_from(self.unit.as_millis()).unwrap_or(i64::MAX);
        unit.saturating_mul(1 << level)
    }

    pub(crate) fn each_level(&self) -> impl Iterator<Item = u32> {
        0..u32::from(self.levels)
    }

    fn most_units(&self) -> u32 {
        (1 << self.levels) - 1
    }

    /// Where the address starts in a routing key, in bytes.
    fn address_offset(&self) -> usize {
        usize::from(self.levels) * 2
    }
}

/// Why a delay or an address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DelayError {
    /// No address.
    EmptyAddress,
    /// The address does not fit behind the bits.
    AddressTooLong {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// The address holds a word that a topic exchange takes for a wildcard.
    Wildcard,
    /// The delay has more bits than there are levels.
    TooLong {
        /// The units asked for.
        units: u64,
        /// The units possible.
        most: u32,
    },
    /// A routing key that does not start with the bits of a delay.
    NotADelayKey,
}

impl fmt::Display for DelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyAddress => f.write_str("route a delayed message without an address: name its queue"),
            Self::AddressTooLong { bytes, most } => {
                write!(f, "fit an address of {bytes} bytes into a routing key: use a queue name of at most {most} bytes")
            }
            Self::Wildcard => f.write_str(
                "use an address with the word '*' or '#', which match any word in a binding: choose another queue name",
            ),
            Self::TooLong { units, most } => {
                write!(f, "delay by {units} units: send at most {most} at a time and chain the rest")
            }
            Self::NotADelayKey => f.write_str("read a delay from a routing key that does not start with its bits"),
        }
    }
}

impl std::error::Error for DelayError {}
