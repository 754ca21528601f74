//! As many of a listing as fit into one answer.

use std::io::{self, Write};

use serde::Serialize;

/// From this size on an answer takes no more, in bytes.
const ANSWER_BYTES: usize = 8 << 20;

/// What an answer takes. The first fits always; what is too large for the socket by itself is found when it is written.
#[derive(Debug)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    bytes: usize,
    most: usize,
}

impl<T: Serialize> Page<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
            most,
        }
    }

    /// How many more there is room for, by number.
    pub(crate) fn room(&self) -> usize {
        self.most.saturating_sub(self.items.len())
    }

    /// Takes one, or gives it back where there is no room for it.
    pub(crate) fn add(&mut self, item: T) -> Result<(), T> {
        let bytes = size(&item);
        let fits = self.items.is_empty() || self.bytes.saturating_add(bytes) <= ANSWER_BYTES;
        if self.room() == 0 || !fits {
            return Err(item);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.items.push(item);
        Ok(())
    }

    pub(crate) fn into_items(self) -> Vec<T> {
        self.items
    }
}

/// How long it is in an answer.
fn size(item: &impl Serialize) -> usize {
    let mut counted = Counted(0);
    match serde_json::to_writer(&mut counted, item) {
        Ok(()) => counted.0,
        // It can't be written, which is told when it is.
        Err(_) => usize::MAX,
    }
}

/// Counts what is written.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_things_are_large_a_page_takes_those_that_fit_and_always_one() {
        let large = "x".repeat(ANSWER_BYTES / 2);
        let mut page = Page::new(3);
        assert!(page.add(large.clone()).is_ok());
        assert!(page.add(large.clone()).is_err(), "with its quotes it is too much");
        assert!(page.add("small".to_owned()).is_ok());
        assert_eq!(page.room(), 1);
        assert!(page.add("small".to_owned()).is_ok());
        assert!(page.add(String::new()).is_err(), "it is full");
        let mut page = Page::new(3);
        assert!(page.add(large.repeat(4)).is_ok(), "the first");
        assert!(page.add(String::new()).is_err());
        assert_eq!(page.into_items().len(), 1);
    }
}
