//! A point in time, and its text.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, UTC, in whole microseconds since 1970-01-01.
///
/// Reads and prints one strict form of RFC 3339: always `Z`, no leap seconds, at most six digits of a
/// second's fraction. Years 0000 to 9998.
///
/// ```
/// use longhaul_core::clock::Timestamp;
/// assert!(Timestamp::parse("2026-11-21T10:00:00.5Z").is_ok());
/// assert!(Timestamp::parse("2026-11-21T10:00:00+01:00").is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);
    /// 9999-01-01T00:00:00Z, the latest point that is kept.
    pub const MAX: Self = Self(253_370_764_800_000_000);
    /// 0000-01-01T00:00:00Z, the earliest point that is kept.
    pub const MIN: Self = Self(-62_167_219_200_000_000);

    /// From microseconds since the epoch; clamped to [`Timestamp::MIN`]..=[`Timestamp::MAX`].
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros > Self::MAX.0 {
            Self::MAX
        } else if micros < Self::MIN.0 {
            Self::MIN
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads the strict form.
    ///
    /// # Errors
    /// Anything but UTC with a `Z`, impossible dates, `:60` seconds, more than six fraction digits.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let fault = || InvalidTimestamp {
            text: text.chars().take(40).collect(),
        };
        let bytes = text.as_bytes();
        let shaped = (20..=27).contains(&bytes.len())
            && bytes.is_ascii()
            && bytes[4] == b'-'
            && bytes[7] == b'-'
            && bytes[10] == b'T'
            && bytes[13] == b':'
            && bytes[16] == b':'
            && bytes[17] < b'6'
            && bytes[bytes.len() - 1] == b'Z'
            && (bytes.len() == 20 || (bytes[19] == b'.' && bytes.len() > 21));
        if !shaped {
            return Err(fault());
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|_| fault())?;
        let micros = parsed.as_microsecond();
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(fault())
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MIN`].
    fn sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self::from_micros)
        }
    }
}

/// A text that is not a timestamp of the strict form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTimestamp {
    text: String,
}

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read the time {:?}: it must look like 2026-11-21T10:00:00Z (UTC, `Z`, at most six fraction digits)",
            self.text
        )
    }
}

impl std::error::Error for InvalidTimestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_time_is_not_of_the_strict_form_it_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T10:00:00",
            "2026-11-21T10:00:00+00:00",
            "2026-11-21T10:00:60Z",
            "2026-02-30T10:00:00Z",
            "2026-11-21t10:00:00Z",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00.1234567Z",
            "2026-11-21T10:00:00z",
            "NaN",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn when_a_time_is_printed_it_reads_back() {
        for micros in [
            0,
            1,
            -1,
            1_763_692_800_123_456,
            Timestamp::MAX.as_micros(),
            Timestamp::MIN.as_micros(),
        ] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }
    }

    #[test]
    fn when_arithmetic_would_overflow_it_saturates() {
        assert_eq!(Timestamp::UNIX_EPOCH + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::UNIX_EPOCH - Duration::MAX, Timestamp::MIN);
    }
}
