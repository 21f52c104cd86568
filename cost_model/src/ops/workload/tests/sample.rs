//! Small forward graphs for tests.

use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Kernel, Op, Phase, Product, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

use crate::ops::workload::training;

/// Builds forward graphs in bf16.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) graph: Graph,
}

impl Model {
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[u64],
        role: Role,
    ) -> TensorId {
        let elements = shape.iter().product();
        self.graph.tensors.push(Tensor {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes: dtype.size_of(elements).unwrap(),
            state_bytes: Bytes::ZERO,
            role,
            trainable: role == Role::Parameter,
        });
        let id = TensorId::new(self.graph.tensors.len() - 1);
        if role == Role::Input {
            self.graph.inputs.push(id);
        }
        id
    }

    pub(crate) fn input(&mut self, name: &str, shape: &[u64]) -> TensorId {
        self.tensor(name, DType::Bf16, shape, Role::Input)
    }

    pub(crate) fn parameter(&mut self, name: &str, shape: &[u64]) -> TensorId {
        self.tensor(name, DType::Bf16, shape, Role::Parameter)
    }

    /// An op named like its type and number; parameters are told by their role.
    pub(crate) fn op(
        &mut self,
        op_type: &str,
        read: &[TensorId],
        shape: &[u64],
        product: Option<Product>,
    ) -> TensorId {
        let name = format!("{op_type}{}", self.graph.ops.len());
        let output = self.tensor(&format!("{name}.out"), DType::Bf16, shape, Role::Activation);
        let is_parameter = |t: &TensorId| self.graph.tensor(*t).role == Role::Parameter;
        let (parameters, inputs): (Vec<TensorId>, Vec<TensorId>) =
            read.iter().copied().partition(is_parameter);
        let work = if op_type == "Reshape" {
            Work::View
        } else {
            Work::Kernel(Kernel {
                products: product.into_iter().collect(),
                dtype: product.map(|_| DType::Bf16),
                ..Kernel::default()
            })
        };
        self.graph.ops.push(Op {
            inputs,
            parameters,
            outputs: vec![output],
            ..training::blank(name, op_type, Phase::Forward, work)
        });
        output
    }

    pub(crate) fn matmul(
        &mut self,
        a: TensorId,
        b: TensorId,
        [count, m, k, n]: [u64; 4],
    ) -> TensorId {
        self.op("MatMul", &[a, b], &[count, m, n], Some(Product { count, m, k, n }))
    }

    pub(crate) fn returning(mut self, outputs: &[TensorId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph.merges_equal_values = true;
        self.graph
    }
}

/// x -> MatMul w1 -> Add b1 -> Relu -> MatMul w2.
pub(crate) fn perceptron() -> Graph {
    let mut model = Model::default();
    let x = model.input("x", &[4, 8]);
    let (w1, b1, w2) = (
        model.parameter("w1", &[8, 16]),
        model.parameter("b1", &[16]),
        model.parameter("w2", &[16, 2]),
    );
    let hidden = model.matmul(x, w1, [1, 4, 8, 16]);
    let shifted = model.op("Add", &[hidden, b1], &[1, 4, 16], None);
    let active = model.op("Relu", &[shifted], &[1, 4, 16], None);
    let y = model.matmul(active, w2, [1, 4, 16, 2]);
    model.returning(&[y])
}
