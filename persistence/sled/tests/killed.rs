//! What is there after the process was killed while it committed. (G1, G2)

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use futures_executor::block_on;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::{MessageId, Randomness, SeededRandomness};
use longhaul_core::store::{
    InboxChange, InboxState, LoadRequest, Loaded, PendingChange, PendingKind, PendingRow, Persistence,
    RecordChange, RecordKey, Store, UnitOfWork,
};
use longhaul_core::transport::Destination;
use longhaul_sled::Sled;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const DIRECTORY: &str = "LONGHAUL_TEST_KILLED_DIRECTORY";
const ROUNDS: u64 = 12;
const CHAINS: u64 = 32;
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Each chain is a record whose every version is a unit: one message done, one row added, the row before it gone.
#[test]
fn when_the_process_is_killed_every_acknowledged_unit_is_there_and_none_is_torn() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("data");
    let randomness = SeededRandomness::new(7);
    let mut committed = BTreeMap::new();
    for _ in 0..ROUNDS {
        let kill_after = randomness.next_u64() % 3_000;
        let acknowledged = run_and_kill(&path, kill_after)?;
        committed = block_on(check(&path, &committed, &acknowledged))?;
    }
    assert!(
        committed.values().sum::<u64>() > 1_000,
        "much was committed: {committed:?}"
    );
    Ok(())
}

/// The process that is killed. It says which version of which chain is committed, one a line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, which kills it"]
async fn the_process_that_is_killed() -> Fallible<()> {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return Ok(());
    };
    let store = Sled::open(directory)?.open(&Address::new("sales")?).await?;
    let chains: Vec<_> = (0..CHAINS)
        .map(|chain| tokio::spawn(extend(Arc::clone(&store), chain)))
        .collect();
    for chain in chains {
        chain.await??;
    }
    Ok(())
}

async fn extend(store: Arc<dyn Store>, chain: u64) -> Fallible<()> {
    let mut version = version(&load(&*store, chain, 0).await?);
    loop {
        store.commit(unit(chain, version)?).await?;
        version += 1;
        // One write, so that no line is mixed with another.
        std::io::stdout().write_all(format!("committed {chain} {version}\n").as_bytes())?;
    }
}

/// Runs the process until it has said so much, and then kills it. Returns what it said, to the last line.
fn run_and_kill(path: &Path, kill_after: u64) -> Fallible<BTreeMap<u64, u64>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "the_process_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, path)
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("it has a standard output")?;
    let mut acknowledged = BTreeMap::new();
    let mut said = 0;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        // The harness may begin a line of ours.
        let Some((_, committed)) = line.split_once("committed ") else {
            continue;
        };
        if let Some((chain, version)) = committed.split_once(' ') {
            acknowledged.insert(chain.parse()?, version.parse()?);
        }
        said += 1;
        if said == kill_after.max(1) {
            child.kill()?;
        }
    }
    let status = child.wait()?;
    assert!(status.code().is_none(), "it must have been killed: {status}");
    Ok(acknowledged)
}

/// Every chain is at the version that was acknowledged, or at the one behind it, with all that belongs to it.
async fn check(
    path: &Path,
    before: &BTreeMap<u64, u64>,
    acknowledged: &BTreeMap<u64, u64>,
) -> Fallible<BTreeMap<u64, u64>> {
    let store = Sled::open(path)?.open(&Address::new("sales")?).await?;
    let mut found = BTreeMap::new();
    for chain in 0..CHAINS {
        let at_least = acknowledged
            .get(&chain)
            .or(before.get(&chain))
            .copied()
            .unwrap_or(0);
        let reached = version(&load(&*store, chain, 0).await?);
        assert!(
            reached == at_least || reached == at_least + 1,
            "chain {chain}: {at_least} was acknowledged, {reached} is there"
        );
        for number in 0..reached {
            let loaded = load(&*store, chain, number).await?;
            assert_eq!(
                loaded.inbox,
                Some(InboxState::Done),
                "message {number} of chain {chain}"
            );
            assert_eq!(
                loaded.pending.is_some(),
                number + 1 == reached,
                "row {number} of chain {chain}"
            );
        }
        let next = load(&*store, chain, reached).await?;
        assert!(
            next.inbox.is_none() && next.pending.is_none(),
            "chain {chain} is torn behind {reached}"
        );
        let record = next.records.into_iter().next().flatten();
        assert!(
            record.is_none_or(|record| record.body == body(chain, reached)),
            "chain {chain} is torn"
        );
        found.insert(chain, reached);
    }
    let sizes = store.admin().sizes().await?;
    assert_eq!(sizes.inbox, found.values().sum::<u64>());
    assert_eq!(
        sizes.records,
        found.values().filter(|version| **version > 0).count() as u64
    );
    assert_eq!(sizes.unsent, sizes.records);
    Ok(found)
}

/// What is known of one message of a chain, with the chain's record and the message's row.
async fn load(store: &dyn Store, chain: u64, number: u64) -> Fallible<Loaded> {
    let request = LoadRequest {
        inbox: MessageId::new(format!("m-{chain}-{number}"))?,
        records: vec![RecordKey::new("chain", chain.to_string())],
        pending: Some(MessageId::new(format!("r-{chain}-{number}"))?),
        now: NOW,
    };
    Ok(store.load(&request).await?)
}

fn version(loaded: &Loaded) -> u64 {
    loaded.records.iter().flatten().map(|record| record.version).sum()
}

/// The unit that brings a chain from `version` to the next one.
fn unit(chain: u64, version: u64) -> Fallible<UnitOfWork> {
    let added = row(MessageId::new(format!("r-{chain}-{version}"))?)?;
    let mut pending = vec![PendingChange::Add(Box::new(added))];
    if let Some(before) = version.checked_sub(1) {
        pending.push(PendingChange::Sent(MessageId::new(format!(
            "r-{chain}-{before}"
        ))?));
    }
    Ok(UnitOfWork {
        inbox: vec![InboxChange {
            id: MessageId::new(format!("m-{chain}-{version}"))?,
            expected: None,
            next: Some(InboxState::Done),
            at: NOW,
        }],
        records: vec![RecordChange::Put {
            key: RecordKey::new("chain", chain.to_string()),
            expected: (version > 0).then_some(version),
            body: body(chain, version + 1),
            expires: None,
        }],
        pending,
    })
}

/// Up to some ten kilobytes that only this version of this chain has.
fn body(chain: u64, version: u64) -> Bytes {
    let times = usize::try_from(version * 7 % 900).unwrap_or(1);
    format!("{chain}:{version};").repeat(times).into()
}

fn row(id: MessageId) -> Fallible<PendingRow> {
    Ok(PendingRow {
        envelope: Envelope::new(id.clone(), Headers::new(), Bytes::from_static(b"{}")),
        id,
        kind: PendingKind::Message,
        owner: None,
        name: String::new(),
        to: Destination::Queue(Address::new("billing")?),
        due: None,
        attention: NOW,
        token: 0,
        alarm_sent: false,
        parked: None,
    })
}
