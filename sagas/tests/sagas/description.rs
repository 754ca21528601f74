//! A saga's table as data, and drawn.

use longhaul_sagas::{Description, Role};

use crate::plan::Plan;

#[test]
fn when_a_saga_is_described_each_message_has_its_roles() {
    let description = Description::of::<Plan>();
    assert_eq!(
        (description.name, description.version, description.times_out),
        ("plan", 1, true)
    );
    let roles = |name: &str| {
        let message = description
            .messages
            .iter()
            .find(|message| message.type_name == name);
        message.map(|message| message.roles.clone()).unwrap_or_default()
    };
    assert_eq!(roles("plan.begun.v1"), [Role::Starts]);
    assert_eq!(roles("plan.ask.v1"), [Role::Handled, Role::WhileCompensating]);
    assert_eq!(roles("plan.step_done.v1"), [Role::Handled, Role::Answers]);
    assert_eq!(roles("plan.step_undone.v1"), [Role::Answers]);
}

#[test]
fn when_it_is_drawn_with_mermaid_every_message_is_an_edge() {
    let mermaid = Description::of::<Plan>().to_mermaid();
    assert!(
        mermaid.starts_with("stateDiagram-v2\n    [*] --> active : plan.begun.v1\n"),
        "{mermaid}"
    );
    for line in [
        "active --> active : plan.step_done.v1",
        "active --> active : timeout",
        "compensating --> compensating : plan.ask.v1",
        "completed --> [*]\n",
    ] {
        assert!(mermaid.contains(line), "{mermaid}");
    }
}

#[test]
fn when_it_is_drawn_with_graphviz_every_message_is_an_edge() {
    let dot = Description::of::<Plan>().to_graphviz();
    assert!(dot.starts_with("digraph \"plan\" {"), "{dot}");
    assert!(
        dot.contains("begin -> active [label=\"plan.begun.v1\"];"),
        "{dot}"
    );
    assert!(dot.trim_end().ends_with('}'), "{dot}");
}
