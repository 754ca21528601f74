//! One message on the socket: its length in four bytes, the highest first, and that many bytes of JSON.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The largest message: a body of 64 MiB in base64, with its headers.
pub(crate) const MOST_BYTES: u32 = 96 << 20;
/// How long the rest of a message may take once it has begun, and how long it may take to be written.
const TRANSFER: Duration = Duration::from_secs(60);

/// Reads one message that begins within `limit`; `None`: the other side is gone.
pub(crate) async fn read<T: DeserializeOwned>(
    stream: &mut UnixStream,
    limit: Duration,
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let begun = timeout(limit, stream.read(&mut length[..1]))
        .await
        .map_err(|_| late())??;
    if begun == 0 {
        return Ok(None);
    }
    let body = timeout(TRANSFER, rest(stream, &mut length))
        .await
        .map_err(|_| late())??;
    let message = serde_json::from_slice(&body);
    message
        .map(Some)
        .map_err(|error| invalid(&format!("it is not what is spoken here: {error}")))
}

async fn rest(stream: &mut UnixStream, length: &mut [u8; 4]) -> io::Result<Vec<u8>> {
    stream.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(*length);
    if length > MOST_BYTES {
        return Err(invalid("it is longer than anything that is spoken here"));
    }
    // As much memory as has come, whatever was announced.
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body).await?;
    if body.len() < usize::try_from(length).unwrap_or(usize::MAX) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

/// Writes one message.
pub(crate) async fn write(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(|error| invalid(&error.to_string()))?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MOST_BYTES);
    let length = length.ok_or_else(|| invalid("it is too large for the socket"))?;
    let written = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&body).await?;
        stream.flush().await
    };
    timeout(TRANSFER, written).await.map_err(|_| late())?
}

fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
