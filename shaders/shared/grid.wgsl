/// Workgroups in the first dimension of a dispatch that was folded into two (`gpu::grid`).
const GRID_WIDTH: u32 = 4096u;

/// The number of a workgroup in a dispatch that was folded into two dimensions.
fn group_index(id: vec3<u32>) -> u32 {
    return id.y * GRID_WIDTH + id.x;
}
