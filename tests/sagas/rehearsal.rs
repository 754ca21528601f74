//! Failed messages tried on a mended saga before anybody replays them.

use longhaul::endpoint::{EndpointBuilder, Rehearsed, Verdict};
use longhaul::envelope::Incoming;
use longhaul::handler::HandlerError;
use longhaul::headers;
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

use crate::world::World;

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("trial.opened.v1")]
struct Opened {
    account: u64,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("trial.pay_in.v1")]
struct PayIn {
    account: u64,
    cents: i64,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("trial.send_receipt.v1")]
struct SendReceipt {
    total: i64,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("trial.print.v1")]
struct Print {
    is_readable: bool,
}

/// An account; the version with the bug can't take more than 100 cents at a time.
#[derive(Serialize, Deserialize)]
struct Account<const MENDED: bool> {
    total: i64,
}

impl<const MENDED: bool> Saga for Account<MENDED> {
    const NAME: &'static str = "account";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Opened| m.account, |_, _| Ok(Self { total: 0 }));
        saga.handles(|m: &PayIn| m.account, Self::on_pay_in);
    }
}

impl<const MENDED: bool> Account<MENDED> {
    fn on_pay_in(&mut self, paid: PayIn, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if !MENDED && paid.cents > 100 {
            return Err(HandlerError::permanent("pay in: too much for a u8"));
        }
        if paid.cents < 0 {
            return Err(HandlerError::permanent("pay in: less than nothing"));
        }
        self.total += paid.cents;
        ctx.send(SendReceipt { total: self.total });
        Ok(())
    }
}

/// Has a dry run for what it can read.
struct Printer;

impl Handler<Print> for Printer {
    async fn handle(&self, _: Print, _: &mut Context) -> HandlerResult {
        Err(HandlerError::permanent("print: out of paper"))
    }

    async fn dry_run(&self, print: Print, _: &mut Context) -> Option<HandlerResult> {
        print.is_readable.then_some(Ok(()))
    }
}

fn bank<const MENDED: bool>(world: &World) -> EndpointBuilder {
    world
        .endpoint("bank")
        .saga::<Account<MENDED>>()
        .handler::<Print>(Printer)
        .route::<SendReceipt>("post")
}

/// What lies in the error queue after the bank with the bug has had its day.
fn failed(world: &World) -> Vec<Incoming> {
    let post = world.start(world.stateless("post").idempotent_handler::<SendReceipt>(Takes));
    let bank = world.start(bank::<false>(world));
    world.run(async {
        bank.session.publish(Opened { account: 1 }).await.expect("sends");
        for cents in [50, 500, 700, -1] {
            bank.session
                .send(PayIn { account: 1, cents })
                .await
                .expect("sends");
        }
        for is_readable in [true, false] {
            bank.session.send(Print { is_readable }).await.expect("sends");
        }
    });
    world.until("the error queue", || world.browse("error").len() == 5);
    bank.stop(world).expect("stops");
    post.stop(world).expect("stops");
    let mut messages: Vec<_> = world
        .browse("error")
        .into_iter()
        .map(|browsed| browsed.incoming)
        .collect();
    // Those that fail at the same time come in any order: -1, 500, 700; unreadable, readable.
    messages.sort_by(|one, other| one.body.cmp(&other.body));
    messages
}

struct Takes;

