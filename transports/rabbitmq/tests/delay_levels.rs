//! The arithmetic and the bindings of the delay levels, without a broker.

#![expect(clippy::expect_used, reason = "a test fails where something goes wrong")]

use std::time::Duration;

use longhaul_rabbitmq::{
    DelayError, DelayTopology,
    plan::{Argument, Destination, Plan},
};
use proptest::prelude::*;

const MOST: u32 = (1 << 28) - 1;

fn delays() -> DelayTopology {
    DelayTopology::new("longhaul")
}

/// Whether a topic pattern matches a routing key, as the broker decides it.
fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), _) => {
            matches(rest, key) || key.split_first().is_some_and(|(_, key)| matches(pattern, key))
        }
        (Some((word, rest)), Some((first, key))) => (*word == "*" || word == first) && matches(rest, key),
        _ => false,
    }
}

/// Walks a message through exchanges and queues; returns the queues it waits in, and where it ends.
fn walk(plan: &Plan, exchange: &str, key: &str) -> (Vec<String>, Vec<String>) {
    let (mut waits, mut ends, mut at) = (Vec::new(), Vec::new(), vec![exchange.to_owned()]);
    let words: Vec<&str> = key.split('.').collect();
    while let Some(exchange) = at.pop() {
        let bindings = plan.bindings.iter().filter(|binding| binding.source == exchange);
        for binding in bindings.filter(|one| matches(&one.pattern.split('.').collect::<Vec<_>>(), &words)) {
            match &binding.destination {
                Destination::Exchange(next) => at.push(next.clone()),
                Destination::Queue(queue) => match plan.queues.iter().find(|one| one.name == *queue) {
                    Some(level) => {
                        waits.push(queue.clone());
                        let next = level
                            .arguments
                            .iter()
                            .find(|(name, _)| *name == "x-dead-letter-exchange");
                        at.push(next.expect("a level passes messages on").1.to_string());
                    }
                    None => ends.push(queue.clone()),
                },
                other => panic!("{other:?}"),
            }
        }
    }
    (waits, ends)
}

fn level(name: &str) -> u32 {
    name.rsplit('-')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a level's name")
}

#[test]
fn when_a_delay_is_in_the_table_its_start_its_bits_and_its_waits_are_as_written_there() {
    let year = [24, 23, 22, 21, 16, 13, 12, 9, 8, 7];
    let all: Vec<u32> = (0..28).rev().collect();
    let table: [(u64, u32, &str, &[u32]); 7] = [
        (1, 0, "0000000000000000000000000001", &[0]),
        (3, 1, "0000000000000000000000000011", &[1, 0]),
        (42, 5, "0000000000000000000000101010", &[5, 3, 1]),
        (900, 9, "0000000000000000001110000100", &[9, 8, 7, 2]),
        (86_400, 16, "0000000000010101000110000000", &[16, 14, 12, 8, 7]),
        (31_536_000, 24, "0001111000010011001110000000", &year),
        (268_435_455, 27, "1111111111111111111111111111", &all),
    ];
    let mut plan = delays().plan();
    plan.bindings.push(delays().destination_binding("billing"));
    for (seconds, start, bits, waits) in table {
        let units = delays().units(Duration::from_secs(seconds));
        let route = delays().route(units, "billing").unwrap().expect("a delay");
        assert_eq!(route.exchange, format!("longhaul.delay-level-{start:02}"));
        let written: String = bits.chars().flat_map(|bit| [bit, '.']).collect();
        assert_eq!(route.routing_key, format!("{written}billing"));
        let (walked, ends) = walk(&plan, &route.exchange, &route.routing_key);
        assert_eq!(
            walked.iter().map(|queue| level(queue)).collect::<Vec<_>>(),
            waits,
            "{seconds}"
        );
        assert_eq!(ends, ["billing"]);
    }
    assert_eq!(delays().route(0, "billing"), Ok(None));
}

#[test]
fn when_a_delay_is_not_whole_units_it_is_rounded_up() {
    let second = delays();
    assert_eq!(second.units(Duration::ZERO), 0);
    assert_eq!(second.units(Duration::from_nanos(1)), 1);
    assert_eq!(second.units(Duration::from_millis(1001)), 2);
    assert_eq!(
        delays()
            .with_unit(Duration::from_millis(20))
            .units(Duration::from_millis(41)),
        3
    );
    assert_eq!(second.longest(), Duration::from_secs(MOST.into()));
    let too_long = DelayError::TooLong {
        units: u64::from(MOST) + 1,
        most: MOST,
    };
    assert_eq!(second.route(u64::from(MOST) + 1, "a"), Err(too_long));
    assert!(second.route(u64::MAX, "a").is_err());
}

