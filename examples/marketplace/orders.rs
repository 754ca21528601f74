//! Reads orders from JSON lines, and says which lines are none.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use longhaul::clock::Timestamp;
use serde::Deserialize;

/// The longest line in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// The longest order id in bytes: it names a saga.
const MAX_ID: usize = 200;
/// All times of an order lie within this of its purchase; a timeout can't be asked for more than a century ahead.
const MAX_SPAN: Duration = Duration::from_secs(50 * 366 * 86_400);

/// One order, with all that ever happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) purchased: Timestamp,
    pub(crate) approved: Option<Timestamp>,
    pub(crate) shipped: Option<Timestamp>,
    pub(crate) delivered: Option<Timestamp>,
    pub(crate) estimated: Timestamp,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) orders: Vec<Order>,
    /// The lines that were left out.
    pub(crate) faults: Vec<LineFault>,
}

/// A line that is not an order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineFault {
    /// The first line is 1.
    line: u64,
    reason: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not an order: {}", self.line, self.reason)
    }
}

impl Orders {
    /// Reads to the end. Lines that are not orders are left out and listed.
    ///
    /// # Errors
    /// Only what reading itself meets.
    pub(crate) fn read(mut input: impl BufRead) -> io::Result<Self> {
        let mut found = Self::default();
        let mut lines_by_id: HashMap<String, u64> = HashMap::new();
        let mut line = Vec::new();
        for number in 1_u64.. {
            let Some(complete) = next_line(&mut input, &mut line)? else {
                break;
            };
            let order = if complete {
                parse(without_byte_order_mark(&line, number))
            } else {
                Err(format!("it is longer than {MAX_LINE} bytes"))
            };
            let order = order.and_then(|order| match lines_by_id.get(&order.id) {
                Some(first) => Err(format!("its order_id is that of line {first}")),
                None => Ok(order),
            });
            match order {
                Ok(order) => {
                    lines_by_id.insert(order.id.clone(), number);
                    found.orders.push(order);
                }
                Err(reason) => found.faults.push(LineFault { line: number, reason }),
            }
        }
        Ok(found)
    }
}

/// Reads a line without its end. `None` at the end of the input; `false` where the line is too long and was skipped.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if input.by_ref().take(MAX_LINE + 1).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    if line.len() as u64 <= MAX_LINE {
        return Ok(Some(true));
    }
    input.skip_until(b'\n')?;
    Ok(Some(false))
}

/// Editors on some systems put one in front of a file.
fn without_byte_order_mark(line: &[u8], number: u64) -> &[u8] {
    match line.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) if number == 1 => rest,
        Some(_) | None => line,
    }
}

/// A line as it is written; what it must hold is checked afterwards.
#[derive(Deserialize)]
struct Line {
    order_id: String,
    #[serde(rename = "customer_id")]
    _customer: Option<String>,
    #[serde(rename = "status")]
    _status: Option<String>,
    purchased: String,
    approved: Option<String>,
    shipped: Option<String>,
    delivered: Option<String>,
    estimated: String,
}

fn parse(line: &[u8]) -> Result<Order, String> {
    let text = std::str::from_utf8(line).map_err(|_| String::from("it is not UTF-8"))?;
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err(String::from("it is empty"));
    }
    // An array of the right length would do for the reader of JSON.
    if !text.starts_with('{') {
        return Err(String::from("it is not a JSON object"));
    }
    let line: Line = serde_json::from_str(text).map_err(|error| in_one_line(&error))?;
    let purchased = time("purchased", &line.purchased)?;
    let near = |name: &'static str, text: &str| {
        let time = time(name, text)?;
        let (early, late) = (time.min(purchased), time.max(purchased));
        if late.since(early) > MAX_SPAN {
            return Err(format!("{name} is more than 50 years from purchased"));
        }
        Ok(time)
    };
    let maybe = |name, text: Option<String>| text.map(|text| near(name, &text)).transpose();
    Ok(Order {
        purchased,
        approved: maybe("approved", line.approved)?,
        shipped: maybe("shipped", line.shipped)?,
        delivered: maybe("delivered", line.delivered)?,
        estimated: near("estimated", &line.estimated)?,
        id: id(line.order_id)?,
    })
}

fn in_one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => format!("{reason} (column {})", error.column()),
        None => text,
    }
}

