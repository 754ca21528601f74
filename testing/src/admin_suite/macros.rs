//! The list of cases, as tests.

/// Makes one `#[test]` for every case of the [contract suite for operators](crate::admin_suite).
///
/// The argument makes an [`AdminFixture`](crate::admin_suite::AdminFixture); it is evaluated once per test.
#[macro_export]
macro_rules! admin_contract_suite {
    ($fixture:expr) => {
        $crate::admin_contract_suite! {
            @cases $fixture;
            when_a_queue_is_looked_through_all_of_it_is_shown_and_stays_in_its_order,
            when_pages_are_many_the_order_stays,
            when_some_are_removed_only_those_are_gone,
            when_very_many_are_removed_one_by_one_none_comes_back,
            when_a_message_is_shown_it_is_as_it_was_sent,
            when_a_message_comes_meanwhile_it_is_not_shown,
            when_a_message_comes_into_an_empty_queue_meanwhile_it_is_not_shown,
            when_a_copy_is_sent_before_the_original_is_removed_the_pass_ends_all_the_same,
            when_two_look_through_one_queue_the_second_is_refused_until_the_first_is_done,
            when_a_pass_is_dropped_what_it_showed_is_there_and_the_next_one_is_let_in,
            when_the_queue_is_empty_the_pass_is_through_at_once,
            when_there_is_no_such_queue_it_says_so_and_makes_none,
        }
    };
    (@cases $fixture:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                let fixture = $fixture;
                $crate::transport_suite::TransportFixture::block_on(
                    &fixture,
                    ::std::boxed::Box::pin($crate::admin_suite::$case(&fixture)),
                );
            }
        )*
    };
}
