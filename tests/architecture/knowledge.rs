//! What a crate must never know of: other crates, foreign clients, words, calls.

use std::collections::BTreeSet;

use crate::workspace::{Member, Use, Workspace};

const CLIENTS_OF_BROKERS: [&str; 8] = [
    "lapin",
    "amqprs",
    "rdkafka",
    "rumqttc",
    "async-nats",
    "aws-config",
    "aws-sdk-sns",
    "aws-sdk-sqs",
];
const CLIENTS_OF_DATABASES: [&str; 7] = [
    "sqlx",
    "tokio-postgres",
    "postgres",
    "rusqlite",
    "diesel",
    "sea-orm",
    "sled",
];
const SERVERS: [&str; 8] = [
    "axum",
    "hyper",
    "actix-web",
    "warp",
    "poem",
    "rocket",
    "tiny_http",
    "tonic",
];
const ARGUMENT_PARSERS: [&str; 6] = ["clap", "argh", "pico-args", "lexopt", "structopt", "bpaf"];
const RUNTIMES: [&str; 6] = [
    "tokio",
    "async-std",
    "smol",
    "async-executor",
    "futures-executor",
    "glommio",
];

/// Benchmarks measure a bare client beside ours, so they may name any.
const MEASURES: &str = "benches";

/// Its tests delete the queues that they declared on a broker that all tests share, which nothing of ours does.
const SWEEPS: (&str, &str) = ("lapin", "ops/cli");

/// Client and the one folder that may name it, in tests too.
const HOMES: [(&str, &str); 9] = [
    ("lapin", "transports/rabbitmq"),
    ("aws-sdk-sqs", "transports/sqs"),
    ("aws-sdk-sns", "transports/sqs"),
    ("aws-sdk-s3", "transports/sqs"),
    ("aws-config", "transports/sqs"),
    ("aws-smithy-http-client", "transports/sqs"),
    ("sled", "embedded"),
    ("sqlx", "persistence/postgres"),
    ("tokio-postgres", "persistence/postgres"),
];

pub(crate) fn of_core(workspace: &Workspace) -> Vec<String> {
    let strangers = [
        &CLIENTS_OF_BROKERS[..],
        &CLIENTS_OF_DATABASES,
        &SERVERS,
        &ARGUMENT_PARSERS,
    ]
    .concat();
    let found = |member: &Member| {
        let found = strangers
            .iter()
            .filter(|stranger| member.below.contains(**stranger));
        found
            .map(|stranger| format!("{} must not depend on {stranger}, at any depth", member.name))
            .collect::<Vec<_>>()
    };
    workspace.under("core").flat_map(found).collect()
}

pub(crate) fn words_of_core(workspace: &Workspace) -> Vec<String> {
    lines(
        workspace,
        "core",
        |line| line.to_lowercase().contains("saga"),
        "the word `saga` must not occur",
    )
}

pub(crate) fn of_sagas(workspace: &Workspace) -> Vec<String> {
    let direct = strangers_of(workspace, "sagas", &RUNTIMES);
    let own = own_crates_beside(workspace, "sagas", &["core"]);
    direct.into_iter().chain(own).collect()
}

pub(crate) fn calls_of_sagas(workspace: &Workspace) -> Vec<String> {
    const CALLS: [&str; 8] = [
        ".now(",
        "::now(",
        "SystemTime",
        "Instant",
        ".elapsed(",
        "tokio::",
        "async fn",
        ".await",
    ];
    let is_call = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        CALLS.iter().any(|call| occurs(call, code))
    };
    lines(
        workspace,
        "sagas",
        is_call,
        "time is an argument and nothing is awaited here",
    )
}

pub(crate) fn of_transports(workspace: &Workspace) -> Vec<String> {
    own_crates_beside(workspace, "transports", &["core", "embedded"])
}

pub(crate) fn of_stores(workspace: &Workspace) -> Vec<String> {
    own_crates_beside(workspace, "persistence", &["core", "embedded"])
}

pub(crate) fn of_read_models(workspace: &Workspace) -> Vec<String> {
    let foreign = [&CLIENTS_OF_BROKERS[..], &CLIENTS_OF_DATABASES].concat();
    let direct = strangers_of(workspace, "ops/model", &foreign);
    let own = own_crates_beside(
        workspace,
        "ops/model",
        &["core", "sagas", "testing", "ops/record"],
    );
    direct.into_iter().chain(own).collect()
}

/// It passes the seams on, whoever is behind them.
pub(crate) fn of_socket(workspace: &Workspace) -> Vec<String> {
    own_crates_beside(workspace, "ops/socket", &["core", "embedded", "ops/record"])
}

pub(crate) fn homes_of_clients(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for member in workspace
        .members
        .iter()
        .filter(|member| member.folder != MEASURES)
    {
        for (client, home) in HOMES {
            let sweeps = (client, member.folder.as_str()) == SWEEPS;
            let names = |a_use: &Use| a_use.package == client && !(sweeps && a_use.is_dev);
            if member.folder != home && member.uses.iter().any(names) {
                faults.push(format!(
                    "{} must not name {client}: only `{home}` does",
                    member.name
                ));
            }
        }
    }
    faults
}

