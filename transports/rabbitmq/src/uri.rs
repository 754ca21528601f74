//! The broker's address with its credentials, which are never shown.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Sent when the address names no heartbeat: a dead peer is noticed within twice this.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Where a broker is and who logs in: `amqp[s]://user:password@host:port/vhost?heartbeat=10`.
///
/// What is left out: the user and password `guest`, port 5672 (5671 with TLS), the virtual host `/`, a heartbeat of
/// 10 s. A virtual host with a slash in its name is written with `%2f`.
///
/// `Debug` and `Display` show everything but the password.
///
/// ```
/// use longhaul_rabbitmq::BrokerUri;
///
/// let uri: BrokerUri = "amqps://sales:hunter2@broker.example/prod".parse().unwrap();
/// assert_eq!(uri.to_string(), "amqps://sales:***@broker.example:5671/prod");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUri {
    tls: bool,
    user: String,
    password: String,
    host: String,
    port: u16,
    vhost: String,
    heartbeat: Duration,
}

impl BrokerUri {
    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// How often each side shows that it is alive; zero leaves it to the broker.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Whether the host is this machine, where nobody listens on the wire.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Display for BrokerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let vhost = self.vhost.replace('/', "%2f");
        write!(
            f,
            "{scheme}://{}:***@{open}{}{close}:{}/{vhost}",
            self.user, self.host, self.port
        )
    }
}

impl fmt::Debug for BrokerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUri({self})")
    }
}

impl FromStr for BrokerUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let url = Url::parse(text).map_err(|_| UriError::NotAUri)?;
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err(UriError::Scheme),
        };
        // A password with a bare `/`, `?` or `#` ends too early, and the rest of it would be taken for a name.
        let rest = [Some(url.path()), url.query(), url.fragment()];
        if rest.into_iter().flatten().any(|part| part.contains('@')) {
            return Err(UriError::Unescaped);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => decode(name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(UriError::NoHost),
        };
        if !matches!(url.path(), "" | "/") && url.path()[1..].contains('/') {
            return Err(UriError::VirtualHost);
        }
        Ok(Self {
            tls,
            user: decode(if url.username().is_empty() {
                "guest"
            } else {
                url.username()
            })?,
            password: decode(url.password().unwrap_or("guest"))?,
            host,
            port: url.port().unwrap_or(if tls { 5671 } else { 5672 }),
            vhost: match url.path() {
                "" | "/" => "/".to_owned(),
                path => decode(&path[1..])?,
            },
            heartbeat: heartbeat(&url)?,
        })
    }
}

fn decode(part: &str) -> Result<String, UriError> {
    percent_decode_str(part)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| UriError::Encoding)
}

fn heartbeat(url: &Url) -> Result<Duration, UriError> {
    let mut heartbeat = HEARTBEAT;
    for (name, value) in url.query_pairs() {
        if name != "heartbeat" {
            return Err(UriError::Parameter(name.chars().take(40).collect()));
        }
        let seconds: u16 = value.parse().map_err(|_| UriError::Heartbeat)?;
        heartbeat = Duration::from_secs(seconds.into());
    }
    Ok(heartbeat)
}

/// Why the address of a broker can't be used. Never holds a part of it that could be the password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UriError {
    /// Not a URI at all.
    NotAUri,
    /// An `@` behind the host: a password with a character that must be escaped.
    Unescaped,
    /// Neither `amqp` nor `amqps`.
    Scheme,
    /// No host.
    NoHost,
    /// A percent-encoded part is not UTF-8.
    Encoding,
    /// The virtual host holds a slash that is not written as `%2f`.
    VirtualHost,
    /// The heartbeat is not a number of seconds.
    Heartbeat,
    /// A parameter that is not known.
    Parameter(String),
    /// No TLS to a host that is not this machine.
    Plaintext,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read the broker's address: ")?;
        match self {
            Self::NotAUri => f.write_str("it is not a URI; write amqps://user:password@host/vhost"),
            Self::Unescaped => f.write_str(
                "there is an @ behind the host; in a password write %2f for /, %3f for ?, %23 for # and %40 for @",
            ),
            Self::Scheme => f.write_str("its scheme is neither amqp nor amqps"),
            Self::NoHost => f.write_str("it names no host; write amqps://user:password@host/vhost"),
            Self::Encoding => f.write_str("a percent-encoded part of it is not UTF-8"),
            Self::VirtualHost => f.write_str("its virtual host holds a slash; write %2f for one"),
            Self::Heartbeat => f.write_str("its heartbeat is not a number of seconds from 0 to 65535"),
            Self::Parameter(name) => write!(f, "the parameter {name:?} is not known; only heartbeat is"),
            Self::Plaintext => f.write_str(
                "it would send the password and all messages unencrypted to another machine; use amqps, or allow it \
                 with allow_plaintext()",
            ),
        }
    }
}

