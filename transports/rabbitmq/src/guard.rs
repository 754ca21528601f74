//! Keeps one malformed message from ending the connection, again and again.
//!
//! lapin ends the whole connection on a message whose id, routing key or header name is not UTF-8, and walks nested
//! headers by recursion until the stack ends. RabbitMQ stores such messages, so each would come back after every
//! reconnection and stop the endpoint for good. The guard looks at incoming frames before lapin does and makes them
//! harmless in place, without changing a length:
//!
//! - in short strings that are not UTF-8 every byte outside ASCII becomes the control character SUB, so that such a
//!   message id is refused further up as one with control characters;
//! - tables and arrays nested deeper than [`DEEPEST`] become the byte array that they are.
//!
//! Everything else passes as it came.

/// How deep tables and arrays may be nested in headers.
const DEEPEST: usize = 32;

const METHOD_FRAME: u8 = 1;
const HEADER_FRAME: u8 = 2;
/// Type, channel and size.
const FRAME_HEAD: usize = 7;
/// The largest frame that is looked at: a connection's frames are at most 128 KiB by default.
const LARGEST: usize = 4 * 1024 * 1024;
const SUB: u8 = 0x1a;

/// Bytes on their way from the socket to lapin.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Looked at, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    /// The start of a frame that is not yet whole.
    held: Vec<u8>,
    /// How many bytes to come belong to a frame that is passed on as it is.
    passing: usize,
}

impl Guard {
    /// Takes bytes from the socket.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = if self.passing > 0 {
                self.pass(bytes)
            } else {
                self.hold(bytes)
            };
            bytes = &bytes[used..];
        }
    }

    /// Hands out what was looked at; returns how much.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.ready.len() - self.taken);
        buffer[..count].copy_from_slice(&self.ready[self.taken..self.taken + count]);
        self.taken += count;
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        count
    }

    fn pass(&mut self, bytes: &[u8]) -> usize {
        let count = self.passing.min(bytes.len());
        self.ready.extend_from_slice(&bytes[..count]);
        self.passing -= count;
        count
    }

    fn hold(&mut self, bytes: &[u8]) -> usize {
        let wanted = match frame_bytes(&self.held) {
            Some(whole) => whole,
            None => FRAME_HEAD,
        };
        let count = (wanted - self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes[..count]);
        if let Some(whole) = frame_bytes(&self.held) {
            let inspected = matches!(self.held[0], METHOD_FRAME | HEADER_FRAME) && whole <= LARGEST;
            if !inspected {
                self.passing = whole - self.held.len();
                self.release();
            } else if self.held.len() == whole {
                let kind = self.held[0];
                make_harmless(kind, &mut self.held[FRAME_HEAD..whole - 1]);
                self.release();
            }
        }
        count
    }

    fn release(&mut self) {
        self.ready.extend_from_slice(&self.held);
        self.held.clear();
    }
}

/// The size of a whole frame, with its head and its end byte, once its head is there.
fn frame_bytes(start: &[u8]) -> Option<usize> {
    let size = start.get(3..FRAME_HEAD)?;
    let size = u32::from_be_bytes(size.try_into().ok()?);
    Some(FRAME_HEAD + usize::try_from(size).ok()? + 1)
}

fn make_harmless(kind: u8, content: &mut [u8]) {
    let mut frame = Cursor {
        bytes: content,
        at: 0,
    };
    // Where the content is not what the protocol says, the rest stays as it is: lapin reports it.
    let _: Option<()> = if kind == HEADER_FRAME {
        frame.properties()
    } else {
        frame.method()
    };
}

