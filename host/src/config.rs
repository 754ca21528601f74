//! Settings of a process, from a file and the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::transport::Declare;
use serde::{Deserialize, Deserializer};

use crate::host::HostError;
use crate::said::{NO_TIME, harmless};

/// Where the file is if nobody says.
const DEFAULT_FILE: &str = "longhaul.toml";
/// The environment variable that names another.
const FILE_VARIABLE: &str = "LONGHAUL_CONFIG";
/// What variables that overrule a key begin with, and the sections that can follow.
const PREFIX: &str = "LONGHAUL_";
const SECTIONS: [&str; 4] = ["endpoint", "health", "log", "otlp"];
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// All settings of a process; every one has a default.
///
/// ```
/// use longhaul_host::Config;
///
/// let config = Config::parse("[endpoint]\nconcurrency = 16\nretention = \"30d\"\n", "longhaul.toml").unwrap();
/// assert_eq!(config.endpoint.concurrency, Some(16));
/// let error = Config::parse("[endpoint]\nconcurency = 16\n", "longhaul.toml").unwrap_err();
/// assert!(error.to_string().contains("longhaul.toml:2"), "{error}");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Config {
    /// How the endpoint behaves.
    pub endpoint: EndpointConfig,
    /// Where health is asked for.
    pub health: HealthConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Where traces and metrics go.
    pub otlp: OtlpConfig,
    /// The application's own settings: a table of anything, which nobody checks here.
    pub app: toml::Table,
}

/// How the endpoint behaves. What is not said stays as the code has it. Times are written like `"30s"` or `"7d"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct EndpointConfig {
    /// The most messages handled at once; at least 1.
    pub concurrency: Option<usize>,
    /// The most messages taken and not yet settled; at least 1.
    pub prefetch: Option<u16>,
    /// How long message ids and finished things are remembered.
    #[serde(deserialize_with = "time")]
    pub retention: Option<Duration>,
    /// The longest that one attempt of a handler may take.
    #[serde(deserialize_with = "time")]
    pub handler_limit: Option<Duration>,
    /// How long a stop waits for messages being handled.
    #[serde(deserialize_with = "time")]
    pub stop_limit: Option<Duration>,
    /// What is done about queues at the start: `"declare"`, `"verify"` or `"assume"`.
    #[serde(deserialize_with = "declare")]
    pub declare: Option<Declare>,
    /// The queue for messages that failed.
    pub error_queue: Option<String>,
    /// Whether the endpoint waits for `POST /control/resume` before it connects to anything. Needs `health.listen`.
    pub start_paused: bool,
}

