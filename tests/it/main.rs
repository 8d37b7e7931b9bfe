//! The tests of the library and of the program.

mod bad_input;
mod bench;
mod checkpoints;
mod cli;
mod devices;
mod eval;
mod golden;
mod gpu;
mod help;
mod kernels;
mod memory;
mod plan;
mod reference;
mod resume;
mod rows;
mod screening;
mod selection;
mod selftest;
mod subgroups;
mod train;
mod training;
mod translation;
mod tuning;
mod vectors;
