//! The rules for a message's name on the wire.

/// The longest wire name, in characters.
pub(crate) const MAX_CHARACTERS: usize = 200;

/// What is wrong with a name, with what to do about it; `None` if nothing is.
pub(crate) fn fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(
            "a wire name can't be empty: name the message, as in `sales.order_placed.v1`".to_owned(),
        );
    }
    if let Some(stranger) = name.chars().find(|c| !is_allowed(*c)) {
        return Some(format!(
            "a wire name can't contain {stranger:?}: use `a-z`, `0-9`, `_`, `-` and `.` only, as in `{}`",
            mended(name)
        ));
    }
    // From here on every character is one byte.
    if name.len() > MAX_CHARACTERS {
        return Some(format!(
            "this wire name has {} characters: shorten it to {MAX_CHARACTERS} at most",
            name.len()
        ));
    }
    if name.split('.').any(str::is_empty) {
        return Some(format!(
            "a wire name can't start or end with a dot, or have two in a row: write `{}`",
            mended(name)
        ));
    }
    None
}

/// A good wire name close to `text`, which may be a name with faults or the identifier of a type.
pub(crate) fn mended(text: &str) -> String {
    let parts: Vec<String> = text
        .split(['.', ':', '/'])
        .map(snake_case)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        "sales.order_placed.v1".to_owned()
    } else {
        parts.join(".")
    }
}

fn is_allowed(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.')
}

fn snake_case(part: &str) -> String {
    let mut snake = String::new();
    let mut after_small = false;
    for c in part.chars() {
        if c.is_ascii_uppercase() && after_small {
            snake.push('_');
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        let small = c.to_ascii_lowercase();
        snake.push(if is_allowed(small) { small } else { '_' });
    }
    snake.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_have_no_fault() {
        let longest = "a".repeat(MAX_CHARACTERS);
        for name in ["sales.order_placed.v1", "a", "0", "charge-card", longest.as_str()] {
            assert_eq!(fault(name), None, "{name}");
        }
    }

    #[test]
    fn every_bad_name_is_told_what_to_do() {
        let too_long = "a".repeat(MAX_CHARACTERS + 1);
        for (name, advice) in [
            ("", "name the message"),
            ("Sales.OrderPlaced", "as in `sales.order_placed`"),
            ("order placed", "as in `order_placed`"),
            ("bestellung.geändert", "can't contain 'ä'"),
            ("line\nbreak", r"can't contain '\n'"),
            (".sales", "write `sales`"),
            ("sales.", "write `sales`"),
            ("sales..v1", "write `sales.v1`"),
            (".", "write `sales.order_placed.v1`"),
            (too_long.as_str(), "shorten it to 200"),
        ] {
            let told = fault(name).unwrap_or_default();
            assert!(told.contains(advice), "{name:?}: {told}");
        }
    }

    #[test]
    fn a_mended_name_is_a_good_one() {
        for text in [
            "OrderPlaced",
            "HTTPServer",
            "Sales::Order.",
            "Ünï",
            "..",
            "__",
            "V1",
        ] {
            assert_eq!(fault(&mended(text)), None, "{text}");
        }
        assert_eq!(mended("OrderPlacedV1"), "order_placed_v1");
    }
}