/// Where health is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct HealthConfig {
    /// The address of the HTTP listener, such as `"127.0.0.1:9620"`; none if it is not said. Whoever reaches it can read
    /// metrics and resume a paused endpoint, so let it be loopback, or a network of one's own.
    pub listen: Option<SocketAddr>,
    /// After so long without a sign from the endpoint's task the process is no longer live.
    #[serde(deserialize_with = "some_time")]
    pub stuck_after: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct LogConfig {
    /// Which spans and events: the filter of [`tracing_subscriber::EnvFilter`], such as `"info,longhaul_core=debug"`.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where traces and metrics go (feature `otlp`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct OtlpConfig {
    /// The collector's gRPC address, such as `"http://127.0.0.1:4317"`; nothing is sent if it is not said.
    pub endpoint: Option<String>,
    /// How often metrics are sent.
    #[serde(deserialize_with = "some_time")]
    pub metrics_interval: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            listen: None,
            stuck_after: Duration::from_secs(30),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: String::from("info"),
            format: LogFormat::Text,
        }
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            metrics_interval: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// From the file that `LONGHAUL_CONFIG` names, or `longhaul.toml` if that exists, and the environment over it.
    ///
    /// # Errors
    /// The file can't be read, or something in it or in the environment is unknown or wrong: which, and where.
    pub fn from_environment() -> Result<Self, HostError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(PREFIX).then(|| (name, value.into_string()))
        });
        let mut known = BTreeMap::new();
        for (name, value) in variables {
            let value = value.map_err(|_| HostError::config(format!("read {name}: it is not text")))?;
            known.insert(name, value);
        }
        let named = known.get(FILE_VARIABLE).map(PathBuf::from);
        let path = named.or_else(|| {
            Path::new(DEFAULT_FILE)
                .exists()
                .then(|| PathBuf::from(DEFAULT_FILE))
        });
        let text = path.as_deref().map(read).transpose()?;
        let shown = path.map_or_else(String::new, |path| path.display().to_string());
        Self::merged(text.as_deref().unwrap_or_default(), &shown, &known)
    }

    /// From the text of a file, whose name is only shown.
    ///
    /// # Errors
    /// Something in it is unknown or wrong: which, and in which line.
    pub fn parse(text: &str, file: &str) -> Result<Self, HostError> {
        Self::merged(text, file, &BTreeMap::new())
    }

    /// The application's own settings, as a type of its own.
    ///
    /// # Errors
    /// The section `[app]` is not of that type.
    pub fn app<T: serde::de::DeserializeOwned>(&self) -> Result<T, HostError> {
        let app = toml::Value::Table(self.app.clone()).try_into();
        app.map_err(|error| HostError::config(format!("read the section [app]: {}", harmless(&error))))
    }

    fn merged(text: &str, file: &str, variables: &BTreeMap<String, String>) -> Result<Self, HostError> {
        let wrong = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| {
                1 + text
                    .bytes()
                    .take(span.start)
                    .filter(|byte| *byte == b'\n')
                    .count()
            });
            HostError::config(format!("read {file}:{line}: {}", harmless(&error)))
        };
        // Once as it is, for the lines of what is wrong in it; then with the environment.
        let config: Self = toml::from_str(text).map_err(wrong)?;
        let mut table: toml::Table = text.parse().map_err(wrong)?;
        let overruled = overrule(&mut table, variables)?;
        let merged = if overruled.is_empty() {
            config
        } else {
            let merged: Result<Self, _> = toml::Value::Table(table).try_into();
            merged.map_err(|error| {
                let names = overruled.join(", ");
                HostError::config(format!("read the environment ({names}): {}", harmless(&error)))
            })?
        };
        merged.checked()
    }

    fn checked(self) -> Result<Self, HostError> {
        let wrong = |text: &str| Err(HostError::config(format!("use the settings: {text}")));
        if self.endpoint.concurrency == Some(0) || self.endpoint.prefetch == Some(0) {
            return wrong("`endpoint.concurrency` and `endpoint.prefetch` are at least 1");
        }
        if self.endpoint.start_paused && self.health.listen.is_none() {
            return wrong("`endpoint.start-paused` needs `health.listen`, for nothing else could resume it");
        }
        if self.health.stuck_after < Duration::from_secs(2) {
            return wrong("`health.stuck-after` is at least 2s");
        }
        if self.otlp.metrics_interval < Duration::from_secs(1) {
            return wrong("`otlp.metrics-interval` is at least 1s");
        }
        if self.otlp.endpoint.is_some() && cfg!(not(feature = "otlp")) {
            return wrong("`otlp.endpoint` needs a build with the feature `otlp`");
        }
        Ok(self)
    }
}

impl EndpointConfig {
    pub(crate) fn apply(&self, mut builder: EndpointBuilder) -> EndpointBuilder {
        if let Some(queue) = &self.error_queue {
            builder = builder.error_queue(queue);
        }
        builder.settings(|settings| {
            let set = |to: &mut Duration, value: Option<Duration>| *to = value.unwrap_or(*to);
            set(&mut settings.retention, self.retention);
            set(&mut settings.handler_limit, self.handler_limit);
            set(&mut settings.stop_limit, self.stop_limit);
            settings.concurrency = self.concurrency.unwrap_or(settings.concurrency);
            settings.prefetch = self.prefetch.unwrap_or(settings.prefetch);
            settings.declare = self.declare.unwrap_or(settings.declare);
        })
    }
}

