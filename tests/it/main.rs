//! The tests of the library and of the program.

mod engine;
mod kernels;
mod oracle;
mod program;
