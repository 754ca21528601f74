//! Who makes the requests: a process of the world like the others, with or without a store.

use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::endpoint::{EndpointBuilder, EndpointError, EndpointErrorKind, Session};
use longhaul_core::ids::{InvalidId, MessageId};

use crate::hub::{Incarnation, World};
use crate::machine::RESTART;
use crate::trace::What;
use crate::workload::Request;

/// How often it looks whether all endpoints have been up.
const LOOK: Duration = Duration::from_secs(1);

/// Makes each request until it knows that it was taken; then goes on running, to send what its store holds.
pub(crate) async fn live(
    incarnation: Incarnation,
    builder: EndpointBuilder,
    start: Timestamp,
    requests: Vec<(usize, Request)>,
    awaited: Vec<Address>,
) -> Result<(), EndpointError> {
    let endpoint = builder.build().await?;
    let session = endpoint.session();
    let asking = async {
        incarnation.hub.clock.sleep_until(start).await;
        let are_up = |world: &mut World| awaited.iter().all(|name| world.broker.queues.contains_key(name));
        while !incarnation.act(are_up).await {
            incarnation.pass(LOOK).await;
        }
        for (number, request) in requests {
            incarnation.hub.clock.sleep_until(start + request.at).await;
            ask(&incarnation, &session, number, &request).await?;
        }
        let done = |world: &mut World| world.processes[incarnation.process].is_done = true;
        incarnation.act(done).await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        ended = endpoint.run_until(std::future::pending()) => ended,
        refused = asking => refused,
    }
}

/// Makes one request, under an id that is the same each time.
async fn ask(
    incarnation: &Incarnation,
    session: &Session,
    number: usize,
    request: &Request,
) -> Result<(), EndpointError> {
    while let Ok::<_, InvalidId>(id) = MessageId::new(format!("request-{number}")) {
        let mut batch = session.begin_as(id);
        let id = (request.fill)(&mut batch);
        match batch.commit().await {
            Ok(()) => {
                let accepted = |world: &mut World| incarnation.note(world, What::Accepted(id));
                incarnation.act(accepted).await;
                return Ok(());
            }
            Err(error) if error.kind() == EndpointErrorKind::Refused => return Err(error),
            Err(_) => incarnation.pass(RESTART).await,
        }
    }
    Ok(())
}
