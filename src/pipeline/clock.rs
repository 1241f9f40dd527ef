//! A bounded cache: a clock hand drops what was not used since it last passed.

use std::cell::Cell;

use hashbrown::HashTable;

/// A bounded cache of values that know their own keys. The caller hashes and compares.
#[derive(Debug)]
pub(super) struct Clock<V> {
    table: HashTable<usize>,
    slots: Vec<Option<Slot<V>>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    most_entries: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Slot<V> {
    hash: u64,
    size: usize,
    used: Cell<bool>,
    value: V,
}

impl<V> Clock<V> {
    /// A cache of at most so many entries, and so many bytes by the caller's estimates.
    pub(super) fn new(most_entries: usize, most_bytes: usize) -> Self {
        Self { table: HashTable::new(), slots: Vec::new(), free: Vec::new(), hand: 0, bytes: 0, most_entries, most_bytes }
    }

    /// The value with this hash that `is` it.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&V> {
        let value = |index: usize| self.slots.get(index).and_then(Option::as_ref);
        let index = self.table.find(hash, |index| value(*index).is_some_and(|slot| is(&slot.value)))?;
        let slot = value(*index)?;
        slot.used.set(true);
        Some(&slot.value)
    }

    /// Keeps a value that is not there yet; one that would crowd out the others is not kept.
    pub(super) fn insert(&mut self, hash: u64, size: usize, value: V) {
        if size > self.most_bytes / 16 {
            return;
        }
        while self.table.len() >= self.most_entries || self.bytes + size > self.most_bytes {
            self.drop_one();
        }
        let index = self.free.pop().unwrap_or(self.slots.len());
        let slot = Some(Slot { hash, size, used: Cell::new(false), value });
        match self.slots.get_mut(index) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        self.bytes += size;
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |index| slots.get(*index).and_then(Option::as_ref).map_or(0, |slot| slot.hash));
    }

    /// Forgets the value that `is` it. A scan: for what seldom happens.
    pub(super) fn forget(&mut self, is: impl Fn(&V) -> bool) {
        if let Some(index) = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| is(&slot.value))) {
            self.remove(index);
        }
    }

    /// How many values are held.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn drop_one(&mut self) {
        for _ in 0..=2 * self.slots.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            if self.slots.get(index).and_then(Option::as_ref).is_some_and(|slot| !slot.used.replace(false)) {
                return self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::take) else { return };
        self.bytes = self.bytes.saturating_sub(slot.size);
        if let Ok(entry) = self.table.find_entry(slot.hash, |held| *held == index) {
            entry.remove();
        }
        self.free.push(index);
    }
}
