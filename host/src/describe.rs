//! `--describe`: how the sagas of the endpoint look, told instead of running it.

use std::io::{self, Write};

use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::endpoint::started::DESCRIBE;
use serde_json::json;

use crate::host::HostError;

/// The option; the variable does the same.
const OPTION: &str = "--describe";

/// Whether this process was asked to.
pub(crate) fn asked() -> bool {
    std::env::args_os().skip(1).any(|argument| argument == OPTION) || std::env::var_os(DESCRIBE).is_some()
}

/// Writes one line of JSON for each to standard output.
pub(crate) fn run(endpoint: &EndpointBuilder) -> Result<(), HostError> {
    for one in endpoint.described() {
        let told = json!({ "described": one.name, "mermaid": one.mermaid, "graphviz": one.graphviz });
        // Whoever reads may have gone.
        writeln!(io::stdout().lock(), "{told}")
            .map_err(|error| HostError::config(format!("describe the endpoint: {error}")))?;
    }
    Ok(())
}
