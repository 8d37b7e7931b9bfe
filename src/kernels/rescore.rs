//! The keys of the features in each row's best groups.

use std::fmt;

use super::groups_for;
use super::radix::{Pairs, RadixSort, shares};
use crate::error::Result;
use crate::gpu::shaders::rescore::{Params, main, write_codes};
use crate::gpu::shaders::rescore_by_group::{self as by_group, THREADS, load};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Pipeline, Recording, Slot, grid};

/// The variants of `rescore`; both give the same bits on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RescoreVariant {
    /// `shaders/rescore.wgsl`: row by row, for adapters on the CPU.
    ByRow,
    /// `shaders/rescore/by_group.wgsl`: pairs of group and row by group, so that rows share what they read, for GPUs.
    ByGroup,
}

impl RescoreVariant {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ByRow, Self::ByGroup];

    /// The one that an adapter takes.
    pub fn best(adapter: &AdapterDescription) -> Self {
        if adapter.takes_cpu_kernels() { Self::ByRow } else { Self::ByGroup }
    }
}

impl fmt::Display for RescoreVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByRow => "by-row",
            Self::ByGroup => "by-group",
        })
    }
}

/// The kernels of `shaders/rescore.wgsl`, or of `shaders/rescore/by_group.wgsl`, for groups of one size.
pub struct Rescore {
    keys: Keys,
    write_codes: Pipeline<write_codes::Kernel>,
    group: u32,
}

enum Keys {
    ByRow(Pipeline<main::Kernel>),
    ByGroup { load: Pipeline<load::Kernel>, radix: RadixSort, main: Pipeline<by_group::main::Kernel>, shares: u32 },
}

/// The candidates by group, where the variant takes them so.
pub struct CandidateOrder(Option<Sorted>);

struct Sorted {
    pairs: Pairs,
    counts: Buffer,
}

impl Rescore {
    /// Compiles the variant of the adapter.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses a kernel.
    pub fn new(gpu: &Gpu, group: u32) -> Result<Self> {
        Self::of_variant(gpu, group, RescoreVariant::best(gpu.description()))
    }

    /// Compiles one variant.
    ///
    /// # Errors
    /// As [`Rescore::new`].
    pub fn of_variant(gpu: &Gpu, group: u32, variant: RescoreVariant) -> Result<Self> {
        let keys = match variant {
            RescoreVariant::ByRow => Keys::ByRow(gpu.pipeline(&[])?),
            RescoreVariant::ByGroup => {
                let defines = [("GROUP", group)];
                let (load, main, shares) = (gpu.pipeline(&defines)?, gpu.pipeline(&defines)?, shares(gpu));
                Keys::ByGroup { load, radix: RadixSort::new(gpu, shares)?, main, shares }
            }
        };
        Ok(Self { keys, write_codes: gpu.pipeline(&[])?, group })
    }

    /// Room for the order of at most `pairs` groups of rows, of `groups` that there are.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn order(&self, gpu: &Gpu, pairs: u32, groups: u32) -> Result<CandidateOrder> {
        let Keys::ByGroup { shares, .. } = self.keys else { return Ok(CandidateOrder(None)) };
        let pairs = Pairs::new(gpu, shares, pairs, groups.saturating_sub(1))?;
        Ok(CandidateOrder(Some(Sorted { pairs, counts: gpu.buffer("sort counters", 4)? })))
    }

    /// Puts the best groups into order, for the rows, groups and features of `params`.
    pub fn record_order(
        &self,
        recording: &mut Recording,
        best_groups: &Buffer,
        params: Params,
        CandidateOrder(order): &CandidateOrder,
    ) {
        let (Keys::ByGroup { load, radix, .. }, Some(Sorted { pairs, counts })) = (&self.keys, order) else { return };
        let params = params_by_group(params);
        if params.pairs > 0 {
            let bindings = load::Bindings { best_groups, pairs_out: pairs.unsorted(), counts, params };
            recording.dispatch(load, bindings, groups_for::<load::Kernel>(params.pairs.into()));
            radix.record(recording, pairs, Slot::from(counts));
        }
    }

    /// The candidates in one shard, which are in order.
    pub fn record(
        &self,
        recording: &mut Recording,
        bindings: main::Bindings<'_>,
        CandidateOrder(order): &CandidateOrder,
    ) {
        let main::Bindings { centred, w_enc, scalars, best_groups: _, candidate_values, candidate_keys, params } =
            bindings;
        debug_assert_eq!(params.group, self.group, "compiled for groups of another size");
        match (&self.keys, order) {
            (Keys::ByGroup { main, .. }, Some(Sorted { pairs, .. })) => {
                let (pairs, params) = (pairs.sorted(), params_by_group(params));
                let groups = grid(params.pairs.div_ceil(THREADS / self.group).into());
                let bindings = by_group::main::Bindings {
                    pairs,
                    centred,
                    w_enc,
                    scalars,
                    candidate_values,
                    candidate_keys,
                    params,
                };
                recording.dispatch(main, bindings, groups);
            }
            (Keys::ByRow(main), _) => {
                let candidates = u64::from(params.rows) * u64::from(params.groups) * u64::from(params.group);
                recording.dispatch(main, bindings, groups_for::<main::Kernel>(candidates));
            }
            (Keys::ByGroup { .. }, None) => unreachable!("an order of another variant"),
        }
    }

    /// Gives the codes, whose features are numbers of candidates, their features and rectified values.
    pub fn record_codes(&self, recording: &mut Recording, bindings: write_codes::Bindings<'_>) {
        let entries = u64::from(bindings.params.rows) * u64::from(bindings.params.k);
        recording.dispatch(&self.write_codes, bindings, groups_for::<write_codes::Kernel>(entries));
    }
}

fn params_by_group(params: Params) -> by_group::Params {
    let Params { rows, first_row, quads, groups, first, count, scaled, .. } = params;
    by_group::Params { pairs: rows * groups, first_row, quads, groups, first, count, scaled }
}
