//! What every WebGPU device has, and every shader keeps to. Part of the build script too, which refuses shaders that
//! do not.

/// Storage buffers that an entry point binds.
pub const STORAGE_BUFFERS: u32 = 8;

/// Workgroup memory of an entry point in bytes.
pub const WORKGROUP_BYTES: u32 = 16_384;
