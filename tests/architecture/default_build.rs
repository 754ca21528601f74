//! What a newcomer's `cargo test` builds: no broker client, no cloud SDK, no TLS, and the runtime as it is deployed.

use crate::workspace::Workspace;

/// Crates that bring a broker client or a network database with them.
const OPT_IN: [&str; 3] = ["transports/rabbitmq", "transports/sqs", "persistence/postgres"];

/// A name that ends with `-` stands for all that begin with it.
const HEAVY: [&str; 17] = [
    "aws-",
    "lapin",
    "amqp-",
    "sqlx",
    "sqlx-",
    "tokio-postgres",
    "rustls",
    "rustls-",
    "tokio-rustls",
    "futures-rustls",
    "ring",
    "openssl",
    "openssl-",
    "native-tls",
    "tokio-native-tls",
    "schannel",
    "security-framework",
];

pub(crate) fn members(workspace: &Workspace) -> Vec<String> {
    let strays = workspace
        .members
        .iter()
        .filter(|member| member.is_default && OPT_IN.contains(&member.folder.as_str()));
    strays
        .map(|member| format!("{} must not be among the default-members", member.name))
        .collect()
}

pub(crate) fn packages(workspace: &Workspace) -> Vec<String> {
    let heavy = |package: &str| {
        HEAVY.iter().any(|name| {
            if name.ends_with('-') {
                package.starts_with(name)
            } else {
                package == *name
            }
        })
    };
    let found = workspace.default_build.iter().filter(|package| heavy(package));
    found
        .map(|package| format!("a plain `cargo test` compiles {package}: put it behind a feature"))
        .collect()
}

/// It turns on a feature of core that changes the runtime, in every crate that is built with it.
pub(crate) fn simulation(workspace: &Workspace) -> Vec<String> {
    const SIMULATION: &str = "longhaul-simulation";
    let found = workspace
        .default_build
        .iter()
        .filter(|package| *package == SIMULATION);
    found
        .map(|package| {
            format!("a plain `cargo test` compiles {package}, and with it another runtime: put it behind a feature")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Member;

    #[test]
    fn a_broker_crate_among_the_default_members_is_a_fault() {
        let rabbitmq = Member {
            is_default: true,
            ..Member::in_folder("transports/rabbitmq")
        };
        let local = Member {
            is_default: true,
            ..Member::in_folder("transports/local")
        };
        let told = members(&Workspace::of([rabbitmq, local]));
        assert_eq!(told, ["longhaul-rabbitmq must not be among the default-members"]);
    }

    #[test]
    fn a_cloud_sdk_or_tls_in_the_default_build_is_a_fault() {
        let names = ["aws-sdk-sqs", "rustls", "tokio", "ringbuffer", "string_cache"];
        let default_build = names.into_iter().map(str::to_owned).collect();
        let told = packages(&Workspace {
            default_build,
            ..Workspace::default()
        });
        assert_eq!(told.len(), 2, "{told:?}");
    }
    #[test]
    fn the_simulation_in_the_default_build_is_a_fault() {
        let default_build = ["longhaul-simulation", "longhaul-testing"].map(str::to_owned);
        let told = simulation(&Workspace {
            default_build: default_build.into(),
            ..Workspace::default()
        });
        assert_eq!(told.len(), 1, "{told:?}");
    }
}
