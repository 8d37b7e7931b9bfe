//! Shader sources and what they are compiled to.

use std::marker::PhantomData;
use std::sync::Arc;

use super::handle::Handle;

/// A WGSL template under `shaders/`, its imports resolved.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Path below `shaders/`, with `_` for `/`.
    pub name: &'static str,
    /// The text, with the directives of [`super::template`].
    pub text: &'static str,
    /// The text before and after its `#import entry`, if it has one; `text` has the default entry there.
    pub around_entry: Option<[&'static str; 2]>,
}

impl Source {
    /// The text with `entry` in the place of the default one; none if the shader imports no entry.
    pub fn with_entry(&self, entry: Entry) -> Option<String> {
        let [before, after] = self.around_entry?;
        Some([before, entry.text, after].concat())
    }
}

/// A file under `shaders/entry/`: the arithmetic of one entry of a list, for shaders that `#import entry`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The file's stem.
    pub name: &'static str,
    /// WGSL with the directives of [`super::template`].
    pub text: &'static str,
}

/// One entry point, compiled, of the kernel `K`. Clones are the same pipeline.
pub struct Pipeline<K> {
    pub(super) compiled: Handle<wgpu::ComputePipeline>,
    pub(super) label: Arc<str>,
    kernel: PhantomData<fn(K)>,
}

impl<K> Pipeline<K> {
    pub(super) fn new(compiled: Handle<wgpu::ComputePipeline>, label: Arc<str>) -> Self {
        Self { compiled, label, kernel: PhantomData }
    }
}

impl<K> Clone for Pipeline<K> {
    fn clone(&self) -> Self {
        Self::new(self.compiled.clone(), self.label.clone())
    }
}