fn id(id: String) -> Result<String, String> {
    if id.is_empty() {
        Err(String::from("order_id is empty"))
    } else if id.len() > MAX_ID {
        Err(format!("order_id is longer than {MAX_ID} bytes"))
    } else if id.chars().any(char::is_control) {
        Err(String::from("order_id contains control characters"))
    } else {
        Ok(id)
    }
}

/// Reads a time of RFC 3339. [`Timestamp`] itself takes only UTC with a `Z`, so the offset is taken off here.
fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    let fault = || {
        let text: String = text.chars().take(40).collect();
        format!("{name} is {text:?}, not a time such as \"2018-03-01T17:30:00Z\"")
    };
    let upper = text.to_ascii_uppercase();
    let (local, offset) = match upper.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => {
            let at = upper
                .len()
                .checked_sub(6)
                .filter(|at| upper.is_char_boundary(*at));
            let (local, offset) = upper.split_at(at.ok_or_else(fault)?);
            (local, minutes(offset).ok_or_else(fault)?)
        }
    };
    // A microsecond is the least that a timestamp tells apart; rounding would move a time across a deadline.
    let local = match local.split_once('.') {
        Some((_, fraction)) if fraction.len() > 6 => {
            let zeros = &fraction.as_bytes()[6..];
            if zeros.iter().any(|digit| *digit != b'0') {
                return Err(format!("{name} is finer than a microsecond"));
            }
            &local[..local.len() - zeros.len()]
        }
        Some(_) | None => local,
    };
    let utc = Timestamp::parse(&format!("{local}Z")).map_err(|_| fault())?;
    let micros = utc.as_micros() - offset * 60_000_000;
    let time = Timestamp::from_micros(micros);
    if time.as_micros() == micros {
        Ok(time)
    } else {
        Err(fault())
    }
}

