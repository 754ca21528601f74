//! A trace in which nobody knew what became of sends and commits, and all is well: no rule may break. What is wrong all the same
//! after it, each rule must find.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use longhaul_core::store::{PendingChange, PendingKind, PendingRow, UnitOfWork};
use longhaul_core::transport::TransportErrorKind;

use super::retries::REASONS;
use super::story::{
    START, Story, add, done, failed_for_good, id, message, message_with, put, row, sales, scheduled, unit,
};
use super::{RULES, first_violation};
use crate::broker::ERROR_QUEUE;
use crate::trace::{Known, Trace};

const UNKNOWN: TransportErrorKind = TransportErrorKind::Unknown;
const DAY: Duration = Duration::from_secs(86_400);

fn due() -> Timestamp {
    START + Duration::from_secs(45)
}

fn delayed(text: &str, cause: &str, due: Timestamp) -> PendingRow {
    let mut row = row(text, cause);
    row.due = Some(due);
    row
}

fn timeout(text: &str, cause: &str, due: Timestamp) -> PendingRow {
    let mut row = delayed(text, cause, due);
    row.kind = PendingKind::Timeout;
    row
}

fn adding(row: PendingRow) -> PendingChange {
    PendingChange::Add(Box::new(row))
}

fn fire(text: &str) -> PendingChange {
    let (id, token) = (id(text), 0);
    PendingChange::Fire { id, token }
}

fn sent(text: &str) -> PendingChange {
    PendingChange::Sent(id(text))
}

fn park(text: &str) -> PendingChange {
    PendingChange::Park {
        id: id(text),
        token: None,
        reason: String::new(),
    }
}

/// What sales sends for `cause`, as its rows say.
fn output(text: &str, cause: &str) -> Arc<Envelope> {
    Arc::new(row(text, cause).outgoing())
}

impl Story {
    fn taken_again(self, envelope: &Arc<Envelope>) -> Self {
        self.taken((**envelope).clone())
    }

    /// It is handed out and handled.
    fn handled(self, envelope: &Arc<Envelope>, index: usize) -> Self {
        let work = unit([done(envelope.id.as_str())], [], []);
        self.handed_out(envelope)
            .commit(work, index)
            .acknowledge((**envelope).clone())
    }

    /// A unit is written and its answer lost; a crash takes it, and it is written again.
    fn commit_twice(self, work: &UnitOfWork, index: usize) -> Self {
        let lost = self.commit(work.clone(), index).disturbed().lose(index);
        lost.commit(work.clone(), index)
    }
}

/// The number of the next unit, after all of it.
const NEXT: usize = 12;

fn story() -> Story {
    let sends = retries(timeouts(marks(sends(asked()))));
    let outputs = ["out", "two", "late"].map(|name| output(name, "m"));
    let handled = outputs
        .iter()
        .zip(8..)
        .fold(sends, |story, (output, index)| story.handled(output, index));
    handled.handled(&output("next", "n"), NEXT - 1)
}

/// A client was not told whether `m` was taken, and asked again. What came of `m` was committed, and its answer lost: handled
/// again, it is known to be done.
fn asked() -> Story {
    let work = unit(
        [done("m")],
        [put("7", None)],
        [
            add("out", "m"),
            add("two", "m"),
            add("bad", "m"),
            adding(delayed("late", "m", due())),
            adding(timeout("t", "m", due())),
        ],
    );
    let m = Arc::new(message("m"));
    Story::new()
        .taken_by_another(message("m"))
        .taken_by_another(message("m"))
        .handed_out(&m)
        .commit(work, 0)
        .disturbed()
        .handed_out(&m)
        .acknowledge(message("m"))
        .handed_out(&m)
        .acknowledge(message("m"))
}

/// Nobody knows what became of four sends: `out` and `late` were taken, `two` and `bad` were not. All are made again; then the
/// broker says that it never takes `bad`.
fn sends(story: Story) -> Story {
    let (out, late) = (output("out", "m"), output("late", "m"));
    story
        .taken_again(&out)
        .refused("out", UNKNOWN)
        .refused("two", UNKNOWN)
        .refused("bad", UNKNOWN)
        .taken_until(&late, due())
        .refused("late", UNKNOWN)
        .disturbed()
        .taken_again(&out)
        .confirmed("out")
        .taken_again(&output("two", "m"))
        .confirmed("two")
        .refused("bad", TransportErrorKind::Invalid)
        .taken_until(&late, due())
        .confirmed("late")
}

/// The marks are written, and nobody is told; a crash takes them, so what they were about is sent again.
fn marks(story: Story) -> Story {
    let marks = || unit([], [], [sent("out"), sent("two"), sent("late"), park("bad")]);
    story
        .commit(marks(), 1)
        .disturbed()
        .lose(1)
        .taken_again(&output("out", "m"))
        .confirmed("out")
        .commit(marks(), 1)
}

/// The broker has an alarm twice, since nobody knew of the first; and its firing is written without an answer.
fn timeouts(story: Story) -> Story {
    let alarm = timeout("t", "m", due()).outgoing();
    let name = alarm.id.clone();
    let (first, second) = (Arc::new(alarm.clone()), Arc::new(alarm.clone()));
    let alarm_sent = PendingChange::AlarmSent {
        id: id("t"),
        token: 0,
        attention: due(),
    };
    let fired = unit([done(name.as_str())], [put("7", Some(1))], [fire("t")]);
    story
        .taken_until(&first, due())
        .refused(name.as_str(), UNKNOWN)
        .taken_until(&second, due())
        .confirmed(name.as_str())
        .commit_twice(&unit([], [], [alarm_sent]), 2)
        .after(Duration::from_secs(30))
        .handed_out(&first)
        .commit(fired, 3)
        .disturbed()
        .handed_out(&first)
        .acknowledge(alarm.clone())
        .handed_out(&second)
        .acknowledge(alarm)
}

