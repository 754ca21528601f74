//! A saga's table as data, and drawn.

use std::fmt::{self, Display};

use longhaul_core::message::MessageKind;

use crate::definition::Definition;
use crate::saga::Saga;
use crate::status::Status;

/// A saga's table of contents, as data: what starts it, what it takes and when.
///
/// ```
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_core::Event;
/// # use longhaul_sagas::{Definition, Description, NoTimeout, Saga};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[message("sales.order_placed.v1")]
/// # struct OrderPlaced { order: u64 }
/// # #[derive(Serialize, Deserialize)]
/// # struct Order { order: u64 }
/// # impl Saga for Order {
/// #     const NAME: &'static str = "order";
/// #     type Id = u64;
/// #     type Timeout = NoTimeout;
/// #     fn define(saga: &mut Definition<Self>) {
/// #         saga.starts_on(|m: &OrderPlaced| m.order, |m, _| Ok(Self { order: m.order }));
/// #     }
/// # }
/// let order = Description::of::<Order>();
/// assert!(order.to_mermaid().contains("[*] --> active : sales.order_placed.v1"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The saga's name.
    pub name: &'static str,
    /// The version of its state.
    pub version: u32,
    /// What it takes, by wire name.
    pub messages: Vec<DescribedMessage>,
    /// Whether it has timeouts.
    pub times_out: bool,
}

/// What a saga does with messages of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribedMessage {
    /// The wire name.
    pub type_name: &'static str,
    /// The kind of message.
    pub kind: MessageKind,
    /// When it is taken, and as what.
    pub roles: Vec<Role>,
}

/// What a message is to a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It starts an instance.
    Starts,
    /// An active instance handles it.
    Handled,
    /// It answers steps or undos.
    Answers,
    /// An instance handles it while it compensates.
    WhileCompensating,
    /// It is handled when its instance is finished or did not appear.
    NotFound,
}

impl Description {
    /// The table of `S`.
    #[must_use]
    pub fn of<S: Saga>() -> Self {
        let definition = Definition::<S>::of_saga();
        let messages = definition.table.entries.values().map(|entry| {
            let roles = [
                (Role::Starts, entry.start.is_some()),
                (Role::Handled, entry.handle.is_some()),
                (Role::Answers, entry.is_answer),
                (Role::WhileCompensating, entry.while_compensating.is_some()),
                (Role::NotFound, entry.not_found.is_some()),
            ];
            let roles = roles.into_iter().filter(|(_, has)| *has).map(|(role, _)| role);
            DescribedMessage {
                type_name: entry.name,
                kind: entry.kind,
                roles: roles.collect(),
            }
        });
        Self {
            name: S::NAME,
            version: S::VERSION,
            messages: messages.collect(),
            times_out: definition.times_out.is_some(),
        }
    }

    /// A state diagram for Mermaid (`stateDiagram-v2`).
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let lines = self.edges().into_iter().map(|edge| {
            let label = if edge.label.is_empty() {
                String::new()
            } else {
                format!(" : {}", edge.label)
            };
            format!(
                "    {} --> {}{label}\n",
                node(edge.from, "[*]"),
                node(edge.to, "[*]")
            )
        });
        format!("stateDiagram-v2\n{}", lines.collect::<String>())
    }

    /// A state diagram for Graphviz (`dot`).
    #[must_use]
    pub fn to_graphviz(&self) -> String {
        let lines = self.edges().into_iter().map(|edge| {
            let (from, to) = (node(edge.from, "begin"), node(edge.to, "end"));
            format!("    {from} -> {to} [label=\"{}\"];\n", edge.label)
        });
        let name = self.name;
        format!(
            "digraph \"{name}\" {{\n    begin [shape=point];\n    end [shape=doublecircle, label=\"\"];\n{}}}\n",
            lines.collect::<String>()
        )
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let active = Some(Status::Active);
        let compensating = Some(Status::Compensating);
        let mut edges = Vec::new();
        let mut add = |from, to, label| edges.push(Edge { from, to, label });
        for (role, from, to) in [
            (Role::Starts, None, active),
            (Role::Handled, active, active),
            (Role::Answers, active, active),
            (Role::WhileCompensating, compensating, compensating),
        ] {
            for message in self
                .messages
                .iter()
                .filter(|message| message.roles.contains(&role))
            {
                if role != Role::Answers || !message.roles.contains(&Role::Handled) {
                    add(from, to, message.type_name);
                }
            }
        }
        if self.times_out {
            add(active, active, "timeout");
        }
        add(active, Some(Status::Completed), "complete");
        add(Some(Status::Completed), None, "");
        add(active, compensating, "compensate");
        add(compensating, Some(Status::Compensated), "all undone");
        add(Some(Status::Compensated), None, "");
        add(compensating, Some(Status::Stuck), "an undo failed");
        add(Some(Status::Stuck), compensating, "retry or skip");
        add(Some(Status::Stuck), None, "give up");
        edges
    }
}

/// One way from a status to another; outside of all of them there is none.
struct Edge<'a> {
    from: Option<Status>,
    to: Option<Status>,
    label: &'a str,
}

fn node(status: Option<Status>, outside: &'static str) -> &'static str {
    status.map_or(outside, Status::as_str)
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starts => "starts",
            Self::Handled => "handles",
            Self::Answers => "answers",
            Self::WhileCompensating => "while compensating",
            Self::NotFound => "not found",
        })
    }
}