#[test]
fn when_an_address_does_not_fit_it_is_refused() {
    let check = |address: &str| delays().check_address(address);
    assert_eq!(check(""), Err(DelayError::EmptyAddress));
    assert_eq!(check(&"x".repeat(199)), Ok(()));
    assert_eq!(
        check(&"x".repeat(200)),
        Err(DelayError::AddressTooLong {
            bytes: 200,
            most: 199
        })
    );
    assert_eq!(
        check(&"ü".repeat(100)),
        Err(DelayError::AddressTooLong {
            bytes: 200,
            most: 199
        })
    );
    for wild in ["*", "#", "a.*", "#.a", "a.*.b"] {
        assert_eq!(check(wild), Err(DelayError::Wildcard), "{wild}");
    }
    for fine in ["a*", "C#", "a.b*c.d"] {
        assert_eq!(check(fine), Ok(()), "{fine}");
    }
    let full = delays().route(1, &"x".repeat(199)).unwrap().expect("a delay");
    assert_eq!(full.routing_key.len(), 255);
}

#[test]
fn when_a_routing_key_has_no_bits_in_front_it_is_not_read() {
    let good = format!("{}sales", "0.".repeat(28));
    assert_eq!(delays().parse(&good), Ok((0, "sales")));
    for bad in [
        "",
        "sales",
        "0.1.sales",
        &"0.".repeat(28),
        &good.replace("0.sales", "2.sales"),
        &good.replacen('.', "é", 1),
    ] {
        assert_eq!(delays().parse(bad), Err(DelayError::NotADelayKey), "{bad}");
    }
}

#[test]
fn when_one_name_ends_like_another_each_gets_its_own_messages_only() {
    let mut plan = delays().plan();
    for address in ["Sales", "Foo.Sales", "Foo"] {
        plan.bindings.push(delays().destination_binding(address));
    }
    for address in ["Sales", "Foo.Sales", "Foo"] {
        let route = delays().route(42, address).unwrap().expect("a delay");
        assert_eq!(walk(&plan, &route.exchange, &route.routing_key).1, [address]);
    }
}

#[test]
fn when_the_plan_is_read_it_has_the_arguments_that_keep_messages() {
    let plan = delays().plan();
    assert_eq!(
        (plan.exchanges.len(), plan.queues.len(), plan.bindings.len()),
        (30, 29, 57)
    );
    for queue in plan
        .queues
        .iter()
        .filter(|queue| queue.name != delays().undeliverable())
    {
        let level = level(&queue.name);
        let next = level
            .checked_sub(1)
            .map_or(delays().delivery_exchange(), |next| delays().level_name(next));
        let expected = [
            ("x-queue-type", Argument::Text("quorum".into())),
            ("x-message-ttl", Argument::Integer(1000 << level)),
            ("x-dead-letter-exchange", Argument::Text(next)),
            ("x-dead-letter-strategy", Argument::Text("at-least-once".into())),
            ("x-overflow", Argument::Text("reject-publish".into())),
        ];
        assert_eq!(queue.arguments, expected);
    }
    let delivery = plan
        .exchanges
        .iter()
        .find(|one| one.name == delays().delivery_exchange());
    let alternate = (
        "alternate-exchange",
        Argument::Text("longhaul.delay-undeliverable".into()),
    );
    assert_eq!(delivery.expect("the delivery exchange").arguments, [alternate]);
}

proptest! {
    #[test]
    fn whatever_the_delay_its_waits_add_up_to_it_in_descending_order_and_it_ends_once(
        units in 1..=MOST,
        address in "[a-zäöüß0-9-]{1,8}(\\.[a-zä01]{1,8}){0,4}",
    ) {
        let mut plan = delays().plan();
        plan.bindings.push(delays().destination_binding(&address));
        let route = delays().route(units.into(), &address).unwrap().expect("a delay");
        let (waits, ends) = walk(&plan, &route.exchange, &route.routing_key);
        let levels: Vec<u32> = waits.iter().map(|queue| level(queue)).collect();
        prop_assert_eq!(levels.iter().map(|level| 1 << level).sum::<u32>(), units);
        prop_assert!(levels.is_sorted_by(|above, below| above > below));
        prop_assert_eq!(ends, [address.clone()]);
        prop_assert_eq!(delays().parse(&route.routing_key), Ok((units, address.as_str())));
    }
}