/// `n` is handled by a unit that nobody was told of and that a crash took. `r` fails: that it is to come again is written twice
/// in the same way, sent twice, and at last it is in the error queue twice.
fn retries(story: Story) -> Story {
    let n = Arc::new(message("n"));
    let r = Arc::new(message("r"));
    let again = Arc::new(message_with("r", headers::GENERATION, "1"));
    let mut retry = row("r-1", "r");
    (retry.name, retry.envelope) = ("retry".into(), (*again).clone());
    story
        .taken_by_another(message("n"))
        .handed_out(&n)
        .commit_twice(&unit([done("n")], [put("7", Some(2))], [add("next", "n")]), 4)
        .acknowledge(message("n"))
        .taken_again(&output("next", "n"))
        .refused("next", UNKNOWN)
        .taken_again(&output("next", "n"))
        .confirmed("next")
        .commit(unit([], [], [sent("next")]), 5)
        .taken_by_another(message("r"))
        .handed_out(&r)
        .commit_twice(&unit([scheduled("r", 1, 1)], [], [adding(retry)]), 6)
        .acknowledge(message("r"))
        .taken_again(&again)
        .refused("r", UNKNOWN)
        .taken_again(&again)
        .confirmed("r")
        .handed_out(&again)
        .taken_into(ERROR_QUEUE, failed())
        .refused("r", UNKNOWN)
        .taken_into(ERROR_QUEUE, failed())
        .confirmed("r")
        .commit_twice(&unit([failed_for_good("r")], [], [sent("r-1")]), 7)
        .acknowledge((*again).clone())
        .acknowledge((*again).clone())
}

/// `r` as it is in the error queue.
fn failed() -> Envelope {
    let mut failed = message("r");
    REASONS.into_iter().for_each(|name| failed.headers.set(name, "x"));
    failed.headers.set(headers::ERROR_SOURCE, "sales");
    failed
}

/// The end of a story: two copies in the error queue, and a row that is set aside.
fn ended(story: Story) -> Trace {
    let mut trace = story.trace();
    trace.failed = vec![Arc::new(failed()), Arc::new(failed())];
    let parked = vec![id("bad")];
    trace.known.insert(sales(), Known { parked });
    trace
}

fn asking(text: &str, rows: [PendingChange; 1]) -> UnitOfWork {
    unit([done(text)], [], rows)
}

/// What breaks each rule after it, in the order of the rules; most of it takes what is unknown for known.
fn wrong() -> [Trace; RULES.len()] {
    let more = |work: UnitOfWork| story().commit(work, NEXT);
    let added = || more(asking("x", [add("y", "x")])).refused("y", UNKNOWN);
    let (now, later) = (|| adding(timeout("u", "x", START)), START + 10 * DAY);
    let late = more(asking("x", [adding(delayed("y", "x", later))])).refused("y", UNKNOWN);
    let counted = || unit([scheduled("x", 1, 2)], [], []);
    let talk = message_with("x", headers::CONVERSATION, "talk");
    let stranger = story().taken_by_another(talk);
    let mut bare = ended(story());
    bare.failed.push(Arc::new(message("r")));
    let mut restless = ended(story());
    restless.unsettled = Some(String::from("n waits in sales"));
    let told = [
        // The commit of `n` took effect, though nobody was told.
        more(unit([done("n")], [], [])),
        more(unit([], [put("8", None)], [])),
        more(unit([done("x")], [put("7", Some(2))], [])),
        // Nobody knows of its commit, and there was none.
        story().taken_by_another(message("x")).acknowledge(message("x")),
        // It leaves while its commit may be lost, and is.
        more(asking("x", [add("y", "x")])).lose(NEXT).taken(message("y")),
        added().commit(unit([], [], [sent("y")]), NEXT + 1),
        more(asking("x", [adding(timeout("u", "x", later))])).commit(unit([], [], [fire("u")]), NEXT + 1),
        more(asking("x", [now()])),
        more(asking("x", [now()]))
            .after(DAY)
            .commit(unit([], [], [fire("u")]), NEXT + 1),
        story().taken(message_with("out", headers::CAUSATION, "m")),
        added(),
        story().taken_by_another(message("x")),
        added().commit(unit([], [], [park("y")]), NEXT + 1),
        late.taken(message("y")),
        story().delivered(message("x"), Some(later), Duration::ZERO),
        more(asking("x", [add("y", "m")])),
        stranger.commit(asking("x", [add("y", "x")]), NEXT),
    ];
    let [
        once,
        together,
        chained,
        early,
        sent,
        marked,
        fired,
        open,
        overdue,
        same,
        outputs,
        conserved,
        parked,
        kept,
        came,
        caused,
        talked,
    ] = told.map(ended);
    let attempts = ended(more(counted()).commit(counted(), NEXT + 1));
    [
        once, together, chained, early, sent, marked, fired, open, overdue, same, outputs, conserved, parked,
        kept, came, caused, talked, bare, attempts, restless,
    ]
}

#[test]
fn when_outcomes_are_unknown_and_all_is_well_no_rule_is_broken() {
    let trace = ended(story());
    for (name, rule) in RULES {
        assert_eq!(rule(&trace), Ok(()), "{name}");
    }
    assert_eq!(first_violation(&trace), None);
}

#[test]
fn when_something_is_wrong_amid_unknown_outcomes_its_rule_finds_it() {
    for ((name, rule), trace) in RULES.into_iter().zip(wrong()) {
        assert!(rule(&trace).is_err(), "{name}");
    }
}
