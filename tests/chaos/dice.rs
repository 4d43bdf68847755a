//! Decisions.

/// Where they come from.
#[derive(Clone, Debug)]
pub enum Dice {
    Seed(u64),
    /// Read one after the other. When they run out every decision is zero, the calm one.
    Bytes(Vec<u8>, usize),
}

impl Dice {
    pub fn seed(seed: u64) -> Self {
        Dice::Seed(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn bytes(bytes: &[u8]) -> Self {
        Dice::Bytes(bytes.into(), 0)
    }

    /// Less than `below`, or zero.
    pub fn below(&mut self, below: usize) -> usize {
        let below = below.max(1);
        match self {
            Dice::Seed(state) => {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (*state >> 33) as usize % below
            }
            Dice::Bytes(bytes, next) => {
                let mut byte = || {
                    *next += 1;
                    usize::from(bytes.get(*next - 1).copied().unwrap_or_default())
                };
                let mut number = byte();
                if below > 256 {
                    number = number << 8 | byte();
                }
                number % below
            }
        }
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// So many times in a thousand.
    pub fn strikes(&mut self, rate: usize) -> bool {
        rate > 0 && self.below(1000) >= 1000 - rate
    }

    pub fn are_spent(&self) -> bool {
        matches!(self, Dice::Bytes(bytes, next) if *next >= bytes.len())
    }
}
