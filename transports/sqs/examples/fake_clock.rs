//! Delays of a quarter of an hour to some hours on an emulator whose clock runs sixty times as fast: real laps of 900 s.
//!
//! `cargo run -p longhaul-sqs --example fake_clock`, with the Debian packages faketime and libfaketime. It starts an
//! emulator of its own with `scripts/sqs.sh`, takes about four minutes, and ends with 0 only if every message arrived
//! once, not early, and soon after its time.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock, Timestamp},
    envelope::Envelope,
    headers::Headers,
    ids::MessageId,
    transport::{Declare, Destination, Dispatch, ReceiverOptions, Topology, Transport},
};
use longhaul_sqs::{Sqs, laps::laps};

const SPEED: u32 = 60;
const DELAYS: [u64; 6] = [900, 901, 1925, 3600, 7200, 10_800];
/// How late a message may be on the emulator's clock: a tenth of a second for its requests, sixty times as fast.
const LATE: Duration = Duration::from_secs(6);

/// The emulator's clock: fast, and so are its delays, so that nothing is converted.
#[derive(Debug, Clone, Copy)]
struct FastClock(Timestamp);

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.0 + SystemClock.now().since(self.0) * SPEED
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        let left = due.since(self.now()) / SPEED;
        Box::pin(tokio::time::sleep(left))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let folder = std::env::temp_dir().join(format!("longhaul-fake-clock-{}", std::process::id()));
    let result = run(&folder).await;
    drop(emulator(&folder, &["stop-all"]));
    drop(std::fs::remove_dir_all(&folder));
    match result {
        Ok(()) => {
            println!("all {} delayed messages arrived once, none early", DELAYS.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let url = emulator(folder, &["start", "clock"])?;
    let clock = FastClock(SystemClock.now());
    let sqs = Sqs::builder().emulator(url.trim()).clock(Arc::new(clock));
    let sqs = sqs.long_delays().connect().await?;
    let queue = Address::new("sales")?;
    let topology = Topology {
        queues: vec![queue.clone()],
        delays: true,
        ..Topology::default()
    };
    sqs.prepare(&topology, Declare::Declare).await?;
    let mut receiver = sqs.receiver(&queue, ReceiverOptions::default()).await?;
    let began = clock.now();
    let batch: Vec<Dispatch> = DELAYS
        .iter()
        .map(|seconds| {
            let id = MessageId::new(seconds.to_string())?;
            Ok(Dispatch {
                envelope: Envelope::new(id, Headers::new(), "{}".into()),
                to: Destination::Queue(queue.clone()),
                due: Some(began + Duration::from_secs(*seconds)),
            })
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    for sent in sqs.dispatch(&batch).await {
        sent?;
    }
    println!("delay s | laps | arrived after s, on the emulator's clock");
    for seconds in DELAYS {
        let limit = Duration::from_secs(seconds) / SPEED * 2 + Duration::from_secs(20);
        let (incoming, settlement) = tokio::time::timeout(limit, receiver.receive())
            .await??
            .into_parts();
        let took = clock.now().since(began);
        settlement.acknowledge().await?;
        let id = String::from_utf8(incoming.id.unwrap_or_default())?;
        let delay = Duration::from_secs(id.parse()?);
        println!("{id:>7} | {:>4} | {:.1}", laps(delay).0, took.as_secs_f64());
        if id != seconds.to_string() || took < delay || took > delay + LATE {
            return Err(format!("{id} came after {took:?}, and {seconds} was next").into());
        }
    }
    // Nothing more comes, within three laps.
    let again = tokio::time::timeout(Duration::from_secs(2700) / SPEED, receiver.receive()).await;
    if again.is_ok() {
        return Err("a message came twice".into());
    }
    receiver.close().await?;
    Ok(())
}

fn emulator(folder: &Path, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sqs.sh");
    let output = Command::new(script)
        .args(arguments)
        .env("LONGHAUL_EMULATORS", folder)
        .env("LONGHAUL_EMULATOR_CLOCK", format!("+0x{SPEED}"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
