//! The sums whose order is promised: a compiler with fast math may reorder `+`, but not a chain of `fma` with a factor
//! that it does not know.

use std::collections::BTreeSet;

use monosem::gpu::Source;
use monosem::gpu::shaders::ALL;
use naga::valid::FunctionInfo;
use naga::{BinaryOperator, Expression, Function, MathFunction, Module, ScalarKind, TypeInner};

use crate::engine::translation::{parse, variants};

/// The shaders whose results are equal on any number of devices and shards.
const PROMISED: [&str; 18] = [
    "activity",
    "bias_gradient",
    "center",
    "clip",
    "count",
    "decode",
    "hot",
    "merge",
    "model",
    "norms",
    "product",
    "residual",
    "select_wide",
    "slopes",
    "squares",
    "summary",
    "update",
    "variance",
];

/// Functions that add or subtract floats, and why no order is lost.
const ALLOWED: [(&str, &str, &str); 14] = [
    ("center", "main", "one difference, x - b_dec"),
    ("center", "layer_norm", "the same, x - mean, and the epsilon beside the standard deviation"),
    ("decode", "gate_value", "one sum, u + b_gate"),
    ("slopes", "gate_value", "the same"),
    ("slopes", "at_count", "one difference, L0 - target"),
    ("slopes", "at_gate", "one sum, the penalty and g1 · v"),
    ("slopes", "slope", "up to three gradients at one pre-activation, which no two owners share"),
    ("slopes", "extra_0", "the same, of a threshold"),
    ("slopes", "extra_1", "one difference, the value less its bias"),
    ("clip", "main", "torch's 1e-6 beside the norm"),
    ("summary", "main", "a count of rows, which is a whole number"),
    ("squares", "decoder_share", "dictionary_learning's 1e-6 beside the norm"),
    ("update", "decoder_share", "dictionary_learning's 1e-6 beside the norm"),
    ("update", "decoder", "the epsilon beside the norm"),
];

/// Whether a function adds floats otherwise than by `fma`.
fn adds_floats(module: &Module, function: &Function, info: &FunctionInfo) -> bool {
    let is_float = |handle: naga::Handle<Expression>| {
        let scalar = match info[handle].ty.inner_with(&module.types) {
            TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => *scalar,
            _ => return false,
        };
        scalar.kind == ScalarKind::Float
    };
    function.expressions.iter().any(|(handle, expression)| match expression {
        Expression::Binary { op: BinaryOperator::Add | BinaryOperator::Subtract, .. } => is_float(handle),
        Expression::Math { fun: MathFunction::Dot | MathFunction::Length | MathFunction::Distance, .. } => {
            is_float(handle)
        }
        _ => false,
    })
}

fn offenders(source: Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for variant in variants(source) {
        let (module, info) = parse(source, &variant);
        for (handle, function) in module.functions.iter() {
            if adds_floats(&module, function, &info[handle]) {
                found.insert(function.name.clone().unwrap_or_default());
            }
        }
        for (index, entry) in module.entry_points.iter().enumerate() {
            if adds_floats(&module, &entry.function, info.get_entry_point(index)) {
                found.insert(entry.name.clone());
            }
        }
    }
    found
}

#[test]
fn sums_whose_order_is_promised_are_chains_of_fma() {
    for name in PROMISED {
        let source = ALL.iter().find(|source| source.name == name).unwrap_or_else(|| panic!("no shader {name}"));
        let allowed = ALLOWED.iter().filter(|(shader, ..)| *shader == name);
        let allowed: BTreeSet<String> = allowed.map(|(_, function, _)| (*function).to_owned()).collect();
        assert_eq!(offenders(*source), allowed, "{name}");
    }
}
