//! What was done in the world, line by line: the books of a department, which know nothing of sagas.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

/// One line of the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Why it is there: repeating what has this key adds no line.
    pub(crate) key: String,
    pub(crate) order: u64,
    pub(crate) what: What,
    pub(crate) cents: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Placed,
    Reserved,
    Released,
    Shipped,
    Charged,
    Declined,
    /// The bank was asked, and took nothing.
    Asked,
    Refunded,
    Completed,
    CancelledDeclined,
    CancelledUnanswered,
}

/// A file of entries that is only ever appended to. A killed process loses at most a line that nobody was told of.
pub(crate) struct Ledger {
    books: Mutex<Books>,
    writer: mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>,
    /// How many entries there are.
    length: watch::Sender<usize>,
}

#[derive(Default)]
struct Books {
    by_order: BTreeMap<u64, Vec<Entry>>,
    by_key: HashMap<String, Entry>,
}

impl Books {
    fn add(&mut self, entry: Entry) {
        self.by_order.entry(entry.order).or_default().push(entry.clone());
        self.by_key.insert(entry.key.clone(), entry);
    }
}

impl Ledger {
    /// Opens the file, and makes it at first use.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let (books, file) =
            read(path).with_context(|| format!("the ledger {} can't be used", path.display()))?;
        let (writer, lines) = mpsc::channel();
        let length = watch::Sender::new(books.by_key.len());
        std::thread::Builder::new()
            .name(String::from("ledger"))
            .spawn(move || write(file, &lines))?;
        Ok(Self {
            books: Mutex::new(books),
            writer,
            length,
        })
    }

    /// Notes what is decided about an order, given what is noted of it already, and returns it once it is on disk. What
    /// has the same key is decided only once.
    pub(crate) async fn note(
        &self,
        key: String,
        order: u64,
        decide: impl FnOnce(&[Entry]) -> (What, u64),
    ) -> io::Result<Entry> {
        let (entry, written) = self.decide(key, order, decide)?;
        written
            .await
            .map_err(|_| io::Error::other("the ledger can't be written"))?;
        Ok(entry)
    }

    fn decide(
        &self,
        key: String,
        order: u64,
        decide: impl FnOnce(&[Entry]) -> (What, u64),
    ) -> io::Result<(Entry, oneshot::Receiver<()>)> {
        let mut books = self.lock();
        let (entry, line) = match books.by_key.get(&key) {
            // Nothing to write, but it may not be on disk yet.
            Some(entry) => (entry.clone(), Vec::new()),
            None => {
                let (what, cents) = decide(books.by_order.get(&order).map_or(&[], Vec::as_slice));
                let entry = Entry {
                    key,
                    order,
                    what,
                    cents,
                };
                let mut line = serde_json::to_vec(&entry)?;
                line.push(b'\n');
                books.add(entry.clone());
                (entry, line)
            }
        };
        let (done, written) = oneshot::channel();
        // Under the lock, so that lines are in the file in the order in which they were decided.
        self.writer
            .send((line, done))
            .map_err(|_| io::Error::other("the ledger can't be written"))?;
        self.length.send_replace(books.by_key.len());
        Ok((entry, written))
    }

    /// Tells how many entries there are, now and whenever there is another one.
    pub(crate) fn length(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }

    /// Whether something with this key is noted.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.lock().by_key.contains_key(key)
    }

    /// Everything noted, by order.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().by_order.values().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> anyhow::Result<(Books, File)> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // A line without its end was being written when the process was killed.
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    file.set_len(whole as u64)?;
    let mut books = Books::default();
    for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
        let entry: Entry = serde_json::from_slice(line)?;
        ensure!(
            !books.by_key.contains_key(&entry.key),
            "it has two entries with the key {}",
            entry.key
        );
        books.add(entry);
    }
    Ok((books, file))
}

/// Writes lines as they come; those that wait at the same time share one sync.
fn write(mut file: File, lines: &mpsc::Receiver<(Vec<u8>, oneshot::Sender<()>)>) {
    while let Ok((mut text, first)) = lines.recv() {
        let mut waiting = vec![first];
        for (line, done) in lines.try_iter() {
            text.extend(line);
            waiting.push(done);
        }
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            tracing::error!(%error, "a ledger can't be written");
            // Whoever waits now, or asks later, is told by the channels that close.
            return;
        }
        for done in waiting {
            // Who gave up waiting asks again.
            done.send(()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("ledger.jsonl")
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[tokio::test]
    async fn when_something_is_repeated_the_first_decision_stands_also_after_a_restart() {
        let directory = directory();
        let ledger = Ledger::open(&path(&directory)).expect("opens");
        let first = ledger
            .note("a".into(), 7, |_| (What::Charged, 500))
            .await
            .expect("noted");
        let again = ledger
            .note("a".into(), 7, |_| (What::Declined, 0))
            .await
            .expect("noted");
        assert_eq!(first, again);
        drop(ledger);
        let ledger = Ledger::open(&path(&directory)).expect("opens");
        assert!(ledger.knows("a"));
        let again = ledger
            .note("a".into(), 7, |_| (What::Declined, 0))
            .await
            .expect("noted");
        assert_eq!(first, again);
        assert_eq!(ledger.entries(), [first]);
    }

    #[tokio::test]
    async fn when_a_decision_is_made_it_sees_what_is_noted_of_the_order() {
        let directory = directory();
        let ledger = Ledger::open(&path(&directory)).expect("opens");
        ledger
            .note("a".into(), 7, |_| (What::Charged, 500))
            .await
            .expect("noted");
        ledger
            .note("b".into(), 8, |_| (What::Charged, 900))
            .await
            .expect("noted");
        let refunded = ledger
            .note("c".into(), 7, |so_far| (What::Refunded, so_far[0].cents))
            .await;
        assert_eq!(refunded.expect("noted").cents, 500);
    }

    #[tokio::test]
    async fn when_a_line_was_being_written_as_the_process_was_killed_it_is_cut_off() {
        let directory = directory();
        let whole = "{\"key\":\"a\",\"order\":7,\"what\":\"shipped\",\"cents\":0}\n";
        std::fs::write(path(&directory), format!("{whole}{{\"key\":\"b\",\"ord")).expect("written");
        let ledger = Ledger::open(&path(&directory)).expect("opens");
        assert_eq!(ledger.entries().len(), 1);
        ledger
            .note("b".into(), 8, |_| (What::Shipped, 0))
            .await
            .expect("noted");
        let text = std::fs::read_to_string(path(&directory)).expect("read");
        assert_eq!(
            text,
            format!(
                "{whole}{}",
                whole.replace("\"a\",\"order\":7", "\"b\",\"order\":8")
            )
        );
    }

    #[test]
    fn when_a_whole_line_can_not_be_read_the_ledger_is_refused() {
        let directory = directory();
        std::fs::write(path(&directory), "a line of something else\n").expect("written");
        assert!(Ledger::open(&path(&directory)).is_err());
    }
}
