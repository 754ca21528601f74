//! The list of cases, as tests.

/// Makes one `#[test]` for every case of the [contract suite for transports](crate::transport_suite).
///
/// The argument makes a [`TransportFixture`](crate::transport_suite::TransportFixture); it is evaluated once per test.
/// Invoke it in a module of its own for each fixture.
#[macro_export]
macro_rules! transport_contract_suite {
    ($fixture:expr) => {
        $crate::transport_contract_suite! {
            @cases $fixture;
            fidelity::when_a_message_is_received_it_is_as_it_was_sent,
            fidelity::when_a_delayed_message_is_received_it_is_as_it_was_sent,
            fidelity::when_an_event_is_received_it_is_as_it_was_published,
            fidelity::when_a_message_has_neither_headers_nor_body_it_comes_as_it_was,
            fidelity::when_bodies_are_binary_or_large_they_come_as_they_were,
            fidelity::when_a_body_is_as_large_as_it_may_be_it_comes_as_it_was,
            fidelity::when_headers_are_many_or_long_they_come_as_they_were,
            fidelity::when_ids_are_odd_they_come_as_they_were,
            fidelity::when_one_id_is_sent_twice_it_comes_twice,
            fidelity::when_sender_and_receiver_have_transports_of_their_own_messages_come,
            fidelity::when_foreign_messages_are_odd_they_are_handed_out,
            fidelity::when_a_due_time_is_long_past_the_message_comes_at_once,
            sending::when_a_batch_is_empty_there_are_no_results,
            sending::when_messages_are_sent_in_order_they_arrive_in_order,
            sending::when_a_batch_is_as_large_as_it_may_be_all_of_it_arrives,
            sending::when_a_batch_goes_to_several_queues_each_gets_its_own,
            sending::when_there_is_no_such_queue_the_error_is_retryable,
            sending::when_the_missing_queue_appears_the_message_is_taken,
            sending::when_a_body_is_over_the_limit_the_error_is_final,
            sending::when_good_and_bad_are_mixed_each_gets_its_own_result,
            sending::when_several_send_at_once_each_gets_its_own_results,
            sending::when_a_dispatch_is_given_up_later_ones_are_not_disturbed,
            receiving::when_the_queue_was_not_prepared_there_is_no_receiver,
            receiving::when_a_receiver_waits_it_gets_what_comes_later,
            receiving::when_receiving_is_given_up_nothing_is_lost,
            receiving::when_consumers_compete_each_message_goes_to_one,
            receiving::when_the_prefetch_limit_is_reached_the_next_message_waits,
            receiving::when_a_receiver_waits_at_its_limit_it_goes_on_once_one_is_settled,
            receiving::when_one_consumer_is_full_another_gets_the_rest,
            receiving::when_somebody_consumes_the_queue_an_exclusive_receiver_is_refused,
            receiving::when_a_receiver_closes_what_it_did_not_hand_out_comes_again,
            receiving::when_a_receiver_is_dropped_what_it_held_comes_again,
            receiving::when_a_receiver_has_closed_it_takes_nothing_more,
            receiving::when_the_queue_is_deleted_the_receiver_does_not_stay_silent,
            settling::when_a_message_is_acknowledged_it_never_comes_again,
            settling::when_messages_are_acknowledged_out_of_order_only_those_are_forgotten,
            settling::when_a_delivery_is_dropped_it_comes_back,
            settling::when_a_receiver_closes_what_nobody_settled_comes_back,
            settling::when_a_message_is_acknowledged_after_the_close_the_answer_is_true,
            settling::when_a_message_is_released_it_comes_again,
            settling::when_a_message_is_released_for_later_it_comes_not_before,
            settling::when_nothing_happens_the_lease_is_not_lost,
            delays::when_a_message_is_delayed_it_comes_not_before_its_time,
            delays::when_a_delay_is_of_an_odd_length_it_is_not_cut,
            delays::when_messages_are_due_at_different_times_they_come_in_that_order,
            delays::when_a_message_is_delayed_later_ones_pass_it,
            delays::when_nobody_receives_a_delayed_message_waits,
            delays::when_consumers_compete_each_delayed_message_goes_to_one,
            delays::when_a_delay_is_as_long_as_it_may_be_it_is_taken,
            delays::when_a_delay_is_too_long_the_error_is_final,
            delays::when_an_event_is_delayed_it_is_refused,
            delays::when_names_resemble_each_other_each_queue_gets_only_its_own,
            events::when_two_subscribe_both_get_the_event,
            events::when_nobody_subscribes_the_event_is_accepted_all_the_same,
            events::when_event_names_resemble_each_other_each_subscriber_gets_its_own,
            events::when_an_event_is_named_like_a_queue_the_queue_does_not_get_it,
            events::when_a_queue_subscribes_twice_it_gets_the_event_once,
            events::when_a_subscription_is_retired_only_that_queue_gets_no_more,
            events::when_a_queue_subscribes_later_it_gets_later_events_only,
            events::when_events_and_commands_alternate_all_of_them_come,
            topology::when_a_transport_is_asked_again_what_it_can_it_says_the_same,
            topology::when_the_broker_can_be_reached_the_health_says_so,
            topology::when_everything_is_prepared_again_nothing_is_lost,
            topology::when_several_prepare_at_once_all_succeed,
            topology::when_the_topology_is_verified_nothing_is_created,
            topology::when_one_queue_is_missing_verifying_fails,
            topology::when_the_topology_is_assumed_nothing_happens,
            topology::when_an_error_queue_is_prepared_it_takes_and_gives_messages,
            topology::when_names_are_long_or_foreign_they_work,
            faults::when_the_connection_is_cut_a_receiver_comes_back_by_itself,
            faults::when_the_connection_is_cut_an_old_acknowledgement_settles_nothing,
            faults::when_the_connection_is_cut_while_sending_the_results_are_true,
            faults::when_the_connection_comes_back_the_health_says_so,
            faults::when_a_durable_broker_restarts_what_it_accepted_is_there,
            faults::when_a_durable_broker_restarts_what_nobody_settled_comes_again,
        }
    };
    (@cases $fixture:expr; $($module:ident::$case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                let fixture = $fixture;
                $crate::transport_suite::TransportFixture::block_on(
                    &fixture,
                    ::std::boxed::Box::pin($crate::transport_suite::$module::$case(&fixture)),
                );
            }
        )*
    };
}
