//! `charkh load`.
mod bands;
mod distribution;
mod figures;
mod machine;
mod results;
mod sources;
