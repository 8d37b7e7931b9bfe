//! The arithmetic of entries: for each kind, as for each file of `shaders/entry/`, what it admits, the values that are
//! decoded, its penalty and its gradients. Nothing else of the reference knows the kinds.

use crate::sae::description::{EntryKind, JumpReluEntry, Penalty};

/// The parts that an entry has in its lists; one with none does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// It is active: decoded, counted and penalised.
    pub value: bool,
    /// It lies so close to its threshold that it trains it.
    pub window: bool,
    /// It is not below its threshold, and thus has no share of the closed form; or its gate is open.
    pub reached: bool,
}

impl Flags {
    /// An active entry.
    pub const VALUE: Self = Self { value: true, window: false, reached: false };

    /// Whether there is any.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// The further scalars of a feature, by their number in [`crate::sae::description::Role::Own`]; 0 where it has fewer.
pub type Own = [f64; 3];

/// What a field is a sum of, times a decoder row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Values {
    /// [`crate::sae::description::Value::Decoded`].
    pub decoded: f64,
    /// [`crate::sae::description::Value::Gate`].
    pub gate: f64,
}

/// An entry as its arithmetic sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its pre-activation.
    pub u: f64,
    /// Its parts.
    pub flags: Flags,
    /// Of its feature.
    pub own: Own,
    /// The norm of its feature's decoder row, `|v|`.
    pub norm: f64,
    /// Active features of its row.
    pub l0: f64,
    /// Rows of the batch.
    pub rows: f64,
}

/// The gradients of the loss by way of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slopes {
    /// With respect to `u`.
    pub u: f64,
    /// With respect to its feature's own scalars.
    pub own: Own,
    /// With respect to `|v|`, by the penalty alone.
    pub norm: f64,
}

/// The arithmetic of a kind.
pub trait Arithmetic {
    /// What `u` must exceed for the feature to be active.
    fn threshold(&self, _own: Own) -> f64 {
        0.0
    }

    /// The gradients of the own scalars, from that of the threshold.
    fn threshold_slopes(&self, _own: Own, _threshold: f64) -> Own {
        [0.0; 3]
    }

    /// The parts of an entry with this `u`; a NaN is active, so that it is seen.
    fn admits(&self, u: f64, own: Own) -> Flags {
        Flags { value: u > self.threshold(own) || u.is_nan(), ..Flags::default() }
    }

    /// The values of an entry.
    fn values(&self, u: f64, flags: Flags, _own: Own) -> Values {
        Values { decoded: if flags.value { u } else { 0.0 }, gate: 0.0 }
    }

    /// The penalty on a row with these entries; the loss has its mean over the rows.
    fn penalty(&self, _row: &[Seen]) -> f64 {
        0.0
    }

    /// The gradients by way of an entry; `s` are those of the fields' losses with respect to its values.
    fn slopes(&self, entry: &Seen, s: Values) -> Slopes;
}

/// The arithmetic of a list.
pub fn arithmetic(kind: EntryKind) -> Box<dyn Arithmetic> {
    match kind {
        EntryKind::TopK => Box::new(TopK),
        EntryKind::Relu { sparsity, normed } => Box::new(Relu { sparsity, normed }),
        EntryKind::JumpRelu(jumprelu) => Box::new(jumprelu),
        EntryKind::Gated { sparsity, normed } => Box::new(Gated { sparsity, normed }),
    }
}

struct TopK;

impl Arithmetic for TopK {
    fn slopes(&self, entry: &Seen, s: Values) -> Slopes {
        Slopes { u: if entry.flags.value { s.decoded } else { 0.0 }, ..Slopes::default() }
    }
}

struct Relu {
    sparsity: f64,
    normed: bool,
}

impl Arithmetic for Relu {
    fn penalty(&self, row: &[Seen]) -> f64 {
        row.iter().map(|entry| self.sparsity * entry.u * if self.normed { entry.norm } else { 1.0 }).sum()
    }

    fn slopes(&self, entry: &Seen, s: Values) -> Slopes {
        let sparsity = self.sparsity / entry.rows;
        Slopes {
            u: s.decoded + sparsity * if self.normed { entry.norm } else { 1.0 },
            norm: if self.normed { sparsity * entry.u } else { 0.0 },
            ..Slopes::default()
        }
    }
}

impl Arithmetic for JumpReluEntry {
    fn threshold(&self, own: Own) -> f64 {
        if self.log { own[0].exp() } else { own[0] }
    }