impl Handler<SendReceipt> for Takes {
    async fn handle(&self, _: SendReceipt, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

fn rehearse(world: &World, builder: EndpointBuilder, messages: &[Incoming]) -> Vec<Rehearsed> {
    world.run(async {
        let mut rehearsal = builder.rehearsal().await.expect("opens");
        let mut all = Vec::new();
        for message in messages {
            all.push(rehearsal.of(message).await.expect("reads"));
        }
        all
    })
}

#[test]
fn when_failed_messages_are_rehearsed_on_a_mended_saga_each_says_what_would_become_of_it() {
    let world = World::new();
    let messages = failed(&world);
    let before = world.sizes("bank");
    let queued = world.browse("post").len();

    let same = rehearse(&world, bank::<false>(&world), &messages);
    assert!(
        same[..3]
            .iter()
            .all(|one| matches!(one.verdict, Verdict::Fails { .. })),
        "{same:?}"
    );

    let mended = rehearse(&world, bank::<true>(&world), &messages);
    let totals: Vec<_> = mended
        .iter()
        .filter_map(|one| match &one.verdict {
            Verdict::Succeeds(consequences) => Some(consequences.sends.first()?.body.clone()),
            _ => None,
        })
        .collect();
    // The second finds what the first would have changed.
    assert_eq!(totals, [r#"{"total":550}"#, r#"{"total":1250}"#]);
    let Verdict::Succeeds(first) = &mended[1].verdict else {
        panic!("{mended:?}")
    };
    assert_eq!(first.sends[0].to, "queue post");
    let (was, would_be) = (
        first.changes[0].before.as_deref(),
        first.changes[0].after.as_deref(),
    );
    let contains = |body: Option<&[u8]>, text: &str| {
        body.is_some_and(|body| String::from_utf8_lossy(body).contains(text))
    };
    assert!(contains(was, r#""total":50}"#) && contains(would_be, r#""total":550}"#));
    let Verdict::Fails { text, .. } = &mended[0].verdict else {
        panic!("{mended:?}")
    };
    assert_eq!(text, "pay in: less than nothing");
    assert!(
        matches!(mended[4].verdict, Verdict::Succeeds(_)),
        "it has a dry run"
    );
    assert!(
        matches!(mended[3].verdict, Verdict::Unknown { .. }),
        "it has none"
    );

    assert_eq!(world.sizes("bank"), before, "nothing was written");
    assert_eq!(world.browse("post").len(), queued, "nothing was sent");
    assert_eq!(world.browse("error").len(), 5);
}

#[test]
fn when_what_is_rehearsed_was_handled_or_can_not_be_read_the_verdict_says_so() {
    let world = World::new();
    let mut messages = failed(&world);
    messages.truncate(3);
    messages[0].body = b"{".as_slice().into();
    messages[1].headers.retain(|(name, _)| name != headers::TYPE);
    messages[2].id = None;
    let verdicts = rehearse(&world, bank::<true>(&world), &messages);
    assert!(
        verdicts
            .iter()
            .all(|one| matches!(one.verdict, Verdict::Fails { .. })),
        "{verdicts:?}"
    );
}

/// Copies payments into a book, and nobody knows how that would go.
struct Book;

impl Handler<PayIn> for Book {
    async fn handle(&self, _: PayIn, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

#[test]
fn when_nobody_knows_of_a_message_the_next_one_does_not_find_its_changes() {
    let world = World::new();
    let messages = failed(&world);
    let with_book = bank::<true>(&world).handler::<PayIn>(Book);
    let verdicts = rehearse(&world, with_book, &messages[1..3]);
    let totals: Vec<_> = verdicts
        .iter()
        .filter_map(|one| match &one.verdict {
            Verdict::Unknown { consequences, .. } => Some(consequences.sends.first()?.body.clone()),
            _ => None,
        })
        .collect();
    // Each finds the 50 that are there.
    assert_eq!(totals, [r#"{"total":550}"#, r#"{"total":750}"#]);
}

#[test]
fn when_the_body_of_a_message_is_kept_elsewhere_nobody_knows() {
    let world = World::new();
    let mut messages = failed(&world);
    messages.truncate(2);
    messages[1].body = Vec::new().into();
    let claim = b"6c8f1b7e-53d2-4a0c-9be4-2f5d0a9137c6 9".to_vec();
    messages[1].headers.push((headers::BODY.to_owned(), claim));
    let verdicts = rehearse(&world, bank::<true>(&world), &messages);
    let Verdict::Unknown { why, .. } = &verdicts[1].verdict else {
        panic!("{verdicts:?}")
    };
    assert_eq!(why, "its body is kept elsewhere");
}
