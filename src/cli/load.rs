//! `charkh load`.
mod bands;
mod distribution;
mod html;
mod results;
