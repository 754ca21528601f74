//! What must not compile, and what the user is told then.
//!
//! After a change on purpose: `TRYBUILD=overwrite cargo test --test compile_fail`, and read the difference.

#[test]
fn a_message_without_a_proper_wire_name_or_shape() {
    trybuild::TestCases::new().compile_fail("tests/ui/message/*.rs");
}

#[test]
fn a_handler_that_mistakes_one_kind_of_message_for_another_or_has_a_wrong_shape() {
    trybuild::TestCases::new().compile_fail("tests/ui/handler/*.rs");
}

#[test]
fn a_saga_that_waits_or_is_found_by_what_is_no_id() {
    trybuild::TestCases::new().compile_fail("tests/ui/saga/*.rs");
}
