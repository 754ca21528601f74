//! Settings from a file, the environment and the command line. Nothing secret is ever shown.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use longhaul_rabbitmq::{BrokerUri, UriError};
use serde::Deserialize;

use crate::args::{BrokerName, Connection};
use crate::failure::Failure;

/// Why an address with a password is refused on the command line.
pub(crate) const PASSWORD_IN_ARGUMENTS: &str = "\
the address holds a password, and arguments can be read by everyone on this machine. Put the whole address into \
LONGHAUL_AMQP_URL, or only the password into LONGHAUL_AMQP_PASSWORD, or set `url` or `password_file` below [rabbitmq] in a \
file that only you can read, and name it with --config";

/// The same for the broker that something is moved to.
pub(crate) const PASSWORD_OF_TARGET: &str = "\
the address of the target holds a password, and arguments can be read by everyone on this machine. Put the password into \
LONGHAUL_TO_AMQP_PASSWORD, or set `url` or `password_file` below [rabbitmq] in a file that only you can read, and name it with \
--to-config";

/// The largest file of settings, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) broker: Option<BrokerName>,
    pub(crate) error_queue: Option<String>,
    #[serde(default)]
    pub(crate) rabbitmq: RabbitSettings,
    #[serde(default)]
    pub(crate) embedded: EmbeddedSettings,
    #[serde(default)]
    pub(crate) sqs: SqsSettings,
}

/// Where RabbitMQ is.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RabbitSettings {
    pub(crate) url: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    #[serde(skip)]
    pub(crate) password: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) certificates: Option<PathBuf>,
    #[serde(default)]
    pub(crate) allow_plaintext: bool,
}

/// Where an embedded broker is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddedSettings {
    pub(crate) directory: Option<PathBuf>,
}

/// Which account of Amazon SQS.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqsSettings {
    pub(crate) region: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) prefix: Option<String>,
    /// The endpoints that get their messages in order.
    #[serde(default)]
    pub(crate) ordered: Vec<String>,
    /// Whether endpoints have queues in which messages go round that are delayed for longer than SQS keeps.
    #[serde(default)]
    pub(crate) long_delays: bool,
}

impl std::fmt::Debug for RabbitSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitSettings").finish_non_exhaustive()
    }
}

/// Reads the file, then lets the environment and the command line have their say.
pub(crate) fn load(connection: &Connection) -> Result<Settings, Failure> {
    let mut settings = match &connection.config {
        Some(path) => read(path)?,
        None => Settings::default(),
    };
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(url) = &connection.url {
        if holds_password(url) {
            return Err(Failure::misused(PASSWORD_IN_ARGUMENTS));
        }
        settings.rabbitmq.url = Some(url.clone());
    } else if let Some(url) = set("LONGHAUL_AMQP_URL") {
        settings.rabbitmq.url = Some(url);
    }
    settings.rabbitmq.password = match set("LONGHAUL_AMQP_PASSWORD") {
        Some(password) => Some(password),
        None => settings.rabbitmq.password_of_file()?,
    };
    let sqs = &mut settings.sqs;
    sqs.region = set("LONGHAUL_SQS_REGION").or(sqs.region.take());
    sqs.profile = set("LONGHAUL_SQS_PROFILE").or(sqs.profile.take());
    sqs.endpoint = set("LONGHAUL_SQS_ENDPOINT").or(sqs.endpoint.take());
    if let Some(ordered) = set("LONGHAUL_SQS_ORDERED") {
        sqs.ordered = ordered.split(',').map(|name| name.trim().to_owned()).collect();
    }
    if let Some(told) = set("LONGHAUL_SQS_LONG_DELAYS") {
        sqs.long_delays = told.parse().map_err(|_| {
            Failure::misused(format!(
                "LONGHAUL_SQS_LONG_DELAYS is `{told}`: set it to true or false"
            ))
        })?;
    }
    if let Some(prefix) = &connection.prefix {
        settings.rabbitmq.prefix = Some(prefix.clone());
        settings.sqs.prefix = Some(prefix.clone());
    }
    if let Some(directory) = &connection.data {
        settings.embedded.directory = Some(directory.clone());
    } else if let Some(directory) = set("LONGHAUL_DATA") {
        settings.embedded.directory = Some(directory.into());
    }
    settings.broker = connection.broker.or(settings.broker);
    settings.error_queue = connection.error_queue.clone().or(settings.error_queue);
    Ok(settings)
}

/// The settings of a broker that something is moved to, and nothing of the environment but its password.
pub(crate) fn target(file: &Path) -> Result<RabbitSettings, Failure> {
    let mut settings = read(file)?.rabbitmq;
    if settings.url.is_none() {
        let text = format!("{}: `url` is not set below [rabbitmq]", file.display());
        return Err(Failure::misused(text));
    }
    settings.password = settings.password_of_file()?;
    Ok(settings)
}

/// The password of a target is that of the environment, or of settings of its own; never the source's.
pub(crate) fn set_password_of_target(settings: &mut RabbitSettings, has_own: bool) {
    let set = env::var("LONGHAUL_TO_AMQP_PASSWORD").ok();
    settings.password = match set.filter(|password| !password.is_empty()) {
        Some(password) => Some(password),
        None if has_own => settings.password.take(),
        None => None,
    };
}