fn read(path: &Path) -> Result<String, HostError> {
    let failed = |why: String| HostError::config(format!("read {}: {why}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!(
            "it has {size} bytes, and the limit is {MAX_FILE_BYTES}"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

/// Puts each variable of ours under its key; returns their names.
fn overrule(table: &mut toml::Table, variables: &BTreeMap<String, String>) -> Result<Vec<String>, HostError> {
    let mut names = Vec::new();
    for (name, value) in variables {
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        let Some((section, key)) = SECTIONS.iter().find_map(|section| {
            let key = rest.strip_prefix(&section.to_uppercase())?.strip_prefix('_')?;
            Some((*section, key.to_lowercase().replace('_', "-")))
        }) else {
            // Of a transport, a test or another program.
            continue;
        };
        let entry = table
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(entry) = entry.as_table_mut() else {
            return Err(HostError::config(format!(
                "read {name}: [{section}] is not a section"
            )));
        };
        entry.insert(key, value_of(value));
        names.push(name.clone());
    }
    Ok(names)
}

/// Numbers and truths are themselves; anything else is text.
fn value_of(text: &str) -> toml::Value {
    if let Ok(number) = text.parse() {
        return toml::Value::Integer(number);
    }
    match text {
        "true" => toml::Value::Boolean(true),
        "false" => toml::Value::Boolean(false),
        _ => toml::Value::String(text.to_owned()),
    }
}

fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|_| serde::de::Error::custom(NO_TIME))
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    some_time(from).map(Some)
}

fn declare<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Declare>, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "declare" => Ok(Some(Declare::Declare)),
        "verify" => Ok(Some(Declare::Verify)),
        "assume" => Ok(Some(Declare::Assume)),
        _ => Err(serde::de::Error::unknown_variant(
            &text,
            &["declare", "verify", "assume"],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn fault(text: &str) -> String {
        Config::parse(text, "longhaul.toml")
            .expect_err("it is wrong")
            .to_string()
    }

    #[test]
    fn when_nothing_is_said_nothing_listens_and_nothing_changes() {
        let config = Config::parse("", "longhaul.toml").expect("it is empty");
        assert_eq!(config, Config::default());
        assert_eq!(config.health.listen, None);
    }

    #[test]
    fn when_a_key_is_unknown_or_wrong_its_line_is_named() {
        assert!(
            fault("[endpoint]\n\nconcurency = 3\n")
                .starts_with("failed to read longhaul.toml:3: unknown field `concurency`")
        );
        assert!(
            fault("[endpoint]\nretention = \"7 dayz\"\n").contains("longhaul.toml:2: this is no time; write")
        );
        assert!(fault("[helth]\n").contains("longhaul.toml:1: unknown field `helth`"));
        assert!(fault("[endpoint]\ndeclare = \"maybe\"").contains("longhaul.toml:2"));
        assert!(fault("[endpoint\n").contains("longhaul.toml:1"));
        assert!(fault("[endpoint]\nprefetch = 0").contains("at least 1"));
        assert!(fault("[endpoint]\nprefetch = 70000").contains("longhaul.toml:2"));
        assert!(fault("[endpoint]\nstart-paused = true").contains("needs `health.listen`"));
    }

    #[test]
    fn when_the_environment_says_otherwise_it_counts() {
        let variables = environment(&[
            ("LONGHAUL_ENDPOINT_STOP_LIMIT", "5s"),
            ("LONGHAUL_ENDPOINT_CONCURRENCY", "3"),
            ("LONGHAUL_HEALTH_LISTEN", "127.0.0.1:0"),
            ("LONGHAUL_AMQP_URL", "amqp://somewhere"),
        ]);
        let config = Config::merged("[endpoint]\nconcurrency = 9\nprefetch = 4\n", "f", &variables)
            .expect("it is right");
        assert_eq!(config.endpoint.concurrency, Some(3));
        assert_eq!(config.endpoint.prefetch, Some(4));
        assert_eq!(config.endpoint.stop_limit, Some(Duration::from_secs(5)));
        assert!(
            config
                .health
                .listen
                .is_some_and(|address| address.ip().is_loopback())
        );
    }

    #[test]
    fn when_a_variable_is_unknown_or_wrong_it_is_named() {
        for (name, value) in [
            ("LONGHAUL_HEALTH_LISTEM", "x"),
            ("LONGHAUL_HEALTH_LISTEN", "x"),
            ("LONGHAUL_LOG_FORMAT", "xml"),
        ] {
            let error = Config::merged("", "", &environment(&[(name, value)])).expect_err("it is wrong");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn when_a_key_stands_there_twice_the_error_says_where() {
        let error = fault("[endpoint]\nprefetch = 1\nprefetch = 2\n");
        assert!(error.contains(":3") && error.contains("duplicate key"), "{error}");
    }

    #[test]
    fn when_a_secret_stands_in_the_wrong_place_no_error_repeats_it() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is never right")]
        struct App {
            port: u16,
        }
        let text = "[app]\nport = \"hunter2\"\n";
        let config = Config::parse(text, "f").expect("nobody checks it here");
        let errors = [
            config.app::<App>().expect_err("it is wrong").to_string(),
            fault("[endpoint]\nprefetch = \"hunter2\"\n"),
            fault("[endpoint]\nretention = \"hunter2\"\n"),
            fault("[log]\nformat = \"hunter2\"\n"),
            fault("endpoint = \"hunter2\"\n"),
            Config::merged("", "", &environment(&[("LONGHAUL_ENDPOINT_DECLARE", "hunter2")]))
                .expect_err("it is wrong")
                .to_string(),
        ];
        for error in &errors {
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(
            errors[0].contains("port") && errors[0].contains("u16"),
            "{}",
            errors[0]
        );
        assert!(errors[5].contains("in `endpoint.declare`"), "{}", errors[5]);
    }

    #[test]
    fn when_the_application_has_settings_of_its_own_it_reads_them_as_its_type() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct App {
            gateway: String,
        }
        let config = Config::parse("[app]\ngateway = \"a\"\n", "f").expect("it is right");
        assert_eq!(
            config.app::<App>().expect("it is right"),
            App {
                gateway: String::from("a")
            }
        );
        assert!(Config::default().app::<App>().is_err());
    }
}
