//! A client that sends whatever bytes it likes as a message's properties, as only a hand-made one can.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::url;

/// The order of a message's properties; the flag of the first is the highest bit.
pub(crate) const CONTENT_TYPE: u16 = 0x8000;
pub(crate) const HEADERS: u16 = 0x2000;
pub(crate) const MESSAGE_ID: u16 = 0x0080;

pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()][..], text].concat()
}

pub(crate) fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// Publishes one message to a queue and waits until the broker has read it.
pub(crate) async fn publish(queue: &str, flags: u16, properties: &[u8], body: &[u8]) {
    let url = url();
    let broker = url
        .split('@')
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap();
    let mut socket = TcpStream::connect(broker).await.unwrap();
    socket.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
    answer(&mut socket).await;
    let login = [
        &long(b"")[..],
        &short(b"PLAIN"),
        &long(b"\0guest\0guest"),
        &short(b"en_US"),
    ]
    .concat();
    method(&mut socket, 0, (10, 11), &login).await;
    let tune = answer(&mut socket).await;
    method(&mut socket, 0, (10, 31), &[&tune[4..10], &[0, 0]].concat()).await;
    method(
        &mut socket,
        0,
        (10, 40),
        &[&short(b"/")[..], &short(b""), &[0]].concat(),
    )
    .await;
    answer(&mut socket).await;
    method(&mut socket, 1, (20, 10), &short(b"")).await;
    answer(&mut socket).await;
    method(
        &mut socket,
        1,
        (60, 40),
        &[&[0, 0][..], &short(b""), &short(queue.as_bytes()), &[0]].concat(),
    )
    .await;
    let size = u64::try_from(body.len()).unwrap().to_be_bytes();
    let header = [&[0, 60, 0, 0][..], &size, &flags.to_be_bytes(), properties].concat();
    frame(&mut socket, 2, 1, &header).await;
    frame(&mut socket, 3, 1, body).await;
    // The broker closes a channel in order: its answer means that it has taken the message.
    method(
        &mut socket,
        1,
        (20, 40),
        &[&[0, 200][..], &short(b""), &[0; 4]].concat(),
    )
    .await;
    let closed = answer(&mut socket).await;
    assert_eq!(
        closed[..4],
        [0, 20, 0, 41],
        "the broker refused the message: {}",
        String::from_utf8_lossy(&closed)
    );
}

async fn method(socket: &mut TcpStream, channel: u16, method: (u16, u16), arguments: &[u8]) {
    let content = [&method.0.to_be_bytes()[..], &method.1.to_be_bytes(), arguments].concat();
    frame(socket, 1, channel, &content).await;
}

async fn frame(socket: &mut TcpStream, kind: u8, channel: u16, content: &[u8]) {
    let bytes = [&[kind][..], &channel.to_be_bytes(), &long(content), &[0xce]].concat();
    socket.write_all(&bytes).await.unwrap();
}

/// The content of the next frame of the broker.
async fn answer(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 7];
    socket.read_exact(&mut head).await.unwrap();
    let size = u32::from_be_bytes(head[3..].try_into().unwrap());
    let mut content = vec![0; usize::try_from(size).unwrap() + 1];
    socket.read_exact(&mut content).await.unwrap();
    content
}
