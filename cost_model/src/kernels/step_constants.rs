//! What a calibration may correct: constants of a stack and a cluster, with nominal values and how
//! firmly they are believed.

use ir::profile::StackConstants;
use ir::stack::Stack;

/// A constant of the step-time model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constant {
    /// Factor on the rate of products, for a hot, power-limited step. Nominal: the stack's.
    Derating,
    /// Least seconds of one block's forward pass under eager launches. Nominal: the stack's.
    LaunchFloor,
    /// Factor on the launch floor where a block is split over [`WIDE`] devices or more.
    WideLaunch,
    /// Launch floor of embedding, head and loss of one micro-batch together, in blocks' floors.
    Ends,
    /// Share of the memory bandwidth that pointwise kernels and the optimizer reach.
    Elementwise,
    /// Factor on the time of tensor-parallel collectives.
    TensorCollectives,
    /// The same, beside it, for groups that hold a part of a host's devices only.
    PartCollectives,
    /// Factor on the rate of the network.
    Network,
    /// Factor on the rate between neighbouring stages inside a host.
    Neighbour,
    /// Factor on the time of products of which an extent is no multiple of eight. They run outside
    /// the tensor cores, and are not derated.
    Unaligned,
    /// Factor on the rate of fused attention, beside that of products.
    Attention,
}

/// Tensor-parallel size from which launches cost [`Constant::WideLaunch`] times as much.
pub const WIDE: u32 = 8;

impl Constant {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Derating,
        Self::LaunchFloor,
        Self::WideLaunch,
        Self::Ends,
        Self::Elementwise,
        Self::TensorCollectives,
        Self::PartCollectives,
        Self::Network,
        Self::Neighbour,
        Self::Unaligned,
        Self::Attention,
    ];

    /// Its name in tables and profiles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Derating => "derating",
            Self::LaunchFloor => "launch_floor_s",
            Self::WideLaunch => "wide_launch",
            Self::Ends => "ends",
            Self::Elementwise => "elementwise",
            Self::TensorCollectives => "tensor_collectives",
            Self::PartCollectives => "part_collectives",
            Self::Network => "network",
            Self::Neighbour => "neighbour",
            Self::Unaligned => "unaligned",
            Self::Attention => "attention",
        }
    }

    /// The constant of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|constant| constant.name() == name)
    }

    /// Standard deviation of `ln(value / nominal)` that is believed before any measurement
    /// (judgement): rates of products are known best, what a mesh of links or an unaligned kernel
    /// costs least.
    #[must_use]
    pub const fn log_sd(self) -> f64 {
        match self {
            Self::Elementwise => 0.1,
            Self::Derating | Self::Attention => 0.2,
            Self::LaunchFloor | Self::WideLaunch => 0.3,
            Self::Ends | Self::TensorCollectives | Self::PartCollectives => 0.5,
            Self::Network | Self::Neighbour | Self::Unaligned => 1.0,
        }
    }

    /// The greatest value that it may be fitted to, if any: products don't run faster in a step than
    /// alone.
    #[must_use]
    pub const fn most(self) -> Option<f64> {
        match self {
            Self::Derating => Some(1.0),
            _ => None,
        }
    }

    /// Least and greatest value that a profile may state: a thousandth and a thousand times what was
    /// ever measured of a factor is a slip; products don't run faster in a step than alone; pointwise
    /// kernels pass the memory's rate only by their caches; a block's launches take no second.
    #[must_use]
    pub const fn range(self) -> [f64; 2] {
        match self {
            Self::Derating => [1e-3, 1.0],
            Self::Elementwise => [1e-3, 10.0],
            Self::LaunchFloor => [1e-9, 1.0],
            _ => [1e-3, 1e3],
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// A value for each [`Constant`].
#[derive(Clone, Debug, PartialEq)]
pub struct Constants {
    values: [f64; Constant::ALL.len()],
}

impl Constants {
    /// Nominal values for a stack.
    ///
    /// Sources: the stack's own figures;
    /// unaligned products at a quarter of the rate, as an A100's data sheet has it for 16-bit floats
    /// outside the tensor cores (78 of 312 TFLOP/s); every other factor 1.
    #[must_use]
    pub fn nominal(stack: &Stack) -> Self {
        let mut constants = Self { values: [1.0; Constant::ALL.len()] };
        constants.set(Constant::Derating, stack.derating);
        constants.set(Constant::LaunchFloor, stack.launch_floor.get());
        constants.set(Constant::WideLaunch, 1.0 + stack.host.wide);
        constants.set(Constant::Ends, stack.host.ends);
        constants.set(Constant::Elementwise, stack.pointwise_rate);
        constants.set(Constant::Unaligned, 4.0);
        constants
    }

    /// The same as measured steps left them; what no stack has is left out.
    #[must_use]
    pub fn held(stack: &Stack, measured: Option<&StackConstants>) -> Self {
        let mut constants = Self::nominal(stack);
        for (name, value) in measured.iter().flat_map(|measured| &measured.constants) {
            if let Some(constant) = Constant::of(name) {
                constants.set(constant, *value);
            }
        }
        constants
    }

    /// The value of a constant.
    #[must_use]
    pub fn get(&self, constant: Constant) -> f64 {
        self.values.get(constant.index()).copied().unwrap_or(1.0)
    }

    /// Changes a value. What is not a positive finite number is left out.
    pub fn set(&mut self, constant: Constant, value: f64) {
        if let Some(entry) = self.values.get_mut(constant.index())
            && value.is_finite()
            && value > 0.0
        {
            *entry = value;
        }
    }

    /// The same with another value.
    #[must_use]
    pub fn with(mut self, constant: Constant, value: f64) -> Self {
        self.set(constant, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::stack::megatron_deepspeed_2021;

    #[test]
    fn every_constant_has_a_name_a_value_and_a_belief() {
        let constants = Constants::nominal(&megatron_deepspeed_2021());
        for constant in Constant::ALL {
            assert_eq!(Constant::of(constant.name()), Some(constant));
            assert!(constants.get(constant) > 0.0 && constant.log_sd() > 0.0);
            let changed = constants.clone().with(constant, 7.0);
            assert_eq!(changed.get(constant), 7.0);
            assert_eq!(changed.clone().with(constant, f64::NAN), changed);
        }
        assert_eq!(constants.get(Constant::LaunchFloor), 0.8e-3);
    }
}
