//! The number of workgroups that each kernel takes, from its bindings.

use super::groups_for;
use crate::gpu::shaders::{
    activity, admit, batch, bias_gradient, center, clip, closed, count, dead, decode, hot, mark, merge, model,
    normalize, norms, product, rerun, residual, runs, select_wide, slab, slopes, squares, summary, threshold, update,
    variance, widen,
};
use crate::gpu::{Launch, grid};

/// Workgroups for `rows` rows by rule R, two per workgroup.
fn rows(rows: u32) -> [u32; 3] {
    grid(u64::from(rows.div_ceil(norms::ROWS_PER_WORKGROUP)))
}

/// Workgroups for what lies in the chunks of a shard, `per_chunk` each.
fn chunks(first: u32, count: u32, chunk: u32, per_chunk: u32) -> [u32; 3] {
    let chunks = (first + count).div_ceil(chunk) - first / chunk;
    grid(u64::from(chunks) * u64::from(per_chunk))
}

/// Blocks of rule B, or of 1,024 features.
fn blocks(things: u32, block: u32) -> u64 {
    things.div_ceil(block).into()
}

/// `impl Launch` for the bindings of an entry point.
macro_rules! launch {
    ($($module:ident::$entry:ident: |$params:pat_param| $groups:expr;)*) => {$(
        impl Launch for $module::$entry::Bindings<'_> {
            fn groups(&self) -> [u32; 3] {
                let $params = self.params;
                $groups
            }
        }
    )*};
}

launch! {
    widen::main: |p| groups_for::<widen::main::Kernel>(u64::from(p.rows) * u64::from(p.quads));
    normalize::scale: |p| groups_for::<normalize::scale::Kernel>(u64::from(p.rows) * u64::from(p.quads));
    center::main: |p| groups_for::<center::main::Kernel>(u64::from(p.rows) * u64::from(p.quads));
    center::layer_norm: |p| rows(p.rows);
    center::total: |p| groups_for::<center::total::Kernel>(p.quads.into());
    count::main: |p| groups_for::<count::main::Kernel>(p.rows.into());
    decode::main: |p| groups_for::<decode::main::Kernel>(
        u64::from(p.rows) * u64::from(p.pieces) * u64::from(decode::PIECE_THREADS));
    residual::main: |p| rows(p.rows);
    norms::main: |p| rows(p.count);

    rerun::gather: |p| groups_for::<rerun::gather::Kernel>(u64::from(p.room) * u64::from(p.quads));
    rerun::scatter: |p| groups_for::<rerun::scatter::Kernel>(u64::from(p.room) * u64::from(p.k));

    batch::begin: |_| [1, 1, 1];
    batch::histogram: |p| grid(u64::from(p.threads / batch::THREADS));
    batch::raise: |_| [1, 1, 1];
    batch::find_least: |p| grid(u64::from(p.threads / batch::THREADS));
    admit::count: |p| grid(p.rows.into());
    admit::scan: |_| [1, 1, 1];
    admit::write: |p| grid(p.rows.into());

    dead::count: |p| grid(blocks(p.count, dead::BLOCK));
    dead::scan: |_| [1, 1, 1];
    dead::write: |p| grid(blocks(p.count, dead::BLOCK));
    dead::extent: |_| [1, 1, 1];
    dead::row_starts: |p| groups_for::<dead::row_starts::Kernel>(u64::from(p.rows) + 1);
    dead::rename: |p| groups_for::<dead::rename::Kernel>(u64::from(p.rows) * u64::from(p.most));
    mark::main: |p| groups_for::<mark::main::Kernel>(p.capacity.into());
    select_wide::main: |p| grid(p.rows.into());
    variance::blocks: |p| groups_for::<variance::blocks::Kernel>(
        blocks(p.rows, variance::BLOCK_ROWS) * u64::from(p.quads));
    variance::means: |p| groups_for::<variance::means::Kernel>(p.quads.into());
    variance::rows: |p| rows(p.rows);
    variance::ratio: |_| [1, 1, 1];

    runs::bound: |p| groups_for::<runs::bound::Kernel>(u64::from(p.blocks) + 1);
    runs::range: |p| groups_for::<runs::range::Kernel>(p.ranges.into());
    slopes::main: |p| grid(p.groups.into());
    summary::main: |p| grid(p.groups.into());
    hot::main: |p| grid(p.groups.into());
    squares::encoder: |p| grid(p.groups.into());
    squares::decoder: |p| grid(p.groups.into());
    closed::shift: |p| groups_for::<closed::shift::Kernel>(p.count.into());
    closed::main: |p| rows(p.width);
    bias_gradient::rows: |p| groups_for::<bias_gradient::rows::Kernel>(
        blocks(p.rows, bias_gradient::BLOCK_ROWS) * u64::from(p.quads));
    bias_gradient::chunks: |p| chunks(p.first, p.count, p.chunk, p.quads.div_ceil(bias_gradient::TILE_QUADS));
    bias_gradient::squares: |p| chunks(p.first, p.count, p.chunk, 1);
    bias_gradient::finish: |p| groups_for::<bias_gradient::finish::Kernel>(p.quads.into());
    clip::main: |_| [1, 1, 1];
    slab::values: |p| grid(p.rows.into());
    slab::count: |_| [1, 1, 1];
    slab::summary: |p| grid(p.width.div_ceil(slab::FEATURES).into());
    slab::slopes: |p| groups_for::<slab::slopes::Kernel>(u64::from(p.rows) * u64::from(p.width.div_ceil(4)));
    product::main: |p| [p.columns.div_ceil(product::COLUMNS), p.rows.div_ceil(product::ROWS), 1];

    update::encoder: |p| grid(p.groups.into());
    update::decoder: |p| grid(p.groups.into());
    update::own: |p| groups_for::<update::own::Kernel>(p.count.into());
    model::main: |p| groups_for::<model::main::Kernel>(p.quads.into());
    activity::main: |p| groups_for::<activity::main::Kernel>(p.count.into());
    threshold::main: |_| [1, 1, 1];
    merge::main: |p| groups_for::<merge::main::Kernel>(p.count.into());
}
