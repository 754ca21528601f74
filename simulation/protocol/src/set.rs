//! A set of small numbers in one byte, so that millions of states fit into memory.

use std::fmt;
use std::marker::PhantomData;

/// A thing with a number below eight.
pub(crate) trait Numbered: Copy {
    fn of(number: u8) -> Self;
    fn number(self) -> u8;
}

/// A set of numbered things.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Set<T> {
    bits: u8,
    of: PhantomData<T>,
}

impl<T: Numbered> Set<T> {
    pub(crate) const EMPTY: Self = Self {
        bits: 0,
        of: PhantomData,
    };

    pub(crate) fn contains(self, item: T) -> bool {
        self.bits & (1 << item.number()) != 0
    }

    pub(crate) fn insert(&mut self, item: T) {
        self.bits |= 1 << item.number();
    }

    pub(crate) fn remove(&mut self, item: T) {
        self.bits &= !(1 << item.number());
    }

    pub(crate) const fn remove_all(&mut self, others: Self) {
        self.bits &= !others.bits;
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.bits == 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            bits: self.bits & other.bits,
            of: PhantomData,
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = T> {
        (0..8).map(T::of).filter(move |item| self.contains(*item))
    }
}

impl<T: Numbered> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut set = Self::EMPTY;
        items.into_iter().for_each(|item| set.insert(item));
        set
    }
}

impl<T: Numbered + fmt::Debug> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
