//! What becomes of each order when nothing goes wrong: a function of its number, so that everybody knows it.

/// How an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Paid, shipped, completed.
    Plain,
    /// The card is refused: cancelled.
    CardRefused,
    /// Paid, but out of stock: the money goes back, cancelled.
    OutOfStock,
    /// The answer of shipping comes about when the customer's patience ends. As a rule it is too late, and both parcel and
    /// money come back.
    Slow,
}

/// How the order with that number goes.
pub(crate) const fn kind(order: u64) -> Kind {
    match order % 100 {
        11 | 61 => Kind::Slow,
        rest if rest % 10 == 3 => Kind::CardRefused,
        rest if rest % 10 == 7 => Kind::OutOfStock,
        _ => Kind::Plain,
    }
}

/// What it costs.
pub(crate) const fn cents(order: u64) -> u64 {
    100 + order * 37 % 9_900
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_orders_each_kind_has_its_share() {
        let count = |of: Kind| (1..=100).filter(|order| kind(*order) == of).count();
        assert_eq!(
            [Kind::Plain, Kind::CardRefused, Kind::OutOfStock, Kind::Slow].map(count),
            [78, 10, 10, 2]
        );
    }
}
