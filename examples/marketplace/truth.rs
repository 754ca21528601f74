//! What must come out, computed straight from the file: the rules once more, without messages, sagas and time.

use crate::orders::Order;
use crate::saga::PAY_WITHIN;
use crate::summary::Summary;

/// What must become of these orders.
pub(crate) fn of(orders: &[Order]) -> Summary {
    let mut summary = Summary::default();
    for order in orders {
        add(&mut summary, order);
    }
    summary
}

fn add(summary: &mut Summary, order: &Order) {
    summary.orders += 1;
    let pay_by = order.purchased + PAY_WITHIN;
    let paid = order.approved.is_some_and(|at| at <= pay_by);
    let delivered_before_payment_was_due = order.delivered.is_some_and(|at| at <= pay_by);
    if !paid && !delivered_before_payment_was_due {
        summary.cancelled_unpaid += 1;
        // An approval at all is one after the deadline; a delivery changes nothing any more.
        summary.late_payments_refunded += u64::from(order.approved.is_some());
        return;
    }
    let in_time = order.delivered.is_some_and(|at| at <= order.estimated);
    match order.delivered {
        Some(_) if in_time => summary.delivered_in_time += 1,
        Some(_) => summary.delivered_late += 1,
        None => summary.never_delivered += 1,
    }
    summary.vouchers += u64::from(!in_time);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longhaul::clock::Timestamp;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    const MICRO: Duration = Duration::from_micros(1);

    const IN_TIME: Summary = Summary {
        orders: 1,
        delivered_in_time: 1,
        ..NONE
    };
    const LATE: Summary = Summary {
        orders: 1,
        delivered_late: 1,
        vouchers: 1,
        ..NONE
    };
    const NEVER: Summary = Summary {
        orders: 1,
        never_delivered: 1,
        vouchers: 1,
        ..NONE
    };
    const CANCELLED: Summary = Summary {
        orders: 1,
        cancelled_unpaid: 1,
        ..NONE
    };
    const REFUNDED: Summary = Summary {
        late_payments_refunded: 1,
        ..CANCELLED
    };
    const NONE: Summary = Summary {
        orders: 0,
        delivered_in_time: 0,
        delivered_late: 0,
        never_delivered: 0,
        cancelled_unpaid: 0,
        vouchers: 0,
        late_payments_refunded: 0,
    };

    /// The truth about an order with these events, so long after its purchase; expected on day 10 unless said otherwise.
    fn truth(approved: Option<Duration>, delivered: Option<Duration>, estimated: Duration) -> Summary {
        let purchased = Timestamp::parse("2018-01-01T10:00:00Z").expect("a time");
        of(&[Order {
            id: String::from("a"),
            purchased,
            approved: approved.map(|after| purchased + after),
            shipped: None,
            delivered: delivered.map(|after| purchased + after),
            estimated: purchased + estimated,
        }])
    }

    #[test]
    fn when_the_approval_comes_at_the_deadline_it_counts_and_a_moment_later_it_does_not() {
        assert_eq!(truth(Some(DAY * 3), Some(DAY * 5), DAY * 10), IN_TIME);
        assert_eq!(truth(Some(DAY * 3 + MICRO), Some(DAY * 5), DAY * 10), REFUNDED);
    }

    #[test]
    fn when_it_is_delivered_by_the_payment_deadline_no_approval_is_needed() {
        assert_eq!(truth(None, Some(DAY * 3), DAY * 10), IN_TIME);
        assert_eq!(truth(None, Some(DAY * 3 + MICRO), DAY * 10), CANCELLED);
    }

    #[test]
    fn when_it_is_delivered_at_the_estimated_time_it_is_in_time_and_a_moment_later_it_is_late() {
        assert_eq!(truth(Some(HOUR), Some(DAY * 10), DAY * 10), IN_TIME);
        assert_eq!(truth(Some(HOUR), Some(DAY * 10 + MICRO), DAY * 10), LATE);
    }

    #[test]
    fn when_it_is_never_delivered_there_is_a_voucher() {
        assert_eq!(truth(Some(HOUR), None, DAY * 10), NEVER);
    }

    #[test]
    fn when_it_is_never_paid_there_is_neither_voucher_nor_refund() {
        assert_eq!(truth(None, None, DAY * 10), CANCELLED);
    }

    #[test]
    fn when_a_delivered_order_is_approved_too_late_nothing_is_refunded() {
        assert_eq!(truth(Some(DAY * 20), Some(DAY * 2), DAY * 10), IN_TIME);
    }

    #[test]
    fn when_a_cancelled_order_is_delivered_all_the_same_it_stays_cancelled() {
        assert_eq!(truth(Some(DAY * 4), Some(DAY * 5), DAY * 10), REFUNDED);
        assert_eq!(truth(Some(DAY * 6), Some(DAY * 5), DAY * 10), REFUNDED);
    }

    #[test]
    fn when_the_estimated_time_comes_before_the_payment_deadline_the_voucher_waits_for_the_decision() {
        assert_eq!(truth(None, None, DAY), CANCELLED, "cancelled: no voucher");
        assert_eq!(truth(Some(DAY * 2), None, DAY), NEVER);
        assert_eq!(truth(None, Some(DAY), DAY), IN_TIME);
        assert_eq!(truth(None, Some(DAY * 2), DAY), LATE);
        assert_eq!(truth(Some(DAY * 4), None, DAY), REFUNDED);
    }
}
