mod reference;
mod vectors;
