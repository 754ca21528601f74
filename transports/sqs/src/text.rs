//! The characters that SQS takes in a body or an attribute, and JSON that holds to them.

use serde::Serialize;

/// Whether SQS takes the character: tab, line feed, carriage return, and everything from the space on but U+FFFE and
/// U+FFFF.
pub(crate) const fn is_allowed(character: char) -> bool {
    matches!(
        character,
        '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..
    )
}

/// The text of a body, if SQS takes it as it is.
pub(crate) fn plain(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.chars().all(is_allowed)).then_some(text)
}

/// JSON in which what SQS refuses is escaped.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(value)?;
    // Control characters are escaped already; these two can only stand inside strings.
    Ok(if text.contains(['\u{fffe}', '\u{ffff}']) {
        text.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    } else {
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_character_its_json_is_allowed_and_reads_back() {
        for number in 0..=0x0010_ffff_u32 {
            let Some(character) = char::from_u32(number) else {
                continue;
            };
            let expected = matches!(number, 0x9 | 0xa | 0xd | 0x20..=0xd7ff | 0xe000..=0xfffd | 0x10000..);
            assert_eq!(is_allowed(character), expected, "U+{number:04X}");
            if number < 0x3000 || number > 0xfff0 && number < 0x1_0010 {
                let text = json(&character.to_string()).expect("it is text");
                assert!(text.chars().all(is_allowed), "U+{number:04X}");
                assert_eq!(
                    serde_json::from_str::<String>(&text).ok(),
                    Some(character.to_string())
                );
            }
        }
    }

    #[test]
    fn when_bytes_are_not_plain_text_they_are_told_apart() {
        assert_eq!(plain(b"{}\n"), Some("{}\n"));
        for refused in [&b""[..], b"\0", b"\xff", "\u{fffe}".as_bytes()] {
            assert_eq!(plain(refused), None);
        }
    }
}
