//! Where the threads of a load tell how it goes, for whoever shows it.
use std::sync::{Mutex, PoisonError};

use super::{bands::BANDS, tally::Errors};

/// One thread's, since the beginning.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) up: u64,
    pub(crate) opened: u64,
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) errors: Errors,
    pub(crate) latency: [u64; BANDS],
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            up: 0,
            opened: 0,
            requests: 0,
            bytes_in: 0,
            errors: Errors::default(),
            latency: [0; BANDS],
        }
    }
}

impl Progress {
    pub(crate) fn add(&mut self, other: &Self) {
        self.up += other.up;
        self.opened += other.opened;
        self.requests += other.requests;
        self.bytes_in += other.bytes_in;
        self.errors.add(&other.errors);
        for (sum, count) in self.latency.iter_mut().zip(other.latency) {
            *sum += count;
        }
    }
}

pub(crate) struct Board(Vec<Mutex<Progress>>);

impl Board {
    pub(crate) fn new(threads: u32) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn write(&self, thread: u32, write: impl FnOnce(&mut Progress)) {
        let place = &self.0[thread as usize];
        // Numbers, whole at every moment.
        write(&mut place.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Of all threads.
    pub(crate) fn sum(&self) -> Progress {
        let mut sum = Progress::default();
        for place in &self.0 {
            sum.add(&place.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}