/// The minutes of an offset such as `+05:30`.
fn minutes(offset: &str) -> Option<i64> {
    let bytes = offset.as_bytes();
    let &[sign, h1, h2, b':', m1, m2] = bytes else {
        return None;
    };
    let two = |tens: u8, ones: u8| {
        let both = tens.is_ascii_digit() && ones.is_ascii_digit();
        both.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
    let total = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    match sign {
        b'+' => Some(total),
        b'-' => Some(-total),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"order_id":"a","customer_id":"c","status":"delivered","purchased":"2018-01-01T10:00:00Z","approved":"2018-01-02T10:00:00Z","shipped":null,"delivered":null,"estimated":"2018-02-01T00:00:00Z"}"#;

    fn read(text: impl AsRef<[u8]>) -> Orders {
        Orders::read(text.as_ref()).expect("reading from memory works")
    }

    fn fault(line: impl AsRef<[u8]>) -> String {
        let found = read(line.as_ref());
        assert_eq!(found.orders, [], "{}", String::from_utf8_lossy(line.as_ref()));
        assert_eq!(found.faults.len(), 1, "{:?}", found.faults);
        found.faults[0].to_string()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn when_a_line_is_an_order_all_its_times_are_read() {
        let found = read(ORDER);
        assert_eq!(found.faults, []);
        let order = &found.orders[0];
        assert_eq!(order.id, "a");
        assert_eq!(order.purchased, at("2018-01-01T10:00:00Z"));
        assert_eq!(order.approved, Some(at("2018-01-02T10:00:00Z")));
        assert_eq!((order.shipped, order.delivered), (None, None));
        assert_eq!(order.estimated, at("2018-02-01T00:00:00Z"));
    }

    #[test]
    fn when_lines_end_in_cr_lf_or_the_file_begins_with_a_byte_order_mark_it_reads_the_same() {
        let found = read(format!(
            "\u{feff}{ORDER}\r\n{}\r\n",
            ORDER.replace("\"a\"", "\"b\"")
        ));
        assert_eq!(found.faults, []);
        assert_eq!(found.orders.len(), 2);
    }

    #[test]
    fn when_a_file_is_empty_it_holds_no_orders_and_no_faults() {
        let found = read("");
        assert_eq!((found.orders.len(), found.faults.len()), (0, 0));
    }

    #[test]
    fn when_a_line_is_not_an_order_its_number_is_told_and_the_others_are_kept() {
        let other = ORDER.replace("\"a\"", "\"b\"");
        let found = read(format!("{ORDER}\n\nnot JSON\n{other}\n{{}}"));
        assert_eq!(found.orders.len(), 2);
        let lines: Vec<_> = found.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "line 2 is not an order: it is empty",
                "line 3 is not an order: it is not a JSON object",
                "line 5 is not an order: missing field `order_id` (column 2)",
            ]
        );
    }

    #[test]
    fn when_an_order_comes_twice_the_first_counts() {
        let found = read(format!("{ORDER}\n{ORDER}\n"));
        assert_eq!(found.orders.len(), 1);
        assert_eq!(
            found.faults[0].to_string(),
            "line 2 is not an order: its order_id is that of line 1"
        );
    }

    #[test]
    fn when_json_is_of_another_shape_it_is_refused() {
        for line in [
            "[]",
            r#"["a","c","s","2018-01-01T10:00:00Z",null,null,null,"2018-02-01T00:00:00Z"]"#,
            "null",
            "7",
            &format!("{ORDER} {ORDER}"),
            &ORDER[..ORDER.len() - 1],
            &ORDER.replace(r#""a""#, "7"),
            &ORDER.replace(r#""a""#, "null"),
            &ORDER.replace(r#""a""#, r#""""#),
            &ORDER.replace(r#""a""#, r#""a\u0000""#),
            &ORDER.replace(r#""a""#, &format!("{:?}", "x".repeat(201))),
            &ORDER.replace(r#""shipped":null"#, r#""approved":null"#),
            &ORDER.replace(r#""2018-02-01T00:00:00Z""#, "null"),
            &ORDER.replace(r#""2018-01-01T10:00:00Z""#, "null"),
            &ORDER.replace(r#""2018-01-01T10:00:00Z""#, "1514800800"),
        ] {
            assert!(fault(line).starts_with("line 1 is not an order: "), "{line}");
        }
    }

    #[test]
    fn when_a_line_is_not_utf_8_or_too_long_it_is_refused() {
        assert_eq!(
            fault(b"{\"order_id\": \"\xff\"}"),
            "line 1 is not an order: it is not UTF-8"
        );
        let long = format!("{{\"order_id\":\"{}\"}}", "x".repeat(100_000));
        assert_eq!(
            fault(&long),
            "line 1 is not an order: it is longer than 65536 bytes"
        );
        let found = read(format!("{long}\n{ORDER}\n"));
        assert_eq!(
            (found.orders.len(), found.faults.len()),
            (1, 1),
            "the next line is read"
        );
    }

    #[test]
    fn when_a_time_is_not_one_the_field_is_named() {
        for text in [
            "",
            "yesterday",
            "2018-01-02",
            "2018-02-30T00:00:00Z",
            "2018-01-02T10:00:60Z",
            "é",
            "2018-01-02T10:00:00+0100",
        ] {
            let line = ORDER.replace("2018-01-02T10:00:00Z", text);
            assert!(fault(&line).contains("approved is "), "{line}");
        }
    }

    #[test]
    fn when_times_are_impossibly_far_apart_the_line_is_refused() {
        for text in [
            "2069-01-02T10:00:00Z",
            "1960-01-02T10:00:00Z",
            "9998-12-31T23:59:59Z",
        ] {
            let line = ORDER.replace("2018-02-01T00:00:00Z", text);
            assert!(
                fault(&line).contains("estimated is more than 50 years from purchased"),
                "{line}"
            );
        }
    }

    #[test]
    fn when_a_time_has_an_offset_it_is_turned_into_utc() {
        for (text, utc) in [
            ("2018-03-01T17:30:00Z", "2018-03-01T17:30:00Z"),
            ("2018-03-01t17:30:00z", "2018-03-01T17:30:00Z"),
            ("2018-03-01T17:30:00.25Z", "2018-03-01T17:30:00.25Z"),
            ("2018-03-01T17:30:00.123456000Z", "2018-03-01T17:30:00.123456Z"),
            ("2018-03-01T17:30:00+05:30", "2018-03-01T12:00:00Z"),
            ("2018-03-01T17:30:00-03:00", "2018-03-01T20:30:00Z"),
            ("2018-12-31T23:30:00.5-00:45", "2019-01-01T00:15:00.5Z"),
        ] {
            assert_eq!(time("t", text), Ok(at(utc)), "{text}");
        }
        for text in [
            "2018-03-01T17:30:00",
            "2018-03-01T17:30:00+24:00",
            "2018-03-01T17:30:00+00:60",
            "2018-03-01T17:30:00 01:00",
            "2018-03-01T17:30:00.1234567Z",
            "0000-01-01T00:00:00+00:01",
        ] {
            assert!(time("t", text).is_err(), "{text}");
        }
    }
}
