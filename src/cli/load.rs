//! `charkh load`.
mod bands;
mod distribution;
mod results;
