//! The list of cases, as tests.

/// Makes one `#[test]` for every case of the [contract suite for stores](crate::store_suite).
///
/// The first argument makes a [`StoreFixture`](crate::store_suite::StoreFixture); it is evaluated once per test. The
/// second, which may be left out, runs a future to its end, for stores that need a runtime:
///
/// ```
/// # use std::sync::Arc;
/// # use longhaul_core::store::Persistence;
/// # struct Fixture;
/// # #[async_trait::async_trait]
/// # impl longhaul_testing::store_suite::StoreFixture for Fixture {
/// #     async fn create(&self) -> Arc<dyn Persistence> { panic!("a picture only") }
/// #     async fn reopen(&self) -> Arc<dyn Persistence> { panic!("a picture only") }
/// # }
/// longhaul_testing::store_contract_suite!(Fixture, |case| {
///     let runtime = tokio::runtime::Builder::new_current_thread().build();
///     runtime.expect("a runtime").block_on(case)
/// });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_contract_suite {
    ($fixture:expr) => {
        $crate::store_contract_suite!($fixture, $crate::store_suite::block_on);
    };
    ($fixture:expr, $block_on:expr) => {
        $crate::store_contract_suite! {
            @cases $fixture, $block_on;
            inbox::when_a_store_is_new_it_knows_nothing,
            inbox::when_a_message_is_handled_it_is_known_as_done,
            inbox::when_a_message_is_handled_twice_the_second_conflicts,
            inbox::when_a_state_is_written_it_reads_back_as_it_was,
            inbox::when_the_expected_state_differs_in_anything_the_unit_conflicts,
            inbox::when_a_message_is_forgotten_it_is_unknown,
            inbox::when_a_unit_only_expects_it_changes_nothing,
            inbox::when_one_unit_changes_several_messages_all_are_changed,
            records::when_a_record_changes_its_version_grows_by_one,
            records::when_another_version_is_expected_the_unit_conflicts,
            records::when_a_record_is_deleted_it_is_absent,
            records::when_a_record_has_expired_it_counts_as_absent,
            records::when_an_expired_record_is_written_anew_its_version_goes_on,
            records::when_a_unit_carries_no_time_nothing_is_expired_to_it,
            records::when_a_record_expires_while_it_is_worked_on_the_work_counts,
            records::when_a_record_is_written_its_expiry_is_replaced,
            records::when_several_records_are_asked_for_they_come_in_that_order,
            records::when_a_message_is_loaded_everything_comes_together,
            records::when_a_body_is_empty_or_large_it_reads_back_as_it_was,
            records::when_one_unit_changes_several_records_all_are_changed,
            keys::when_a_key_is_over_the_limits_it_is_refused,
            keys::when_keys_are_as_long_as_they_may_be_they_are_stored,
            keys::when_ids_hold_any_text_none_is_mistaken_for_another,
            keys::when_record_ids_hold_control_characters_they_are_stored,
            keys::when_collection_and_id_are_cut_differently_they_are_different,
            keys::when_a_message_a_record_and_a_row_share_a_name_they_are_apart,
            pending::when_a_row_is_added_it_reads_back_as_it_was,
            pending::when_a_row_carries_the_transports_own_properties_they_are_left_out,
            pending::when_a_row_with_the_same_id_is_added_it_takes_the_place_of_the_other,
            pending::when_a_message_was_sent_its_row_goes,
            pending::when_a_timeout_is_cancelled_its_row_goes,
            pending::when_an_alarm_was_sent_the_row_waits,
            pending::when_a_stale_alarm_was_sent_the_row_does_not_change,
            pending::when_a_row_is_deferred_it_wants_attention_later,
            pending::when_a_timeout_fires_its_row_goes_once,
            pending::when_a_timeout_is_moved_its_old_alarm_is_stale,
            pending::when_a_timeout_is_gone_moving_it_conflicts,
            pending::when_a_row_was_moved_what_was_meant_for_it_before_changes_nothing,
            pending::when_a_row_is_parked_it_is_set_aside_for_people,
            pending::when_a_parked_row_changes_it_stays_parked,
            pending::when_one_unit_changes_a_row_several_times_each_change_counts,
            claims::when_a_row_is_due_it_is_claimed,
            claims::when_several_rows_are_due_the_earliest_comes_first,
            claims::when_a_row_is_claimed_nobody_else_gets_it_before_the_lease_ends,
            claims::when_the_first_rows_are_claimed_the_next_ones_follow,
            claims::when_nothing_is_wanted_nothing_is_claimed,
            claims::when_rows_are_left_the_relay_learns_when_to_come_again,
            claims::when_a_claimed_row_changes_its_claim_ends,
            claims::when_several_claim_at_once_no_row_is_claimed_twice,
            claims::when_a_row_was_just_added_it_is_claimed_at_once,
            claims::when_an_endpoint_is_opened_twice_each_leaves_the_claims_of_the_other_alone,
            claims::when_the_endpoint_restarts_claimed_rows_are_claimed_again,
            atomic::when_a_unit_is_committed_all_of_it_is_there,
            atomic::when_a_unit_is_empty_it_is_committed,
            atomic::when_one_expectation_does_not_hold_nothing_of_the_unit_is_there,
            atomic::when_a_unit_is_refused_nothing_of_it_is_there,
            atomic::when_a_unit_is_large_all_of_it_is_there,
            atomic::when_a_commit_is_given_up_all_or_nothing_of_it_is_there,
            atomic::when_a_commit_is_never_begun_nothing_of_it_is_there,
            atomic::when_units_are_committed_meanwhile_what_is_loaded_is_of_one_moment,
            order::when_one_message_is_handled_at_once_by_several_exactly_one_commits,
            order::when_one_record_is_changed_at_once_by_several_exactly_one_commits,
            order::when_an_expired_record_is_written_at_once_by_several_exactly_one_commits,
            order::when_one_timeout_is_fired_at_once_by_several_exactly_one_commits,
            order::when_a_timeout_is_fired_and_moved_at_once_exactly_one_commits,
            order::when_units_are_begun_in_order_they_take_effect_in_order,
            order::when_a_unit_among_others_fails_only_it_fails,
            order::when_many_change_one_record_no_update_is_lost,
            order::when_what_is_old_is_renewed_while_it_is_purged_the_renewed_stays,
            isolation::when_endpoints_share_a_database_none_sees_another,
            isolation::when_it_is_asked_whether_an_endpoint_is_there_none_is_made,
            isolation::when_one_endpoint_cleans_up_the_others_keep_theirs,
            isolation::when_an_endpoint_is_opened_twice_both_see_the_same,
            admin::when_records_are_listed_in_pages_each_comes_once,
            admin::when_a_collection_is_listed_no_other_comes_along,
            admin::when_a_record_has_expired_it_is_listed_until_purged,
            admin::when_large_records_have_expired_all_of_them_are_purged,
            admin::when_rows_are_listed_in_pages_each_comes_once,
            admin::when_the_last_row_of_a_page_has_gone_the_listing_goes_on,
            admin::when_the_inbox_is_purged_only_old_done_messages_go,
            admin::when_records_are_purged_only_expired_ones_go,
            admin::when_a_purge_is_limited_it_goes_in_steps,
            admin::when_things_come_and_go_the_counts_follow,
            durable::when_the_endpoint_restarts_everything_is_there,
            durable::when_the_endpoint_restarts_it_goes_on_where_it_stopped,
            durable::when_a_database_is_opened_again_every_endpoint_has_its_own,
            durable::when_a_store_is_asked_again_what_it_is_it_says_the_same,
            random::when_random_units_follow_one_another_store_and_model_agree,
            random::when_random_units_are_begun_together_store_and_model_agree,
            random::when_the_endpoint_restarts_among_random_units_store_and_model_agree,
        }
    };
    (@cases $fixture:expr, $block_on:expr; $($module:ident::$case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                let fixture = $fixture;
                ($block_on)($crate::store_suite::$module::$case(&fixture))
            }
        )*
    };
}
