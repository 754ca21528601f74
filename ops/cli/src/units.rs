//! Lengths of time as people write them.

use std::time::Duration;

use longhaul_core::clock::Timestamp;

/// Reads `90s`, `15m`, `2h`, `7d`, and several of them together.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("{text:?} is no length of time; write it like 90s, 15m, 2h or 7d");
    let mut total = Duration::ZERO;
    let mut digits = String::new();
    for letter in text.chars().filter(|letter| !letter.is_whitespace()) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let seconds = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(fault()),
        };
        let number: u64 = digits.parse().map_err(|_| fault())?;
        let part = number.checked_mul(seconds).ok_or_else(fault)?;
        total = total.checked_add(Duration::from_secs(part)).ok_or_else(fault)?;
        digits.clear();
    }
    if text.trim().is_empty() || !digits.is_empty() {
        return Err(fault());
    }
    Ok(total)
}

/// How long ago something was, in one unit.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_length_of_time_is_written_as_people_do_it_is_read() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("1h 30m", 5400),
            ("7d", 604_800),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            " ",
            "5",
            "s",
            "-1s",
            "1w",
            "1.5h",
            "99999999999999999999d",
            "9999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
