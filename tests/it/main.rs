mod training;
mod cli;
mod golden;
mod kernels;
mod reference;
mod subgroups;
mod translation;
mod vectors;