/// That `pub` means public is held by the lint `unreachable_pub`.
pub(crate) fn public_signatures(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for member in workspace
        .under("transports")
        .chain(workspace.under("persistence"))
    {
        let clients = HOMES
            .iter()
            .filter(|(_, home)| *home == member.folder)
            .map(|(client, _)| client.replace('-', "_"));
        for client in clients {
            for (path, text) in &member.sources {
                let foreign = imported_from(&client, text);
                let shown = public_items(text)
                    .into_iter()
                    .filter(|item| words(item).any(|word| foreign.contains(word)));
                faults.extend(
                    shown.map(|item| format!("{}/{path} shows {client} in public: {item}", member.name)),
                );
            }
        }
    }
    faults
}

fn strangers_of(workspace: &Workspace, folder: &str, strangers: &[&str]) -> Vec<String> {
    let found = |member: &Member| {
        let found = member.needs().filter(|package| strangers.contains(package));
        found
            .map(|stranger| format!("{} must not depend on {stranger}", member.name))
            .collect::<Vec<_>>()
    };
    workspace.under(folder).flat_map(found).collect()
}

/// Crates of the workspace that are needed although they are in none of the allowed folders.
fn own_crates_beside(workspace: &Workspace, folder: &str, allowed: &[&str]) -> Vec<String> {
    let found = |member: &Member| {
        let own = member.needs().filter_map(|package| workspace.member(package));
        let found = own.filter(|used| !allowed.contains(&used.folder.as_str()));
        found
            .map(|used| format!("{} must not know of {}", member.name, used.name))
            .collect::<Vec<_>>()
    };
    workspace.under(folder).flat_map(found).collect()
}

/// Lines of the sources, without their unit tests, on which `is_fault` says yes.
fn lines(workspace: &Workspace, folder: &str, is_fault: impl Fn(&str) -> bool, why: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for member in workspace.under(folder) {
        for (path, text) in &member.sources {
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let found = text.lines().enumerate().filter(|(_, line)| is_fault(line));
            faults.extend(found.map(|(at, line)| {
                format!("{}/src/{path}:{}: {why}: {}", member.folder, at + 1, line.trim())
            }));
        }
    }
    faults
}

/// The client's own name, and each name that a `use` takes from it.
fn imported_from<'a>(client: &'a str, text: &'a str) -> BTreeSet<&'a str> {
    let uses = text
        .split(';')
        .filter_map(|statement| statement.trim().rsplit_once("use ").map(|(_, path)| path.trim()));
    let from_client = uses.filter(|path| words(path).next() == Some(client));
    from_client
        .flat_map(words)
        .filter(|word| !["self", "as"].contains(word))
        .chain([client])
        .collect()
}

/// Public items, each with what of it is public.
fn public_items(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let starts = text.match_indices("pub ").map(|(at, _)| &text[at..]);
    starts.map(|item| &item[..public_length(item)]).collect()
}

fn public_length(item: &str) -> usize {
    let head = item.split(['(', '{', ';', '\n']).next().unwrap_or_default();
    let end = if words(head).any(|word| word == "fn") {
        item.find(['{', ';'])
    } else if words(head).any(|word| ["enum", "trait"].contains(&word)) {
        item.find("\n}")
    } else if words(head).any(|word| ["use", "type", "const", "static"].contains(&word)) {
        item.find(';')
    } else {
        // A struct, whose public fields are found one by one, or such a field.
        item.find('\n')
    };
    end.unwrap_or(item.len())
}