/// A place in a frame; every step is `None` past its end.
struct Cursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn word(&mut self) -> Option<u16> {
        let word = self.bytes.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes(word.try_into().ok()?))
    }

    /// A length in four bytes: where what it counts ends.
    fn end(&mut self) -> Option<usize> {
        let length = self.bytes.get(self.at..self.at + 4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        self.at += 4;
        self.at
            .checked_add(usize::try_from(length).ok()?)
            .filter(|end| *end <= self.bytes.len())
    }

    fn short_string(&mut self) -> Option<()> {
        let start = self.at + 1;
        let length = usize::from(self.byte()?);
        self.skip(length)?;
        let text = &mut self.bytes[start..start + length];
        if std::str::from_utf8(text).is_err() {
            text.iter_mut()
                .filter(|byte| !byte.is_ascii())
                .for_each(|byte| *byte = SUB);
        }
        Some(())
    }

    /// `basic.deliver`, `basic.return` and `basic.get-ok` hold names that a sender chose.
    fn method(&mut self) -> Option<()> {
        match (self.word()?, self.word()?) {
            (60, 60) => {
                self.short_string()?;
                self.skip(9)?;
            }
            (60, 50) => {
                self.skip(2)?;
                self.short_string()?;
            }
            (60, 71) => self.skip(9)?,
            _ => return None,
        }
        self.short_string()?;
        self.short_string()
    }

    /// The properties of a message, in the order of their flags.
    fn properties(&mut self) -> Option<()> {
        const HEADERS: usize = 2;
        /// Delivery mode and priority are a byte each, the timestamp is eight; the rest are short strings.
        const FIXED: [(usize, usize); 3] = [(3, 1), (4, 1), (9, 8)];
        self.skip(12)?;
        let flags = self.word()?;
        for property in (0..14).filter(|property| flags & (0x8000 >> property) != 0) {
            let fixed = FIXED.iter().find(|(number, _)| *number == property);
            match fixed {
                Some((_, bytes)) => self.skip(*bytes)?,
                None if property == HEADERS => self.table()?,
                None => self.short_string()?,
            }
        }
        Some(())
    }

    /// A table with all that is nested in it, without recursion.
    fn table(&mut self) -> Option<()> {
        let mut open = vec![(self.end()?, true)];
        while let Some(&(end, named)) = open.last() {
            if self.at >= end {
                open.pop();
                continue;
            }
            if named {
                self.short_string()?;
            }
            let kind = self.at;
            match self.byte()? {
                b'V' => {}
                b't' | b'b' | b'B' => self.skip(1)?,
                b's' | b'u' | b'U' => self.skip(2)?,
                b'I' | b'i' | b'f' => self.skip(4)?,
                b'D' => self.skip(5)?,
                b'l' | b'L' | b'd' | b'T' => self.skip(8)?,
                b'S' | b'x' => self.at = self.end()?,
                nested @ (b'A' | b'F') => {
                    let end = self.end()?;
                    if open.len() < DEEPEST {
                        open.push((end, nested == b'F'));
                    } else {
                        self.bytes[kind] = b'x';
                        self.at = end;
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::parsing::parse_field_table;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).unwrap();
        [&[kind, 0, 1][..], &size.to_be_bytes(), content, &[0xce]].concat()
    }

    fn short(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()][..], text].concat()
    }

    fn long(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
    }

    /// A content header with a table and a message id.
    fn header(table: &[u8], id: &[u8]) -> Vec<u8> {
        let flags = 0x2000_u16 | 0x0080;
        frame(
            HEADER_FRAME,
            &[
                &[0, 60, 0, 0][..],
                &[0; 8],
                &flags.to_be_bytes(),
                &long(table),
                &short(id),
            ]
            .concat(),
        )
    }

    fn through(pieces: &[&[u8]]) -> Vec<u8> {
        let mut guard = Guard::default();
        let mut out = Vec::new();
        let mut buffer = [0; 11];
        for piece in pieces {
            guard.push(piece);
            loop {
                let count = guard.take(&mut buffer);
                out.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    break;
                }
            }
        }
        out
    }

    fn nested(levels: usize) -> Vec<u8> {
        let mut value = vec![b'V'];
        for level in 0..levels {
            value = if level % 2 == 0 {
                [&b"A"[..], &long(&value)].concat()
            } else {
                [&b"F"[..], &long(&[short(b"k"), value].concat())].concat()
            };
        }
        [short(b"deep"), value, short(b"n"), b"I\x00\x00\x00\x07".to_vec()].concat()
    }

    #[test]
    fn when_the_message_id_is_not_utf8_its_odd_bytes_become_control_characters() {
        let came = header(b"", b"id\xff\xfe7");
        assert_eq!(through(&[&came]), header(b"", b"id\x1a\x1a7"));
        let good = header(b"", "idé7".as_bytes());
        assert_eq!(through(&[&good]), good);
    }

    #[test]
    fn when_a_header_name_is_not_utf8_only_the_name_changes() {
        let table = |name: &[u8]| [short(name), b"S".to_vec(), long(b"\xff\xff")].concat();
        assert_eq!(
            through(&[&header(&table(b"n\xff"), b"1")]),
            header(&table(b"n\x1a"), b"1")
        );
    }

    #[test]
    fn when_the_routing_key_of_a_delivery_is_not_utf8_it_is_made_so() {
        let deliver = |key: &[u8]| {
            let content = [
                &[0, 60, 0, 60][..],
                &short(b"tag"),
                &[0; 9],
                &short(b"ex"),
                &short(key),
            ]
            .concat();
            frame(METHOD_FRAME, &content)
        };
        assert_eq!(through(&[&deliver(b"a\xc3b")]), deliver(b"a\x1ab"));
    }

    #[test]
    fn when_headers_are_nested_too_deep_the_deep_part_becomes_bytes_and_the_rest_stays() {
        for levels in [1, 10, 31, 32, 33, 50, 20_000] {
            let table = nested(levels);
            let came = header(&table, b"1");
            let went = through(&[&came]);
            assert_eq!(went.len(), came.len());
            assert_eq!(went == came, levels < DEEPEST, "{levels}");
            let (_, parsed) = parse_field_table(&went[FRAME_HEAD + 14..]).unwrap();
            assert_eq!(parsed.inner().len(), 2);
            assert_eq!(
                parsed.inner().get("n"),
                Some(&lapin::types::AMQPValue::LongInt(7))
            );
        }
    }

    #[test]
    fn when_the_broker_speaks_another_protocol_its_words_pass() {
        assert_eq!(through(&[b"AMQP\x00\x00\x09\x01"]), b"AMQP\x00\x00\x09\x01");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_pieces_keeps_its_length(
            content in proptest::collection::vec(any::<u8>(), 0..300),
            kind in 0_u8..9,
            cut in 0_usize..300,
        ) {
            let came = [frame(kind, &content), header(&nested(40), b"\xff"), frame(3, b"body")].concat();
            let (first, second) = came.split_at(cut.min(came.len()));
            let went = through(&[first, second]);
            prop_assert_eq!(went.len(), came.len());
            prop_assert_eq!(through(&[&came]), went);
        }

        #[test]
        fn whatever_a_header_table_holds_it_is_never_out_of_bounds(table in proptest::collection::vec(any::<u8>(), 0..64)) {
            let came = header(&table, b"1");
            prop_assert_eq!(through(&[&came]).len(), came.len());
        }
    }
}
