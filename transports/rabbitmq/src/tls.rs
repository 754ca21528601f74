//! TLS to the broker: rustls with the system's certificate authorities, and more by choice.

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, crypto,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Builds the client side of TLS.
///
/// # Errors
///
/// `more` holds no certificate in PEM, or there is no authority at all to trust.
pub(crate) fn connector(more: Option<&[u8]>) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = more {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| invalid("the extra certificate is not valid PEM"))?;
            roots
                .add(certificate)
                .map_err(|_| invalid("the extra certificate can't be read"))?;
        }
        if roots.len() == before {
            return Err(invalid("there is no certificate in the extra PEM text"));
        }
    }
    // One unreadable file among the system's certificates must not stop everything: what can be read is used.
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(invalid(
            "the system has no certificate authorities: install ca-certificates",
        ));
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Encrypts a connected socket; the server must prove to be `host`.
pub(crate) async fn encrypt(
    tls: &TlsConnector,
    host: &str,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| invalid("the host is no name for a certificate"))?;
    tls.connect(name, socket).await
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