impl Settings {
    /// The broker that is named, or the only one that is set up.
    pub(crate) fn which(&self, connection: &Connection) -> Result<BrokerName, Failure> {
        if let Some(named) = self.broker {
            return Ok(named);
        }
        // What is on the command line is meant, whatever else the environment holds.
        match (connection.url.is_some(), connection.data.is_some()) {
            (true, false) => return Ok(BrokerName::Rabbitmq),
            (false, true) => return Ok(BrokerName::Embedded),
            _ => {}
        }
        let found: Vec<BrokerName> = [
            (self.rabbitmq.url.is_some(), BrokerName::Rabbitmq),
            (self.embedded.directory.is_some(), BrokerName::Embedded),
            (
                self.sqs.endpoint.is_some() || self.sqs.region.is_some() || self.sqs.profile.is_some(),
                BrokerName::Sqs,
            ),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(Failure::misused(
                "no broker is set up: set LONGHAUL_AMQP_URL, or give --data DIRECTORY, or --broker sqs, or a file with \
                 --config (see `longhaul --help`)",
            )),
            _ => Err(Failure::misused(
                "more than one broker is set up: say which one with --broker rabbitmq, embedded or sqs",
            )),
        }
    }
}

impl RabbitSettings {
    fn password_of_file(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let text = text_of(path)?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Which broker, virtual host and names these are, however they are written. Without a secret.
    pub(crate) fn place(&self) -> Result<(String, u16, String, String), Failure> {
        let uri: BrokerUri = self
            .address()?
            .parse()
            .map_err(|error: UriError| Failure::misused(format!("the address of RabbitMQ: {error}")))?;
        let host = match uri.host() {
            "localhost" | "::1" => "127.0.0.1",
            host => host,
        };
        let prefix = self.prefix.clone().unwrap_or_else(|| "longhaul".to_owned());
        Ok((host.to_lowercase(), uri.port(), uri.vhost().to_owned(), prefix))
    }

    /// The address with its password, which must never be shown.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        let Some(url) = &self.url else {
            return Err(Failure::misused(
                "RabbitMQ's address is not set: set LONGHAUL_AMQP_URL, or give --url URI",
            ));
        };
        let Some(password) = &self.password else {
            return Ok(url.clone());
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("amqp", url));
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (login, host),
            None => ("guest", rest),
        };
        let user = login.split(':').next().unwrap_or_default();
        Ok(format!("{scheme}://{user}:{}@{host}", escaped(password)))
    }
}

/// Whether a text looks like an address with a password in it.
pub(crate) fn holds_password(text: &str) -> bool {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.rsplit_once('@')
        .and_then(|(login, _)| login.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
}

fn escaped(password: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    password.bytes().map(byte).collect()
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| Failure::misused(format!("{}: {why}", path.display()));
    let found = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if found.len() > FILE_BYTES {
        return Err(unreadable("the file is too large".to_owned()));
    }
    fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

fn read(path: &Path) -> Result<Settings, Failure> {
    let text = text_of(path)?;
    let settings: Settings = toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().lines().count().max(1);
        let at_start_of_line = text.get(..start).is_some_and(|before| before.ends_with('\n'));
        let line = line + usize::from(at_start_of_line);
        Failure::misused(format!(
            "{}:{line}: {}",
            path.display(),
            harmless(error.message())
        ))
    })?;
    warn_of_readers(path, &settings);
    Ok(settings)
}

/// What the parser says, without values: one of them may be a password.
fn harmless(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    if first.starts_with("unknown field")
        || first.starts_with("duplicate")
        || first.starts_with("unknown variant")
    {
        return first.to_owned();
    }
    if first.starts_with("invalid type") {
        let wanted = first.rsplit_once("expected").map_or("", |(_, wanted)| wanted);
        return format!("a value of the wrong type; expected{wanted}");
    }
    "this is not TOML; see https://toml.io".to_owned()
}

#[cfg(unix)]
fn warn_of_readers(path: &Path, settings: &Settings) {
    use std::os::unix::fs::PermissionsExt;
    let holds = settings.rabbitmq.url.as_deref().is_some_and(holds_password);
    let open = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
    if holds && open {
        eprintln!(
            "warning: {} holds a password and others can read it; run: chmod 600 {}",
            path.display(),
            path.display()
        );
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_path: &Path, _settings: &Settings) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_address_holds_a_password_it_is_noticed() {
        for with in ["amqp://u:p@h", "amqp://:p@h/v", "amqps://u:a@b@h"] {
            assert!(holds_password(with), "{with}");
        }
        for without in [
            "amqp://h:5672",
            "amqp://u@h:1/v",
            "u:p@h",
            "amqp://u:@h",
            "--url",
            "",
        ] {
            assert!(!holds_password(without), "{without}");
        }
    }

    #[test]
    fn when_the_password_comes_apart_it_is_escaped_into_the_address() {
        let with = |url: &str| {
            let settings = RabbitSettings {
                url: Some(url.to_owned()),
                password: Some("p@s/s".to_owned()),
                ..RabbitSettings::default()
            };
            settings.address().expect("an address")
        };
        assert_eq!(with("amqp://ops@h:1/v"), "amqp://ops:p%40s%2Fs@h:1/v");
        assert_eq!(with("amqp://h"), "amqp://guest:p%40s%2Fs@h");
    }

    #[test]
    fn when_the_parser_names_a_value_it_is_left_out() {
        let error = toml::from_str::<Settings>("rabbitmq = \"amqp://u:secret@h\"").expect_err("wrong");
        assert!(!harmless(error.message()).contains("secret"));
        let error = toml::from_str::<Settings>("[rabbitmq]\nurl = amqp://u:secret@h").expect_err("wrong");
        assert!(!harmless(error.message()).contains("secret"));
        let error = toml::from_str::<Settings>("[rabbitmq]\nulr = \"x\"").expect_err("wrong");
        assert!(harmless(error.message()).contains("ulr"));
    }
}
