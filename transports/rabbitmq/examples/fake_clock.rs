//! Delays of a day to 8.5 years on a real broker whose clock is set forward: each message arrives once, never early.
//!
//! `cargo run -p longhaul-rabbitmq --example fake_clock`, with the Debian packages rabbitmq-server, faketime and
//! libfaketime. It starts a broker of its own with `scripts/rabbitmq.sh`, takes about five minutes, and ends with 0
//! only if everything arrived.
//!
//! One jump is not enough: a message starts its wait in each level when it gets there. So the clock goes forward in
//! steps, and a message with many bits set in its delay takes as many steps more.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock, Timestamp},
    envelope::Envelope,
    headers::Headers,
    ids::MessageId,
    transport::{Declare, Destination, Dispatch, Receiver, ReceiverOptions, Topology, Transport},
};
use longhaul_rabbitmq::RabbitMq;

const DAY: u64 = 86_400;
const DELAYS: [(&str, u64); 5] = [
    ("a day", DAY),
    ("30 days", 30 * DAY),
    ("a year", 365 * DAY),
    ("4.25 years", 1 << 27),
    ("8.5 years", (1 << 28) - 1),
];
/// How far the clock goes with every step. Smaller steps cost the broker less: it makes up for every timer in between.
const STEP: u64 = 30 * DAY;
/// The broker's libfaketime looks at its file once a second.
const PAUSE: Duration = Duration::from_millis(1200);
/// Steps after the last arrival in which nothing more may come.
const AFTERWARDS: u32 = 5;
/// 8.5 years in steps, 28 levels, and as many to spare.
const MOST_STEPS: u64 = ((1 << 28) / STEP + 28) * 2;

#[tokio::main]
async fn main() -> ExitCode {
    let folder = std::env::temp_dir().join(format!("longhaul-fake-clock-{}", std::process::id()));
    let result = run(&folder).await;
    drop(broker(&folder, &["stop-all"]));
    match result {
        Ok(()) => {
            drop(std::fs::remove_dir_all(&folder));
            println!("all {} delayed messages arrived once, none early", DELAYS.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failed: {error}; the broker's log is in {}", folder.display());
            ExitCode::FAILURE
        }
    }
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let mut clock = BrokerClock::new(folder)?;
    let url = broker(folder, &["start", "fake"])?;
    // Years pass between two heartbeats.
    broker(
        folder,
        &[
            "ctl",
            "fake",
            "eval",
            "application:set_env(rabbit, heartbeat, 0).",
        ],
    )?;
    let transport = RabbitMq::builder(format!("{url}?heartbeat=0")).connect().await?;
    let queue = Address::new("alarms")?;
    let topology = Topology {
        queues: vec![queue.clone()],
        delays: true,
        ..Topology::default()
    };
    transport.prepare(&topology, Declare::Declare).await?;
    send(&transport, &queue).await?;

    let mut receiver = transport.receiver(&queue, ReceiverOptions::default()).await?;
    let mut arrived = BTreeMap::new();
    let mut quiet = 0;
    for _ in 0..MOST_STEPS {
        clock.step()?;
        while let Some(delay) = next(&mut receiver, PAUSE).await? {
            note(delay, &clock, &mut arrived)?;
        }
        if arrived.len() == DELAYS.len() {
            quiet += 1;
        }
        if quiet > AFTERWARDS {
            let depths = transport.verify_delays().await?;
            let left: u32 = depths.iter().map(|(_, messages)| messages).sum();
            return if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} messages are still delayed").into())
            };
        }
    }
    Err(format!("only these arrived: {arrived:?}").into())
}

async fn send(transport: &RabbitMq, queue: &Address) -> Result<(), Box<dyn Error>> {
    let now = SystemClock.now();
    for (name, seconds) in DELAYS {
        let envelope = Envelope::new(
            MessageId::new(seconds.to_string())?,
            Headers::new(),
            name.as_bytes().into(),
        );
        let due = Some(now + Duration::from_secs(seconds));
        let dispatch = Dispatch {
            envelope,
            to: Destination::Queue(queue.clone()),
            due,
        };
        for outcome in transport.dispatch(&[dispatch]).await {
            outcome?;
        }
    }
    Ok(())
}

/// The delay of the next message, if one comes in time.
async fn next(receiver: &mut Box<dyn Receiver>, limit: Duration) -> Result<Option<u64>, Box<dyn Error>> {
    let Ok(delivery) = tokio::time::timeout(limit, receiver.receive()).await else {
        return Ok(None);
    };
    let (incoming, settlement) = delivery?.into_parts();
    settlement.acknowledge().await?;
    Ok(Some(String::from_utf8(incoming.id.unwrap_or_default())?.parse()?))
}

fn note(delay: u64, clock: &BrokerClock, arrived: &mut BTreeMap<u64, u64>) -> Result<(), Box<dyn Error>> {
    let name = DELAYS
        .iter()
        .find(|(_, seconds)| *seconds == delay)
        .map_or("?", |(name, _)| name);
    let passed = clock.passed();
    println!("{name}: due after {delay} s, came when {passed} s had passed for the broker");
    if passed < delay {
        return Err(format!("{name} came {} s early", delay - passed).into());
    }
    if arrived.insert(delay, passed).is_some() {
        return Err(format!("{name} came twice").into());
    }
    Ok(())
}

/// The file that libfaketime reads the broker's offset from.
struct BrokerClock {
    file: PathBuf,
    offset: u64,
    began: Timestamp,
}

impl BrokerClock {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let clock = Self {
            file: folder.join("clock"),
            offset: 0,
            began: SystemClock.now(),
        };
        clock.write()?;
        Ok(clock)
    }

    fn step(&mut self) -> std::io::Result<()> {
        self.offset += STEP;
        self.write()
    }

    /// Whole, or not at all: the broker may read at any time.
    fn write(&self) -> std::io::Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("+{}\n", self.offset))?;
        std::fs::rename(new, &self.file)
    }

    /// How many seconds have passed for the broker at most.
    fn passed(&self) -> u64 {
        self.offset + SystemClock.now().since(self.began).as_secs() + 1
    }
}

/// Runs `scripts/rabbitmq.sh`; returns what it prints.
fn broker(folder: &Path, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/rabbitmq.sh");
    let output = Command::new(script)
        .args(arguments)
        .env("LONGHAUL_BROKERS", folder.join("brokers"))
        .env(
            "LONGHAUL_BROKER_CLOCK",
            format!("@{}", folder.join("clock").display()),
        )
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "rabbitmq.sh {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
