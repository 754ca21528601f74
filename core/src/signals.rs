//! When the process is asked to stop.

/// Resolves at the first SIGINT (Ctrl-C) or, on Unix, SIGTERM: for [`crate::endpoint::Endpoint::run_until`].
///
/// ```no_run
/// # async fn run(endpoint: longhaul_core::endpoint::Endpoint) -> Result<(), longhaul_core::endpoint::EndpointError> {
/// endpoint.run_until(longhaul_core::signals::stop_signal()).await
/// # }
/// ```
pub async fn stop_signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "could not listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "could not listen for SIGTERM");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
