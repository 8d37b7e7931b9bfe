//! monosem trains sparse autoencoders (SAEs) on the activations of language models, on any GPU with Vulkan, Metal or
//! DX12.
//!
//! Programs use [`data`] (activations and batches), [`sae`] (the model, on the host), [`train`] (a trainer), [`run`]
//! (runs with a directory and checkpoints that resume), [`apply`] (codes and evaluation), [`features`] (what each
//! feature responds to), [`gpu::Gpu`] and [`error`]. The other modules are internals and may change in any version;
//! docs/architecture.md describes them.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//!
//! use monosem::apply::evaluate;
//! use monosem::data::{Activations, Batches};
//! use monosem::gpu::{AdapterChoice, Gpu};
//! use monosem::run::Job;
//! use monosem::sae::{self, SaeConfig};
//! use monosem::train::{Recipe, train};
//!
//! # fn main() -> monosem::Result<()> {
//! let data = Arc::new(Activations::open(&["activations/".into()])?);
//! let config = SaeConfig::top_k(data.width(), 4 * data.width(), 16);
//! let gpu = Gpu::open(&AdapterChoice::Best)?;
//! let recipe = Recipe::top_k(config.features, 512, 100);
//! let job = Job::new(&gpu, config, recipe.clone(), data.clone());
//! let (batch, steps) = (recipe.batch, recipe.steps);
//! let mut batches = job.batches(0..steps)?;
//! let sae = train(&gpu, &job.initial_weights(&gpu, &mut batches)?, recipe, batches, |progress| {
//!     println!("step {}  FVU {:.3}", progress.step, progress.fvu);
//!     Ok(())
//! })?;
//! println!("FVU {:.3}", evaluate(&gpu, &sae, batch, Batches::in_order(data, batch)?)?.all.fvu);
//! sae::save(&sae, Path::new("sae"))
//! # }
//! ```

#[doc(hidden)]
pub mod adapters;
pub mod apply;
pub mod data;
#[doc(hidden)]
pub mod engine;
pub mod error;
pub mod features;
pub mod gpu;
pub mod histogram;
#[doc(hidden)]
pub mod kernels;
#[doc(hidden)]
pub mod measure;
#[doc(hidden)]
pub mod reference;
#[doc(hidden)]
pub mod rng;
pub mod run;
pub mod sae;
#[doc(hidden)]
pub mod selftest;
#[doc(hidden)]
pub mod storage;
pub mod train;
#[doc(hidden)]
pub mod units;

pub use error::{Divergence, Error, Result};
