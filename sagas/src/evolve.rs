//! The chain of migrations that turns stored state of an older version into state of now.

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;

use longhaul_core::handler::HandlerResult;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::saga::Saga;
use crate::stored::unreadable;

type Migrate = Box<dyn Fn(&str) -> Result<Box<RawValue>, serde_json::Error> + Send + Sync>;

/// Steps by the version that they take.
#[derive(Default)]
pub(crate) struct Evolution {
    steps: BTreeMap<u32, Migration>,
}

struct Migration {
    takes: (TypeId, &'static str),
    gives: (TypeId, &'static str),
    migrate: Migrate,
}

impl Evolution {
    /// Adds a step. Returns whether it is the first for that version.
    pub(crate) fn add<Old, New>(&mut self, from: u32, step: fn(Old) -> New) -> bool
    where
        Old: DeserializeOwned + 'static,
        New: Serialize + 'static,
    {
        let migration = Migration {
            takes: (TypeId::of::<Old>(), type_name::<Old>()),
            gives: (TypeId::of::<New>(), type_name::<New>()),
            migrate: Box::new(move |state| {
                serde_json::value::to_raw_value(&step(serde_json::from_str(state)?))
            }),
        };
        self.steps.insert(from, migration).is_none()
    }

    /// Reads stored state of that version.
    pub(crate) fn read<S: Saga>(&self, key: &str, version: u32, state: &RawValue) -> HandlerResult<S> {
        let name = S::NAME;
        if version > S::VERSION {
            return Err(unreadable(format!(
                "read the state of {name} {key:?}: it has version {version}, and this program knows {}; \
                 run the version that wrote it, then replay the message",
                S::VERSION
            )));
        }
        let fault = |at: u32, fault: serde_json::Error| {
            unreadable(format!(
                "read the state of {name} {key:?}, version {at}: {fault}; mend it, then replay the message"
            ))
        };
        let mut migrated: Option<Box<RawValue>> = None;
        for at in version..S::VERSION {
            let step = self.steps.get(&at).ok_or_else(|| {
                unreadable(format!(
                    "read the state of {name} {key:?}: there is no `evolve({at}, …)` for its version"
                ))
            })?;
            let current = migrated.as_deref().unwrap_or(state);
            migrated = Some((step.migrate)(current.get()).map_err(|error| fault(at, error))?);
        }
        let current = migrated.as_deref().unwrap_or(state);
        serde_json::from_str(current.get()).map_err(|error| fault(S::VERSION, error))
    }

    /// Gaps in the chain, steps too many, and steps that don't fit together.
    pub(crate) fn faults<S: Saga>(&self) -> Vec<String> {
        let (name, newest) = (S::NAME, S::VERSION);
        let mut faults = Vec::new();
        if newest == 0 {
            faults.push(format!("the saga {name} has `VERSION` 0: versions begin with 1"));
        }
        for from in (1..newest).filter(|from| !self.steps.contains_key(from)) {
            faults.push(format!(
                "the saga {name} can't read state of version {from}: add `saga.evolve({from}, |old: …| …)`"
            ));
        }
        for (from, step) in &self.steps {
            if *from == 0 || *from >= newest {
                faults.push(format!(
                    "the saga {name} says `evolve({from}, …)`, but its versions are 1 to {newest}: raise `VERSION`, or remove it"
                ));
                continue;
            }
            let wanted = match self.steps.get(&(from + 1)) {
                Some(next) if from + 1 < newest => next.takes,
                _ => (TypeId::of::<S>(), type_name::<S>()),
            };
            if (from + 1 == newest || self.steps.contains_key(&(from + 1))) && step.gives.0 != wanted.0 {
                faults.push(format!(
                    "the saga {name} says `evolve({from}, …)` with a function that gives {}, but what follows takes {}",
                    step.gives.1, wanted.1
                ));
            }
        }
        faults
    }
}
