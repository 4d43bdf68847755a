//! `charkh load`.
mod bands;
mod distribution;
mod figures;
mod machine;
mod plan;
mod results;
mod sources;
mod testimony;