    fn threshold_slopes(&self, own: Own, threshold: f64) -> Own {
        [if self.log { threshold * self.threshold(own) } else { threshold }, 0.0, 0.0]
    }

    fn admits(&self, u: f64, own: Own) -> Flags {
        let t = self.threshold(own);
        Flags {
            value: u > t || u.is_nan(),
            window: ((u - t) / self.bandwidth).abs() < 0.5,
            reached: self.pre_activation && u >= t,
        }
    }

    fn penalty(&self, row: &[Seen]) -> f64 {
        let active = row.iter().filter(|entry| entry.flags.value);
        let penalty = match self.penalty {
            Penalty::Step => active.count() as f64,
            Penalty::Quadratic { target } => 2.0 / target * (active.count() as f64 - target).powi(2),
            Penalty::Tanh { scale } => active.map(|entry| (scale * entry.u * entry.norm).tanh()).sum(),
        };
        self.sparsity * penalty
    }

    fn slopes(&self, entry: &Seen, s: Values) -> Slopes {
        let Seen { u, flags, own, norm, l0, rows } = *entry;
        let sparsity = self.sparsity / rows;
        let t = self.threshold(own);
        // With respect to the value, to the number of active features, and to `|v|`.
        let (mut at_value, mut at_count, mut at_norm) = (s.decoded, 0.0, 0.0);
        match self.penalty {
            Penalty::Step => at_count = sparsity,
            Penalty::Quadratic { target } => at_count = sparsity * 4.0 / target * (l0 - target),
            Penalty::Tanh { scale } => {
                let value = self.values(u, flags, own).decoded;
                let slope = sparsity * scale * (1.0 - (scale * value * norm).tanh().powi(2));
                at_value += slope * norm;
                at_norm = slope * value;
            }
        }
        // As if active features rose from 0 to 1 over the window, with values from 0 to t.
        let through_step = if flags.window { (t * at_value + at_count) / self.bandwidth } else { 0.0 };
        Slopes {
            u: if flags.value { at_value } else { 0.0 } + if self.to_input { through_step } else { 0.0 },
            own: self.threshold_slopes(own, -through_step),
            norm: at_norm,
        }
    }
}

struct Gated {
    sparsity: f64,
    normed: bool,
}

const B_MAG: usize = 0;
const B_GATE: usize = 1;
const R_MAG: usize = 2;

impl Gated {
    /// What the rectified value is of.
    fn magnitude(u: f64, own: Own) -> f64 {
        own[R_MAG].exp() * u + own[B_MAG]
    }
}

impl Arithmetic for Gated {
    fn threshold(&self, own: Own) -> f64 {
        -own[B_GATE]
    }

    fn admits(&self, u: f64, own: Own) -> Flags {
        let reached = u > self.threshold(own) || u.is_nan();
        let magnitude = Self::magnitude(u, own);
        Flags { value: reached && (magnitude > 0.0 || magnitude.is_nan()), reached, ..Flags::default() }
    }

    fn values(&self, u: f64, flags: Flags, own: Own) -> Values {
        if !flags.reached {
            return Values::default();
        }
        let magnitude = Self::magnitude(u, own);
        Values { decoded: if magnitude < 0.0 { 0.0 } else { magnitude }, gate: u + own[B_GATE] }
    }

    fn penalty(&self, row: &[Seen]) -> f64 {
        let gate = |entry: &Seen| self.values(entry.u, entry.flags, entry.own).gate;
        row.iter().map(|entry| self.sparsity * gate(entry) * if self.normed { entry.norm } else { 1.0 }).sum()
    }

    fn slopes(&self, entry: &Seen, s: Values) -> Slopes {
        let Seen { u, flags, own, .. } = *entry;
        let sparsity = self.sparsity / entry.rows;
        let at_magnitude = if Self::magnitude(u, own) > 0.0 { s.decoded } else { 0.0 };
        let at_gate = s.gate + sparsity * if self.normed { entry.norm } else { 1.0 };
        let mut slopes = [0.0; 3];
        slopes[B_MAG] = at_magnitude;
        slopes[B_GATE] = at_gate;
        slopes[R_MAG] = at_magnitude * own[R_MAG].exp() * u;
        Slopes {
            u: at_gate + own[R_MAG].exp() * at_magnitude,
            own: slopes,
            norm: if self.normed { sparsity * self.values(u, flags, own).gate } else { 0.0 },
        }
    }
}
