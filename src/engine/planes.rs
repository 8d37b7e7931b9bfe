//! The scalars of features on the device: planes of one word per feature, of which a shard has one buffer.

use crate::sae::description::{Counted, Description, Role};

/// The content of a plane; shaders/shared/planes.wgsl says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// The encoder's bias.
    Bias,
    /// Norms of decoder rows.
    Norm,
    /// Adam's first moment of the bias.
    FirstMoment,
    /// Its second.
    SecondMoment,
    /// The step in which a feature fired last.
    LastFired,
    /// Rows on which it fired.
    TimesFired,
    /// 1 + the index of its run, or 0.
    Run,
    /// The gradient of its bias.
    Slopes,
    /// The gradient of its decoder row times the row.
    Along,
    /// Rows of the batch on which it fires.
    Fired,
    /// Squared norm of its encoder row's gradient.
    SquaresEnc,
    /// Squared norm of its decoder row's gradient.
    SquaresDec,
    /// Not 0 once an update has left it a parameter that is not finite.
    Flawed,
    /// Dead features, compacted.
    Dead,
    /// The last step that it fired in, the one under way included.
    Mark,
    /// A scalar of its own besides the bias: the tensor of [`Role::Own`] of this number.
    Own(usize),
    /// Adam's first moment of it.
    OwnFirstMoment(usize),
    /// Its second.
    OwnSecondMoment(usize),
    /// The gradient of it.
    OwnSum(usize),
    /// The gradient of the norm of its decoder row, by the penalties alone.
    Pull,
    /// Its part of the penalty.
    Loss,
    /// What the closed form adds to the gradient of its pre-activation on every row.
    Shift,
    /// Its part of the closed form's loss.
    ClosedLoss,
}

impl Plane {
    /// The name of its number in the shaders, but for what follows from the plane before it.
    fn define(self) -> Option<&'static str> {
        Some(match self {
            Self::Bias => "BIAS",
            Self::Norm => "NORM",
            Self::FirstMoment => "MOMENTS",
            Self::SecondMoment | Self::OwnSecondMoment(_) => return None,
            Self::LastFired => "LAST_FIRED",
            Self::TimesFired => "TIMES_FIRED",
            Self::Run => "RUN",
            Self::Slopes => "SLOPES",
            Self::Along => "ALONG",
            Self::Fired => "FIRED",
            Self::SquaresEnc => "SQUARES_ENC",
            Self::SquaresDec => "SQUARES_DEC",
            Self::Flawed => "FLAWED",
            Self::Dead => "DEAD",
            Self::Mark => "MARK",
            Self::Own(number) => *["OWN_0", "OWN_1", "OWN_2"].get(number)?,
            Self::OwnFirstMoment(number) => *["OWN_MOMENTS_0", "OWN_MOMENTS_1", "OWN_MOMENTS_2"].get(number)?,
            Self::OwnSum(number) => *["OWN_SUM_0", "OWN_SUM_1", "OWN_SUM_2"].get(number)?,
            Self::Pull => "PULL",
            Self::Loss => "LOSS",
            Self::Shift => "SHIFT",
            Self::ClosedLoss => "CLOSED_LOSS",
        })
    }
}

/// The planes of an SAE, by their numbers. Bias and norm come first in all, so that what encodes needs no numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    planes: Vec<Plane>,
    /// Vectors of sums of a term.
    extras: u32,
    /// The bias is a parameter.
    is_biased: bool,
}

impl Planes {
    /// Those that encoding and evaluating need.
    pub fn inference(description: &Description) -> Self {
        let shared = [Plane::Bias, Plane::Norm, Plane::Mark].into_iter();
        Self { planes: shared.chain(own(description).map(Plane::Own)).collect(), extras: 0, is_biased: false }
    }

    /// Those that training needs.
    pub fn training(description: &Description) -> Self {
        use Plane::{
            Along, Bias, ClosedLoss, Dead, Fired, FirstMoment, Flawed, LastFired, Loss, Mark, Norm, Own,
            OwnFirstMoment, OwnSecondMoment, OwnSum, Pull, Run, SecondMoment, Shift, Slopes, SquaresDec, SquaresEnc,
            TimesFired,
        };
        let mut planes = vec![
            Bias,
            Norm,
            FirstMoment,
            SecondMoment,
            LastFired,
            TimesFired,
            Run,
            Slopes,
            Along,
            Fired,
            SquaresEnc,
            SquaresDec,
            Flawed,
        ];
        if let Some(dead) = description.dead() {
            planes.push(Dead);
            planes.extend((dead.counted == Counted::WithThisBatch).then_some(Mark));
        }
        for number in own(description) {
            planes.extend([Own(number), OwnFirstMoment(number), OwnSecondMoment(number), OwnSum(number)]);
        }
        let extras = description.extras();
        if extras > 0 {
            planes.extend([Pull, Loss]);
        }
        if description.closed_form.is_some() {
            planes.extend([Shift, ClosedLoss]);
        }
        let is_biased = description.tensors.iter().any(|tensor| tensor.role == Role::EncoderBias);
        Self { planes, extras, is_biased }
    }

    /// Their number.
    pub fn count(&self) -> u32 {
        self.planes.len() as u32
    }

    /// The bytes of a plane in the scalars of a shard of `features` features.
    ///
    /// # Panics
    /// If the SAE has no such plane: which it has is decided in this file.
    pub fn bytes(&self, plane: Plane, features: u32) -> std::ops::Range<u64> {
        let number = self.planes.iter().position(|known| *known == plane);
        let number = number.unwrap_or_else(|| panic!("no plane {plane:?}")) as u64;
        let bytes = 4 * u64::from(features);
        number * bytes..(number + 1) * bytes
    }

    /// The definitions of shaders/shared/planes.wgsl.
    pub fn defines(&self) -> Vec<(&'static str, u32)> {
        let of_kind = |is_of: fn(&Plane) -> bool| self.planes.iter().filter(|plane| is_of(plane)).count() as u32;
        let numbers = (0..).zip(&self.planes).filter_map(|(number, plane)| Some((plane.define()?, number)));
        let trained = [
            ("BIASED", self.is_biased.into()),
            ("OWN", of_kind(|plane| matches!(plane, Plane::OwnSum(_)))),
            ("EXTRAS", self.extras),
            ("CLOSED", of_kind(|plane| *plane == Plane::Shift)),
        ];
        numbers.chain(trained).collect()
    }
}

/// The numbers of the scalars that an architecture has besides the bias.
fn own(description: &Description) -> impl Iterator<Item = usize> {
    description.tensors.iter().filter_map(|tensor| match tensor.role {
        Role::Own(number) => Some(number),
        _ => None,
    })
}
