//! What must be true of orders at the end.

use longhaul_sagas::Outcome;

use super::{Archived, Books, OrderSaga, PlaceOrder, RefundCard, ReleaseStock, Stock};
use crate::effects::Effects;

pub(super) fn ended_once(effects: &Effects) -> Result<(), String> {
    for order in placed(effects) {
        let outcome = effects
            .instance::<OrderSaga>("sales", &order)
            .and_then(|instance| instance.outcome);
        if outcome.is_none() {
            return Err(format!("order {order} has no outcome"));
        }
    }
    Ok(())
}

pub(super) fn archived_once(effects: &Effects) -> Result<(), String> {
    for order in placed(effects) {
        let instance = effects.instance::<Archived>("archive", &order);
        let state = instance.and_then(|instance| instance.state);
        let archived = state.map(|state| serde_json::from_str::<Archived>(&state));
        let archived = archived.transpose().map_err(|error| error.to_string())?;
        let ends = archived.map(|archived| archived.ends).unwrap_or_default();
        // An archive that has never been up has subscribed to nothing.
        if !ends.is_empty() && ends != [has_completed(effects, order)] {
            return Err(format!("the ends of order {order} in the archive are {ends:?}"));
        }
    }
    Ok(())
}

/// The orders that were asked for.
fn placed(effects: &Effects) -> Vec<u64> {
    let placed = effects.messages::<PlaceOrder>().into_iter();
    placed.map(|placed| placed.order).collect()
}

fn has_completed(effects: &Effects, order: u64) -> bool {
    let instance = effects.instance::<OrderSaga>("sales", &order);
    instance.and_then(|instance| instance.outcome) == Some(Outcome::Completed)
}

/// The money of one order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Money {
    order: u64,
    completed: bool,
    charges: usize,
    refunds: usize,
}

pub(super) fn money(effects: &Effects) -> Vec<Money> {
    let of_order = |order: u64| {
        let about = order.to_string();
        Money {
            order,
            completed: has_completed(effects, order),
            charges: effects.count("charge", &about),
            refunds: effects.count("refund", &about),
        }
    };
    placed(effects).into_iter().map(of_order).collect()
}

/// Who completed paid once, and who did not got back what they paid, and not more.
pub(super) fn balanced(orders: &[Money]) -> Result<(), String> {
    for &Money {
        order,
        completed,
        charges,
        refunds,
    } in orders
    {
        if charges > 1 || refunds > charges {
            return Err(format!(
                "order {order} was charged {charges} times and refunded {refunds} times"
            ));
        }
        if completed && (charges, refunds) != (1, 0) {
            return Err(format!(
                "order {order} completed with {charges} charges and {refunds} refunds"
            ));
        }
        if !completed && charges > refunds {
            return Err(format!("order {order} was cancelled, and its money kept"));
        }
    }
    Ok(())
}

pub(super) fn undone_in_reverse(effects: &Effects) -> Result<(), String> {
    for order in placed(effects) {
        let refunded = effects
            .sent()
            .position(|sent| sent.read::<RefundCard>().is_some_and(|m| m.order == order));
        let released = effects
            .sent()
            .position(|sent| sent.read::<ReleaseStock>().is_some_and(|m| m.order == order));
        if let (Some(refunded), Some(released)) = (refunded, released)
            && released < refunded
            && effects.count("charge", &order.to_string()) > 0
        {
            return Err(format!(
                "order {order}: stock was released before the card was refunded"
            ));
        }
    }
    Ok(())
}

pub(super) fn kept_stock(effects: &Effects) -> Result<(), String> {
    let mut reserved = Vec::new();
    let mut released = Vec::new();
    for instance in effects.instances::<Stock>("warehouse") {
        let Some(state) = instance.state else { continue };
        let stock: Stock = serde_json::from_str(&state).map_err(|error| error.to_string())?;
        reserved.extend(stock.reserved);
        released.extend(stock.released);
    }
    for order in placed(effects) {
        let times = |list: &[u64]| list.iter().filter(|one| **one == order).count();
        let expected = usize::from(!has_completed(effects, order));
        if times(&reserved) != 1 || times(&released) != expected {
            return Err(format!(
                "order {order}: reserved {} times, released {} times",
                times(&reserved),
                times(&released)
            ));
        }
    }
    let ended: Vec<(u64, bool)> = effects
        .instances::<Books>("warehouse")
        .into_iter()
        .filter_map(|instance| serde_json::from_str::<Books>(&instance.state?).ok())
        .flat_map(|books| books.ended)
        .collect();
    // An order that the auditor can't look at is in the error queue as a whole.
    for order in placed(effects).into_iter().filter(|order| order % 6 != 5) {
        let times = ended.iter().filter(|(one, _)| *one == order).count();
        if times != 1 {
            return Err(format!("order {order} stands in the books {times} times"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_money_is_kept_or_given_twice_or_made_it_is_found() {
        let book = |completed, charges, refunds| Money {
            order: 1,
            completed,
            charges,
            refunds,
        };
        let good = [book(true, 1, 0), book(false, 1, 1), book(false, 0, 0)];
        assert_eq!(balanced(&good), Ok(()));
        let bad = [
            (book(true, 0, 0), "completed and never charged"),
            (book(true, 2, 0), "charged twice"),
            (book(true, 1, 1), "completed and refunded"),
            (book(false, 1, 0), "cancelled and kept"),
            (book(false, 0, 1), "refunded and never charged"),
            (book(false, 1, 2), "refunded twice"),
            (book(false, 2, 2), "charged twice and refunded twice"),
        ];
        for (book, why) in bad {
            assert!(balanced(&[good[0], book]).is_err(), "{why}");
        }
    }
}
