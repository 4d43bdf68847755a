//! `charkh load`.
mod bands;
mod distribution;
mod message;
mod reply;
mod results;
