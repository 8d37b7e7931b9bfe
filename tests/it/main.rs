mod kernels;
mod reference;
mod subgroups;
mod translation;
mod vectors;
