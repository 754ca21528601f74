//! A seed stands for one schedule, or it is of no use to whoever wants to see it again.

use std::sync::atomic::{AtomicU64, Ordering};

use longhaul_core::Command;
use longhaul_core::handler::{Context, Handler, HandlerResult};
use longhaul_simulation::{Faults, Simulation, Workload};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("determinism.print.v1")]
struct Print {}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("determinism.file.v1")]
struct File {
    number: u64,
}

/// Numbers its files by what the simulation can't set back.
struct Printer;

static PRINTED: AtomicU64 = AtomicU64::new(0);

impl Handler<Print> for Printer {
    async fn handle(&self, _: Print, ctx: &mut Context) -> HandlerResult {
        let number = PRINTED.fetch_add(1, Ordering::Relaxed);
        ctx.send(File { number });
        Ok(())
    }
}

struct Cabinet;

impl Handler<File> for Cabinet {
    async fn handle(&self, _: File, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

#[test]
fn when_a_handler_asks_what_is_not_of_the_simulation_it_is_told() {
    let system = Simulation::of(|world| {
        world.endpoint("office", |endpoint, _| {
            endpoint
                .handler::<Print>(Printer)
                .handler::<File>(Cabinet)
                .route::<File>("office")
        })
    });
    let system = system
        .workload(Workload::new().send_each("office", [Print {}]))
        .faults(Faults::none());
    let failure = system.run_seed(0).expect_err("the second run has another number");
    let told = failure.to_string();
    assert!(told.contains("one seed gives one schedule"), "{told}");
    assert!(told.contains("determinism.file.v1"), "{told}");
    assert!(system.run_seed(1).is_ok(), "only every hundredth is run twice");
}
