//! `first_message`: greeting may be repeated, but never forgotten.

use std::collections::BTreeSet;
use std::sync::Mutex;

use longhaul::testing::{Simulation, Workload};
use tokio::sync::mpsc;

use super::{SCHEDULES, nothing_failed};

#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/first_message.rs"]
mod example;

use example::{Greet, Greeter};

#[test]
fn when_everything_goes_wrong_everybody_is_greeted() {
    let names = ["Ada", "Grace", "Barbara"];
    let (greetings, heard) = mpsc::channel(10_000);
    let heard = Mutex::new(heard);
    Simulation::of(|world| {
        world.endpoint("greeter", move |endpoint, _| {
            let greetings = greetings.clone();
            endpoint.handler::<Greet>(Greeter { greetings })
        })
    })
    .workload(Workload::new().send_each("greeter", names.map(|name| Greet { name: name.into() })))
    .invariant("nothing fails for good", nothing_failed)
    .invariant("everybody is greeted, under one id each", move |_| {
        let mut heard = heard.lock().expect("nobody panicked");
        let greeted: BTreeSet<String> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        names.iter().all(|name| {
            let to_name = |greeting: &&String| greeting.starts_with(&format!("Hello, {name}!"));
            greeted.iter().filter(to_name).count() == 1
        })
    })
    .check(SCHEDULES);
}
