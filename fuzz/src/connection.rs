//! The connections' state machine: the bytes decide what clients do, what the server's callbacks
//! do, and what goes wrong. The questions are those of the seeded worlds in `tests/sim.rs`.
use charkh::net::sim::{Faults, Sim};

#[path = "../../tests/chaos/mod.rs"]
mod chaos;

use chaos::Dice;

const STEPS_MAX: usize = 400;

pub fn run(data: &[u8]) {
    let mut dice = Dice::bytes(data);
    let mut sim = Sim::new(dice.below(256) as u64);
    sim.faults = match dice.below(4) {
        0 => Faults::NONE,
        1 => Faults::harmless(dice.below(256) as u32),
        _ => Faults::drawn(dice.below(1 << 16) as u64),
    };
    chaos::run(sim, dice, STEPS_MAX);
}
