/// The number of a workgroup in a dispatch that was folded into two dimensions.
fn workgroup_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.y * groups.x + id.x;
}