impl std::error::Error for UriError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BrokerUri {
        text.parse().expect("a good address")
    }

    #[test]
    fn when_parts_are_left_out_the_defaults_stand_in() {
        let uri = parse("amqp://localhost");
        assert_eq!(
            (uri.user(), uri.password(), uri.port(), uri.vhost()),
            ("guest", "guest", 5672, "/")
        );
        assert_eq!(uri.heartbeat(), Duration::from_secs(10));
        assert_eq!(parse("amqps://localhost").port(), 5671);
        assert_eq!(parse("amqp://localhost/").vhost(), "/");
        assert_eq!(parse("amqp://localhost/%2f").vhost(), "/");
        assert_eq!(parse("amqp://h/a%2fb?heartbeat=0").vhost(), "a/b");
        assert_eq!(parse("amqp://h?heartbeat=0").heartbeat(), Duration::ZERO);
    }

    #[test]
    fn when_the_host_is_this_machine_it_is_loopback() {
        for here in [
            "amqp://localhost",
            "amqp://127.0.0.1",
            "amqp://127.9.9.9:1",
            "amqp://[::1]",
        ] {
            assert!(parse(here).is_loopback(), "{here}");
        }
        for away in [
            "amqp://broker",
            "amqp://10.0.0.1",
            "amqp://[2001:db8::1]",
            "amqp://localhost.example",
        ] {
            assert!(!parse(away).is_loopback(), "{away}");
        }
        assert_eq!(parse("amqp://[2001:db8::1]:7").host(), "2001:db8::1");
    }

    #[test]
    fn when_it_is_shown_the_password_is_not() {
        let canary = "c4nary%40secret";
        let uri = parse(&format!("amqp://sales:{canary}@localhost/%2f"));
        assert_eq!(uri.password(), "c4nary@secret");
        for shown in [uri.to_string(), format!("{uri:?}"), format!("{uri:#?}")] {
            assert!(!shown.contains("c4nary") && !shown.contains("secret"), "{shown}");
            assert!(
                shown.contains("sales") && shown.contains("localhost:5672/%2f"),
                "{shown}"
            );
        }
    }

    #[test]
    fn when_it_is_bad_the_error_shows_no_part_that_could_be_the_password() {
        for (bad, why) in [
            ("c4nary", UriError::NotAUri),
            ("amqp:c4nary", UriError::NoHost),
            ("http://u:c4nary@h", UriError::Scheme),
            ("amqp://", UriError::NoHost),
            ("amqp:///v", UriError::NoHost),
            ("amqp://u:12?c4nary@h", UriError::Unescaped),
            ("amqps://u:12/c4nary@h", UriError::Unescaped),
            ("amqps://u:12#c4nary@h", UriError::Unescaped),
            ("amqp://u:c4nary%ff@h", UriError::Encoding),
            ("amqp://u:c4nary@h/a/b", UriError::VirtualHost),
            ("amqp://u:c4nary@h?heartbeat=soon", UriError::Heartbeat),
            (
                "amqp://u:c4nary@h?verify=none",
                UriError::Parameter("verify".to_owned()),
            ),
        ] {
            let error = bad.parse::<BrokerUri>().expect_err(bad);
            assert_eq!(error, why, "{bad}");
            assert!(!format!("{error} {error:?}").contains("c4nary"), "{error}");
        }
    }
}
