//! Who holds how much memory, and who holds the most.
//!
//! Connections are listed by the size of what they hold, in classes a quarter of a power of two
//! wide. To note a change costs O(1), and so does naming one of the heaviest: whatever is in the
//! highest class is within a fifth of the very heaviest, and nobody is compared with a million
//! others to find it.

/// Four classes to each power of two.
const CLASSES: usize = 4 * usize::BITS as usize;

#[derive(Default)]
pub(crate) struct Weights {
    total: usize,
    classes: Vec<Vec<u32>>,
}

/// Where a connection was put, and whom that moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The connection's place in its new class.
    pub(crate) place: u32,
    /// Another connection, and the place it has now.
    pub(crate) other: Option<(u32, u32)>,
}

impl Weights {
    /// Bytes held by all.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// `slot` held `before` bytes, at `place` of that class; now it holds `after`. Zero is listed
    /// nowhere.
    pub(crate) fn change(&mut self, slot: u32, place: u32, before: usize, after: usize) -> Moved {
        self.total = self.total - before + after;
        let (old, new) = (class(before), class(after));
        if old == new {
            return Moved { place, other: None };
        }
        let mut other = None;
        if let Some(old) = old {
            let list = &mut self.classes[old];
            list.swap_remove(place as usize);
            other = list.get(place as usize).map(|&slot| (slot, place));
        }
        let Some(new) = new else { return Moved { place: 0, other } };
        if self.classes.is_empty() {
            self.classes.resize_with(CLASSES, Vec::new);
        }
        self.classes[new].push(slot);
        Moved { place: self.classes[new].len() as u32 - 1, other }
    }

    /// One of the heaviest.
    pub(crate) fn heaviest(&self) -> Option<u32> {
        self.classes.iter().rev().find_map(|list| list.last().copied())
    }
}

/// The power of two, and the two bits after its leading one.
fn class(bytes: usize) -> Option<usize> {
    let power = bytes.checked_ilog2()? as usize;
    let quarter = if power < 2 { 0 } else { bytes >> (power - 2) & 3 };
    Some(power * 4 + quarter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_quarter_wide_and_the_next_is_heavier() {
        let mut first = 4;
        for bytes in 5..10_000 {
            if class(bytes) != class(first) {
                assert!(class(bytes) > class(first), "{bytes}");
                first = bytes;
            }
            assert!(bytes * 4 < first * 5, "{bytes} and {first} in one class");
        }
    }

    #[test]
    fn the_heaviest_is_within_a_quarter_of_the_very_heaviest() {
        let mut weights = Weights::default();
        let mut held: Vec<(usize, u32)> = vec![(0, 0); 300];
        let mut seed = 3_usize;
        let rounds = if cfg!(miri) { 200 } else { 100_000 };
        for _ in 0..rounds {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (seed >> 33) % 300;
            let after = if seed >> 60 == 0 { 0 } else { (seed >> 20) % (1 << (seed >> 59)) };
            let (before, place) = held[slot];
            let moved = weights.change(slot as u32, place, before, after);
            held[slot] = (after, moved.place);
            if let Some((other, place)) = moved.other {
                held[other as usize].1 = place;
            }
            assert_eq!(weights.total(), held.iter().map(|(bytes, _)| bytes).sum());
            let most = held.iter().map(|&(bytes, _)| bytes).max().unwrap();
            match weights.heaviest() {
                None => assert_eq!(most, 0),
                Some(slot) => assert!(held[slot as usize].0 * 5 >= most * 4),
            }
        }
        for slot in 0..300 {
            let (before, place) = held[slot as usize];
            if let Some((other, place)) = weights.change(slot, place, before, 0).other {
                held[other as usize].1 = place;
            }
        }
        assert_eq!((weights.total(), weights.heaviest()), (0, None));
    }
}
