//! TLS, through a proxy that speaks it in front of the broker.

use std::sync::Arc;

use longhaul_core::transport::{Accepted, ReceiverOptions, Transport, TransportErrorKind};
use longhaul_rabbitmq::{RabbitMq, UriError};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto, pki_types::PrivateKeyDer},
};

use crate::support::{
    messages::{next, send, to},
    scratch::scratch,
    soon, url,
};

/// A broker that speaks TLS under a name; returns its address and its certificate in PEM.
async fn encrypted(name: &str) -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                let url = url();
                let broker = url
                    .split('@')
                    .nth(1)
                    .and_then(|rest| rest.split('/').next())
                    .unwrap();
                let mut broker = TcpStream::connect(broker).await.unwrap();
                // How it ends is for the two to know.
                copy_bidirectional(&mut client, &mut broker).await.ok();
            });
        }
    });
    (format!("amqps://guest:guest@localhost:{port}/%2f"), cert.pem())
}

#[tokio::test]
async fn when_the_certificate_is_trusted_messages_go_both_ways() {
    scratch(async |scratch| {
        let (_, queue) = scratch.with_queue("in").await;
        let (url, certificate) = encrypted("localhost").await;
        let transport = scratch
            .builder_at(&url)
            .certificates(certificate)
            .connect()
            .await
            .unwrap();
        let mut big = to(&queue, "1");
        big.envelope.body = vec![b'x'; 1_000_000].into();
        assert_eq!(send(&transport, big).await, Ok(Accepted::Queued));
        let mut receiver = transport
            .receiver(&queue, ReceiverOptions::default())
            .await
            .unwrap();
        let got = next(&mut receiver).await;
        assert_eq!(got.incoming.body.len(), 1_000_000);
        got.done().await;
        receiver.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_the_certificate_is_unknown_or_of_another_name_there_is_no_connection() {
    let (url, certificate) = encrypted("localhost").await;
    let (other_url, other_certificate) = encrypted("other.example").await;
    for (url, trusted) in [(&url, &other_certificate), (&other_url, &other_certificate)] {
        let connecting = RabbitMq::builder(url).certificates(trusted.clone()).connect();
        let error = soon("an error", connecting)
            .await
            .expect_err("it is not to be trusted");
        assert_eq!(error.kind(), TransportErrorKind::Disconnected);
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let connecting = RabbitMq::builder(&url).certificates(certificate).connect();
    soon("the right one", connecting).await.unwrap();
}

#[tokio::test]
async fn when_the_extra_certificates_are_none_it_is_said_before_connecting() {
    for bad in [
        "",
        "not PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = RabbitMq::builder("amqps://localhost:1")
            .certificates(bad)
            .connect()
            .await
            .expect_err(bad);
        assert_eq!(error.kind(), TransportErrorKind::Configuration, "{error}");
    }
}

#[tokio::test]
async fn when_another_machine_would_be_reached_without_tls_it_must_be_allowed() {
    let refused = RabbitMq::connect("amqp://broker.example")
        .await
        .expect_err("no TLS");
    assert_eq!(refused.kind(), TransportErrorKind::Configuration);
    assert!(
        refused.to_string().contains(&UriError::Plaintext.to_string()),
        "{refused}"
    );
    // Nobody is there, but it was tried.
    let allowed = RabbitMq::builder("amqp://0.0.0.0:1")
        .allow_plaintext()
        .connect()
        .await
        .expect_err("nobody is there");
    assert_eq!(allowed.kind(), TransportErrorKind::Disconnected);
}
