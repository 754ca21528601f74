//! The socket under a connection, plain or with TLS, that can be cut at any time.
//!
//! lapin runs a connection on a thread of its own and has no way to give one up that does not answer: blocked by an
//! alarm, half open, or accepted by something that never speaks. Cutting the socket under it ends all of these.

use std::{
    fmt, io,
    io::{Read, Write},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{
    Tokio, TokioRuntime,
    traits::Reactor,
    util::{DummyIO, RuntimeParts},
};
use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{guard::Guard, tap::Tap};

/// How much is read from the socket at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Tokio for tasks and timers, and [`Wire`] for sockets.
pub(crate) type WireRuntime = RuntimeParts<TokioRuntime, Wires>;

/// A connected socket.
pub(crate) enum Socket {
    /// Unencrypted.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket whose incoming frames pass the [`Guard`].
pub(crate) struct Wire {
    socket: Socket,
    tap: Tap,
    guard: Guard,
    chunk: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(socket: Socket, tap: Tap) -> Self {
        Self {
            socket,
            tap,
            guard: Guard::default(),
            chunk: vec![0; READ_BYTES],
        }
    }

    /// Reads from the socket into the guard. `Ready(Ok(0))` is the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = ReadBuf::new(&mut self.chunk);
        let read = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, &mut chunk),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, &mut chunk),
        };
        ready!(read)?;
        self.guard.push(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tap.close();
    }
}

impl futures_io::AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.tap.may_read(cx.waker())? {
            return Poll::Pending;
        }
        loop {
            let taken = this.guard.take(buffer);
            if taken > 0 || buffer.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            if ready!(this.fill(cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }
}

impl futures_io::AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.tap.may_write(cx.waker())?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.tap.may_write(cx.waker())?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.tap.may_write(cx.waker())?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// What lapin asks for sockets and timers. It opens no socket itself: ours is connected before lapin sees it.
#[derive(Clone, Debug)]
pub(crate) struct Wires(TokioRuntime);

/// The runtime to hand to lapin.
pub(crate) fn runtime() -> async_rs::Runtime<WireRuntime> {
    let tokio = async_rs::Runtime::new(Tokio::current());
    async_rs::Runtime::new(RuntimeParts::new(tokio.clone(), Wires(tokio)))
}

impl Reactor for Wires {
    type TcpStream = Wire;
    type Sleep = <TokioRuntime as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl futures_io::AsyncRead + futures_io::AsyncWrite + Send + Unpin + 'static> {
        Err::<DummyIO, _>(unsupported())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, _: SocketAddr) -> impl Future<Output = io::Result<Wire>> + Send + 'static {
        std::future::ready(Err(unsupported()))
    }
}

fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "sockets are opened before lapin sees them",
    )
}
