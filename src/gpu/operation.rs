//! Commands of a program, prepared for the device.

use std::sync::Arc;

use super::recording::Transfer;
use crate::error::Result;

pub(super) enum Operation {
    Dispatch(PreparedDispatch),
    Transfer(Transfer),
}

pub(super) struct PreparedDispatch {
    pub pipeline: wgpu::ComputePipeline,
    pub bindings: wgpu::BindGroup,
    pub groups: Groups,
    pub label: Arc<str>,
}

pub(super) enum Groups {
    Given([u32; 3]),
    /// Those that the device finds in this buffer, at this offset in bytes.
    Granted(wgpu::Buffer, u64),
}

impl Operation {
    pub fn dispatch(&self) -> Option<&PreparedDispatch> {
        match self {
            Self::Dispatch(dispatch) => Some(dispatch),
            Self::Transfer(_) => None,
        }
    }
}

impl PreparedDispatch {
    /// Whether it is in a section, which the device may leave out.
    pub fn is_in_section(&self) -> bool {
        matches!(self.groups, Groups::Granted(..))
    }

    pub fn run(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        match &self.groups {
            Groups::Given([x, y, z]) => pass.dispatch_workgroups(*x, *y, *z),
            Groups::Granted(buffer, offset) => pass.dispatch_workgroups_indirect(buffer, *offset),
        }
    }
}

impl Transfer {
    pub fn run(&self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        match self {
            Self::Copy { source, from, target, to, bytes } => {
                encoder.copy_buffer_to_buffer(source.raw()?, *from, target.raw()?, *to, *bytes);
            }
            Self::Clear { buffer, range } => {
                encoder.clear_buffer(buffer.raw()?, range.start, Some(range.end - range.start));
            }
        }
        Ok(())
    }
}
