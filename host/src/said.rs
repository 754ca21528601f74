//! What a parser says of settings, without the values: one of them may be a secret that stands in the wrong place.

use toml::de::Error;

/// What a time of ours is told that can't be read.
pub(crate) const NO_TIME: &str = "this is no time; write it like \"30s\"";

/// What is wrong, and at which key where that is known.
pub(crate) fn harmless(error: &Error) -> String {
    let said = without_values(error.message());
    let all = error.to_string();
    // The keys follow the message where nothing points into a file.
    match all.strip_prefix(error.message()).map(str::trim) {
        Some(place) if place.starts_with("in `") => format!("{said} {place}"),
        _ => said,
    }
}

/// The names of keys are kept, and what was wanted: both are the code's.
fn without_values(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let is_about = |beginnings: &[&str]| beginnings.iter().any(|beginning| first.starts_with(beginning));
    if first == NO_TIME || is_about(&["unknown field", "missing field", "duplicate"]) {
        return first.to_owned();
    }
    let wanted = message
        .rsplit_once("expected ")
        .map_or("something else", |(_, wanted)| wanted)
        .replace('\n', " ");
    if is_about(&["unknown variant"]) {
        return format!("a word that is not known; expected {wanted}");
    }
    if is_about(&["invalid type", "invalid value", "invalid length"]) {
        return format!("a value of the wrong kind; expected {wanted}");
    }
    String::from("this is not TOML, or nothing that this key takes")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::de::Error as _;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is never right")]
    struct Settings {
        number: u8,
        word: Word,
        odd: Odd,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Yes,
        No,
    }

    #[derive(Debug)]
    struct Odd;

    impl<'de> Deserialize<'de> for Odd {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            Err(D::Error::custom(format!(
                "{:?} is odd",
                String::deserialize(from)?
            )))
        }
    }

    #[test]
    fn when_a_value_is_wrong_the_key_and_what_was_wanted_are_named_and_the_value_is_not() {
        for (text, named) in [
            ("number = \"hunter2\"", "expected u8"),
            ("number = \"a\\nexpected hunter2\"", "expected u8"),
            ("word = \"hunter2\"", "expected `yes` or `no`"),
            ("odd = \"hunter2\"", "nothing that this key takes"),
        ] {
            let key = text.split(' ').next().expect("a key");
            let table: toml::Table = text.parse().expect("TOML");
            let error = toml::Value::Table(table).try_into::<Settings>().expect_err(key);
            let said = harmless(&error);
            assert!(!said.contains("hunter2"), "{said}");
            assert!(
                said.contains(named) && said.contains(&format!("in `{key}`")),
                "{said}"
            );
            let error = toml::from_str::<Settings>(text).expect_err(key);
            assert!(!harmless(&error).contains("hunter2"), "{}", harmless(&error));
        }
        let error = toml::from_str::<Settings>("number = hunter2").expect_err("no TOML");
        assert_eq!(
            harmless(&error),
            "this is not TOML, or nothing that this key takes"
        );
        let error = toml::from_str::<Settings>("numer = 1").expect_err("unknown");
        assert!(harmless(&error).contains("`numer`"), "{}", harmless(&error));
    }
}
