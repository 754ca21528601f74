//! The short tours: each says what it promises to say.

use crate::program::Program;

#[track_caller]
fn lines(example: &str) -> Vec<String> {
    let ran = Program::example(example).run().succeeded();
    assert_eq!(ran.stderr, "");
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn when_the_first_message_is_sent_the_greeter_greets() {
    let lines = lines("first_message");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("Hello, world! (message "), "{}", lines[0]);
    assert_eq!(lines[1], "the endpoint stopped in good order");
}

#[test]
fn when_a_program_without_a_host_is_asked_to_tell_something_it_refuses_to_run() {
    let example = || Program::example("first_message");
    for (asked, by) in [
        (example().args(["--rehearse", "failed.jsonl"]), "--rehearse"),
        (example().args(["--rehearse=failed.jsonl"]), "--rehearse"),
        (
            example().env("LONGHAUL_REHEARSE", "failed.jsonl"),
            "LONGHAUL_REHEARSE",
        ),
        (example().env("LONGHAUL_DESCRIBE", "yes"), "LONGHAUL_DESCRIBE"),
    ] {
        let ran = asked.run();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(
            ran.stderr.contains(by) && ran.stderr.contains("`Host`"),
            "{ran:?}"
        );
    }
}

#[test]
fn when_ten_years_pass_each_timeout_comes_on_its_day_and_a_moved_one_on_its_new_day() {
    assert_eq!(
        lines("timeouts"),
        [
            "2026-10-28  (the blue car was serviced)",
            "2027-01-01  red: service",
            "2027-10-28  blue: service",
            "2036-01-01  red: the guarantee ends",
            "2036-01-01  blue: the guarantee ends",
        ]
    );
}

#[test]
fn when_diagrams_are_asked_for_the_saga_and_what_one_car_went_through_are_drawn() {
    let drawn = Program::example("timeouts")
        .args(["--diagrams"])
        .run()
        .succeeded()
        .stdout;
    for part in [
        "stateDiagram-v2\n    [*] --> active : garage.car_bought.v1\n",
        "digraph \"guarantee\" {\n",
        "sequenceDiagram\n    participant saga as the red car\n    garage->>saga: garage.car_bought.v1\n",
        "saga->>saga: timeout GuaranteeEnds\n    Note right of saga: 2036-01-01T00:00:00.001Z<br/>completed\n",
    ] {
        assert!(drawn.contains(part), "{part}\n{drawn}");
    }
}

#[cfg(feature = "testing")]
#[test]
fn when_the_stories_of_a_saga_are_told_they_end_well() {
    assert_eq!(
        lines("testing_a_saga"),
        [
            "an order that is paid is confirmed: ok",
            "a payment that comes after the deadline is refunded once: ok",
            "whatever goes wrong, an order is confirmed or refunded: ok",
        ]
    );
}

#[test]
fn when_everything_comes_twice_the_discount_still_depends_on_the_last_week_only() {
    assert_eq!(
        lines("knock_knock"),
        [
            "2026-01-01  Ada    order 1:  60.00,  0 % off",
            "2026-01-02  Ada    order 2:  50.00,  0 % off",
            "2026-01-03  Ada    order 3:  10.00, 10 % off",
            "2026-01-03  Grace  order 4:  99.00,  0 % off",
            "2026-01-08  Ada    order 5:  10.00,  0 % off",
            "2026-01-09  Grace  order 6:  20.00,  0 % off",
            "2026-01-31  Ada    order 7:  10.00,  0 % off",
            "21 duplicates were absorbed",
            "every order was processed once, with the discount that it must get",
        ]
    );
}
