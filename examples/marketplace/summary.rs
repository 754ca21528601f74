//! What became of all orders: a table for people, and JSON for programs.

use std::fmt;

use serde::Serialize;

/// The figures. The first is the sum of the next four.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) orders: u64,
    pub(crate) delivered_in_time: u64,
    pub(crate) delivered_late: u64,
    pub(crate) never_delivered: u64,
    pub(crate) cancelled_unpaid: u64,
    pub(crate) vouchers: u64,
    pub(crate) late_payments_refunded: u64,
}

impl Summary {
    /// Whether every order has exactly one ending.
    pub(crate) const fn adds_up(&self) -> bool {
        self.orders
            == self.delivered_in_time + self.delivered_late + self.never_delivered + self.cancelled_unpaid
    }

    /// The figures as JSON, with a line end.
    pub(crate) fn to_json(self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(&self)? + "\n")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("orders", self.orders),
            ("  delivered in time", self.delivered_in_time),
            ("  delivered late", self.delivered_late),
            ("  never delivered", self.never_delivered),
            ("  cancelled, unpaid", self.cancelled_unpaid),
            ("vouchers sent", self.vouchers),
            ("late payments refunded", self.late_payments_refunded),
        ];
        for (name, count) in rows {
            writeln!(f, "{name:<24}{count:>10}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: Summary = Summary {
        orders: 10,
        delivered_in_time: 4,
        delivered_late: 3,
        never_delivered: 2,
        cancelled_unpaid: 1,
        vouchers: 5,
        late_payments_refunded: 1,
    };

    #[test]
    fn when_it_is_written_as_json_the_keys_are_these_and_the_values_integers() {
        assert_eq!(
            SUMMARY.to_json().expect("has a form"),
            "{\n  \"orders\": 10,\n  \"delivered_in_time\": 4,\n  \"delivered_late\": 3,\n  \"never_delivered\": 2,\n  \
             \"cancelled_unpaid\": 1,\n  \"vouchers\": 5,\n  \"late_payments_refunded\": 1\n}\n"
        );
    }

    #[test]
    fn when_an_order_has_no_ending_or_two_it_does_not_add_up() {
        assert!(SUMMARY.adds_up());
        assert!(
            !Summary {
                orders: 11,
                ..SUMMARY
            }
            .adds_up()
        );
        assert!(
            !Summary {
                cancelled_unpaid: 2,
                ..SUMMARY
            }
            .adds_up()
        );
    }
}
