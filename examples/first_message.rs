//! Your first message: one command, one handler, nothing installed.
//!
//! `cargo run --example first_message`

use std::sync::Arc;

use anyhow::Result;
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// A command asks one owner to do something. Its wire name never changes.
#[derive(Command, Serialize, Deserialize)]
#[message("greeter.greet.v1")]
pub(crate) struct Greet {
    pub(crate) name: String,
}

/// A handler does the work outside; here it hands the greeting to the terminal.
pub(crate) struct Greeter {
    pub(crate) greetings: mpsc::Sender<String>,
}

impl Handler<Greet> for Greeter {
    async fn handle(&self, greet: Greet, ctx: &mut Context) -> HandlerResult {
        let greeting = format!("Hello, {}! (message {})", greet.name, ctx.message_id());
        self.greetings.send(greeting).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // A broker and a store that live in this process. `LocalBroker::durable` and `Sled` would survive it.
    let broker = LocalBroker::in_memory(Arc::new(SystemClock));
    let (greetings, mut heard) = mpsc::channel(1);

    // `build` checks everything, and reports all that is wrong at once.
    let greeter = Endpoint::builder("greeter")
        .transport(broker)
        .persistence(Memory::new())
        .handler::<Greet>(Greeter { greetings })
        .build()
        .await?;

    // A session sends from code that is not a handler.
    let session = greeter.session();
    session.send(Greet { name: "world".into() }).await?;

    // The endpoint is one future, and runs until another one says that it is time to stop.
    greeter
        .run_until(async {
            if let Some(greeting) = heard.recv().await {
                println!("{greeting}");
            }
        })
        .await?;
    println!("the endpoint stopped in good order");
    Ok(())
}
