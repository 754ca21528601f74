//! The states that were seen, each with its number, in as little memory as hashing allows.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

/// No number: the place is free.
const FREE: u32 = u32::MAX;

/// A hash set that keeps its items in the order in which they came. The table holds their numbers only, so that an
/// item is in memory once.
#[derive(Debug)]
pub(crate) struct Visited<T> {
    items: Vec<T>,
    /// The number of the next item.
    next: u32,
    /// A power of two in length, at most half full.
    table: Vec<u32>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl<T: Copy + Eq + Hash> Visited<T> {
    pub(crate) fn new() -> Self {
        Self {
            items: Vec::new(),
            next: 0,
            table: vec![FREE; 16],
            hasher: BuildHasherDefault::default(),
        }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.next
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)
    }

    /// The number of the item, and whether it is new.
    pub(crate) fn insert(&mut self, item: T) -> (u32, bool) {
        if self.items.len() * 2 >= self.table.len() {
            self.grow();
        }
        let place = self.place(&item);
        if self.table[place] != FREE {
            return (self.table[place], false);
        }
        let number = self.next;
        self.table[place] = number;
        self.items.push(item);
        self.next += 1;
        (number, true)
    }

    /// Where the number of the item is, or would be.
    fn place(&self, item: &T) -> usize {
        let mask = self.table.len() - 1;
        // The upper bits of the hash are of no use here.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the lower bits choose the place"
        )]
        let mut place = self.hasher.hash_one(item) as usize & mask;
        while self.table[place] != FREE && self.items[self.table[place] as usize] != *item {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        self.table = vec![FREE; self.table.len() * 2];
        for number in 0..self.next {
            let place = self.place(&self.items[number as usize]);
            self.table[place] = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_item_comes_again_it_keeps_its_number() {
        let mut visited = Visited::new();
        for number in 0..1000_u32 {
            assert_eq!(visited.insert(number * 7), (number, true));
        }
        for number in 0..1000_u32 {
            assert_eq!(visited.insert(number * 7), (number, false));
            assert_eq!(visited.get(number), Some(&(number * 7)));
        }
        assert_eq!(visited.len(), 1000);
        assert_eq!(visited.get(1000), None);
    }
}