/// Whether `part` occurs in `code`, and not as the beginning of a longer name.
fn occurs(part: &str, code: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let ends_in_name = part.ends_with(is_name);
    code.match_indices(part)
        .any(|(at, _)| !(ends_in_name && code[at + part.len()..].starts_with(is_name)))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: fn(&Workspace) -> Vec<String>, members: impl IntoIterator<Item = Member>) -> String {
        rule(&Workspace::of(members)).join("\n")
    }

    #[test]
    fn core_on_a_foreign_client_is_a_fault() {
        for stranger in ["lapin", "sqlx", "axum", "clap"] {
            let core = Member::in_folder("core").using("serde").using(stranger);
            assert_eq!(
                told(of_core, [core]),
                format!("longhaul-core must not depend on {stranger}, at any depth")
            );
        }
    }

    #[test]
    fn the_word_in_core_is_a_fault_in_comments_too() {
        let text = "//! Messages.\n\n/// As a Saga does.\nfn f() {}\n";
        let faults = told(
            words_of_core,
            [Member::in_folder("core").with_source("step.rs", text)],
        );
        assert_eq!(
            faults,
            "core/src/step.rs:3: the word `saga` must not occur: /// As a Saga does."
        );
        let elsewhere = Member::in_folder("sagas").with_source("lib.rs", "struct Saga;");
        assert_eq!(told(words_of_core, [elsewhere]), "");
    }

    #[test]
    fn sagas_on_a_runtime_a_store_or_a_transport_are_a_fault() {
        let store = || Member::in_folder("persistence/sled");
        let sagas = Member::in_folder("sagas")
            .using("longhaul-core")
            .using("tokio")
            .using("longhaul-sled");
        let faults = told(of_sagas, [Member::in_folder("core"), store(), sagas]);
        assert_eq!(
            faults,
            "longhaul-sagas must not depend on tokio\nlonghaul-sagas must not know of longhaul-sled"
        );
        let in_tests = Member::in_folder("sagas")
            .using_in_tests("tokio")
            .using_in_tests("longhaul-sled");
        assert_eq!(told(of_sagas, [store(), in_tests]), "");
    }

    #[test]
    fn sagas_that_look_at_a_clock_or_wait_are_a_fault() {
        for code in [
            "let t = clock.now();",
            "let t = Timestamp::now();",
            "async fn f() {}",
            "answer.await;",
            "tokio::spawn(f);",
        ] {
            let sagas = Member::in_folder("sagas").with_source("lib.rs", code);
            assert!(told(calls_of_sagas, [sagas]).contains(code), "{code}");
        }
        for code in [
            "let it = known();",
            "self.await_answer();",
            "// tokio::spawn",
            "#[cfg(test)] mod tests { async fn f() {} }",
        ] {
            let sagas = Member::in_folder("sagas").with_source("lib.rs", code);
            assert_eq!(told(calls_of_sagas, [sagas]), "", "{code}");
        }
    }

    #[test]
    fn adapters_that_know_each_other_or_sagas_are_a_fault() {
        let members = || {
            let transport = Member::in_folder("transports/local")
                .using("longhaul-embedded")
                .using("longhaul-sled");
            let store = Member::in_folder("persistence/sled")
                .using("longhaul-core")
                .using("longhaul-sagas");
            let others = ["core", "embedded", "sagas"].map(Member::in_folder);
            [transport, store].into_iter().chain(others)
        };
        assert_eq!(
            told(of_transports, members()),
            "longhaul-local must not know of longhaul-sled"
        );
        assert_eq!(
            told(of_stores, members()),
            "longhaul-sled must not know of longhaul-sagas"
        );
    }

    #[test]
    fn read_models_on_a_broker_or_a_store_are_a_fault() {
        let model = Member::in_folder("ops/model")
            .using("lapin")
            .using("longhaul-sled")
            .using("longhaul-core");
        let faults = told(
            of_read_models,
            [
                model,
                Member::in_folder("persistence/sled"),
                Member::in_folder("core"),
            ],
        );
        assert_eq!(
            faults,
            "longhaul-model must not depend on lapin\nlonghaul-model must not know of longhaul-sled"
        );
    }

    #[test]
    fn a_socket_that_knows_a_broker_or_a_store_is_a_fault() {
        let socket = Member::in_folder("ops/socket")
            .using("longhaul-core")
            .using("longhaul-sled")
            .using_in_tests("longhaul-local");
        let others = ["core", "persistence/sled", "transports/local"].map(Member::in_folder);
        assert_eq!(
            told(of_socket, others.into_iter().chain([socket])),
            "longhaul-socket must not know of longhaul-sled"
        );
    }

    #[test]
    fn a_client_away_from_home_is_a_fault_even_in_tests() {
        let beside = Member::in_folder("benches").using("lapin");
        let sweeps = Member::in_folder("ops/cli").using_in_tests("lapin");
        assert!(told(homes_of_clients, [beside, sweeps]).is_empty());
        let knows = Member::in_folder("ops/cli").using("lapin");
        assert!(!told(homes_of_clients, [knows]).is_empty());
        let stray = Member::in_folder("testing").using_in_tests("lapin");
        let home = Member::in_folder("transports/rabbitmq").using("lapin");
        assert_eq!(
            told(homes_of_clients, [stray, home]),
            "longhaul-testing must not name lapin: only `transports/rabbitmq` does"
        );
    }

    #[test]
    fn a_type_of_the_client_in_public_is_a_fault() {
        let shows = [
            "pub fn channel(&self) -> &lapin::Channel {}",
            "use lapin::{Channel, Connection as Link};\npub async fn new(\n    link: Link,\n) -> Self {}",
            "use lapin::Channel;\npub struct Open {\n    pub channel: Channel,\n}",
            "pub enum Error {\n    Broker(lapin::Error),\n}",
            "pub use lapin::types::{FieldTable};",
            "pub struct Open(pub lapin::Channel);",
        ];
        for text in shows {
            let member = Member::in_folder("transports/rabbitmq").with_source("lib.rs", text);
            assert!(
                told(public_signatures, [member]).contains("shows lapin in public"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_type_of_the_client_in_private_is_none() {
        let hides = [
            "use lapin::Channel;\npub struct Open {\n    channel: Channel,\n}",
            "use lapin::Channel;\npub(crate) fn open(channel: Channel) {}",
            "use lapin::Channel;\npub fn open() {\n    let channel: Channel;\n}",
            "pub fn channel(&self) -> crate::Channel {}",
        ];
        for text in hides {
            let member = Member::in_folder("transports/rabbitmq").with_source("lib.rs", text);
            assert_eq!(told(public_signatures, [member]), "", "{text}");
        }
    }
}
