//! Holds the lines of `ARCHITECTURE.md`: floors, and what a crate must never know.
//!
//! Each rule is a function from the workspace to its faults, and is shown a workspace that breaks it.

mod default_build;
mod floors;
mod knowledge;
mod workspace;

use workspace::Workspace;

type Rule = fn(&Workspace) -> Vec<String>;

#[track_caller]
fn holds(rule: Rule) {
    let faults = match Workspace::load() {
        Ok(workspace) => rule(&workspace),
        Err(error) => vec![format!("failed to read the workspace: {error}")],
    };
    assert!(faults.is_empty(), "{}\n(see ARCHITECTURE.md)", faults.join("\n"));
}

#[test]
fn every_crate_uses_lower_floors_only() {
    holds(floors::faults);
}

#[test]
fn the_macros_are_used_through_core_only() {
    holds(floors::direct_users_of_the_macros);
}

#[test]
fn core_names_no_broker_database_server_or_argument_parser() {
    holds(knowledge::of_core);
}

#[test]
fn core_has_no_word_for_what_is_built_on_it() {
    holds(knowledge::words_of_core);
}

#[test]
fn sagas_name_no_transport_store_or_runtime() {
    holds(knowledge::of_sagas);
}

#[test]
fn sagas_never_look_at_a_clock() {
    holds(knowledge::calls_of_sagas);
}

#[test]
fn a_transport_knows_no_saga_store_or_other_transport() {
    holds(knowledge::of_transports);
}

#[test]
fn a_store_knows_no_saga_or_transport() {
    holds(knowledge::of_stores);
}

#[test]
fn the_read_models_know_no_broker_and_no_store() {
    holds(knowledge::of_read_models);
}

#[test]
fn the_socket_knows_seams_only() {
    holds(knowledge::of_socket);
}

#[test]
fn foreign_clients_have_one_home_each() {
    holds(knowledge::homes_of_clients);
}

#[test]
fn no_type_of_a_broker_client_shows_in_public() {
    holds(knowledge::public_signatures);
}

#[test]
fn a_plain_cargo_test_leaves_the_broker_crates_out() {
    holds(default_build::members);
}

#[test]
fn a_plain_cargo_test_compiles_no_cloud_sdk_and_no_tls() {
    holds(default_build::packages);
}

#[test]
fn a_plain_cargo_test_tests_the_runtime_as_it_is_deployed() {
    holds(default_build::simulation);
}
