//! What values stand for: tensors of the graph, constants that are placed where something reads
//! them, and broadcasts that are no copies until something needs one.

use ir::id::TensorId;
use ir::op::{Kernel, Work};
use ir::tensor::{Role, Tensor};
use ir::units::Bytes;

use super::Builder;
use crate::stablehlo::syntax::ValueId;
use crate::stablehlo::types::TypeId;

/// What a value stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum What {
    /// No data.
    #[default]
    Nothing,
    Tensor(TensorId),
    /// A position in the constants.
    Constant(u32),
    /// A position in the broadcasts.
    Spread(u32),
}

/// A value, and what is known of its content.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bound {
    pub(super) what: What,
    pub(super) scalar: Scalar,
}

/// What is known of a scalar integer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Scalar {
    #[default]
    Unknown,
    Known(i64),
    /// What a loop carries in one of its places, and a number more.
    Counter {
        of: u32,
        place: usize,
        more: i64,
    },
    /// A counter held against a number; `b"LT"` in words.
    Test {
        of: u32,
        place: usize,
        more: i64,
        limit: i64,
        direction: Direction,
    },
}

/// Directions of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Direction {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    NotEqual,
}

/// A constant.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub(super) name: String,
    pub(super) of: TypeId,
    /// Whether all elements are one.
    pub(super) is_splat: bool,
    /// Whether the text holds it, rather than what was computed from others.
    pub(super) is_written: bool,
    pub(super) placed: Option<TensorId>,
}

/// A broadcast.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    pub(super) name: String,
    /// A tensor or a constant.
    pub(super) source: What,
    pub(super) of: TypeId,
    pub(super) placed: Option<TensorId>,
}

impl Builder<'_, '_> {
    pub(super) fn what(&self, value: ValueId) -> Bound {
        self.bound.get(value as usize).copied().unwrap_or_default()
    }

    pub(super) fn bind(&mut self, value: ValueId, what: What, scalar: Scalar) {
        if let Some(bound) = self.bound.get_mut(value as usize) {
            *bound = Bound { what, scalar };
        }
    }

    /// A tensor of this type; one without a type of its own has no size.
    pub(super) fn add_tensor(&mut self, name: String, of: TypeId, role: Role) -> TensorId {
        let program = self.program;
        let tensor_type = program.types.tensor(of);
        let tensor = Tensor {
            name: self.fresh(name),
            dtype: tensor_type.map_or(ir::tensor::DType::F32, |t| t.dtype),
            shape: tensor_type.and_then(|t| t.shape()).unwrap_or_default(),
            bytes: tensor_type.map_or(Bytes::ZERO, |t| t.bytes()),
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        };
        self.graph.tensors.push(tensor);
        TensorId::new(self.graph.tensors.len() - 1)
    }

    pub(super) fn add_constant(
        &mut self,
        name: String,
        of: TypeId,
        is_splat: bool,
        is_written: bool,
    ) -> What {
        self.constants.push(Constant { name, of, is_splat, is_written, placed: None });
        What::Constant((self.constants.len() - 1) as u32)
    }

    /// The tensor of a constant.
    fn place_constant(&mut self, index: u32) -> TensorId {
        let constant = &self.constants[index as usize];
        if let Some(tensor) = constant.placed {
            return tensor;
        }
        let (name, of) = (constant.name.clone(), constant.of);
        let learns = constant.is_written && !constant.is_splat;
        let tensor = self.add_tensor(name, of, Role::Parameter);
        let entry = &mut self.graph.tensors[tensor.index()];
        entry.trainable = learns && super::arguments::is_weight(entry);
        self.constants[index as usize].placed = Some(tensor);
        tensor
    }

    /// The tensor that holds what a value stands for, copied out where it is a broadcast.
    pub(super) fn place(&mut self, what: What) -> Option<TensorId> {
        match what {
            What::Nothing => None,
            What::Tensor(tensor) => Some(tensor),
            What::Constant(index) => Some(self.place_constant(index)),
            What::Spread(index) => Some(self.place_spread(index)),
        }
    }

    /// The tensor that an elementwise op reads for a value: of a broadcast, what it was before.
    pub(super) fn place_narrow(&mut self, what: What) -> Option<TensorId> {
        match what {
            What::Spread(index) => self.place(self.spreads[index as usize].source),
            what => self.place(what),
        }
    }

    /// An op that writes a broadcast out; one that only adds axes of 1 is a view.
    fn place_spread(&mut self, index: u32) -> TensorId {
        let Spread { name, source, of, placed } = self.spreads[index as usize].clone();
        if let Some(tensor) = placed {
            return tensor;
        }
        let Some(source) = self.place(source) else {
            return self.add_tensor(name, of, Role::Activation);
        };
        let tensor = self.add_tensor(name, of, Role::Activation);
        let (read, written) =
            (self.graph.tensors[source.index()].bytes, self.graph.tensors[tensor.index()].bytes);
        let (op_type, work) = if read == written {
            ("Reshape", Work::View)
        } else {
            let kernel = Kernel { bytes_read: read, bytes_written: written, ..Kernel::default() };
            ("Expand", Work::Kernel(kernel))
        };
        self.push(op_type.to_owned(), work, &[source], vec![tensor], (None, false));
        self.spreads[index as usize].placed = Some(tensor);
        tensor
    }

    /// Whether a value is known before the program runs.
    pub(super) fn is_constant(&self, value: ValueId) -> bool {
        match self.what(value).what {
            What::Constant(_) => true,
            What::Spread(index) => {
                matches!(self.spreads[index as usize].source, What::Constant(_))
            }
            What::Nothing | What::Tensor(_) => false,
        }
    }

    /// Whether all elements of a value are one constant.
    pub(super) fn is_splat(&self, value: ValueId) -> bool {
        let of = |index: u32| self.constants[index as usize].is_splat;
        match self.what(value).what {
            What::Constant(index) => of(index),
            What::Spread(index) => match self.spreads[index as usize].source {
                What::Constant(index) => of(index),
                _ => false,
            },
            What::Nothing | What::Tensor(_) => false,
        }
    }
}
