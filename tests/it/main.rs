mod cli;
mod golden;
mod kernels;
mod reference;
mod subgroups;
mod training;
mod translation;
mod vectors;
