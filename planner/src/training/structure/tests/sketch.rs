//! Small graphs in 16-bit elements.

use ir::card::Head;
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Kernel, Op, Phase, Product, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const SEQUENCE: u64 = 16;
const HIDDEN: u64 = 32;
const HEADS: u64 = 4;
const WORDS: u64 = 100;

/// A graph while it grows.
#[derive(Default)]
pub(super) struct Sketch {
    graph: Graph,
}

impl Sketch {
    fn tensor(&mut self, name: String, dtype: DType, shape: &[u64], role: Role) -> TensorId {
        self.graph.tensors.push(Tensor {
            name,
            dtype,
            shape: shape.to_vec(),
            bytes: dtype.size_of(shape.iter().product()).unwrap(),
            state_bytes: Bytes::ZERO,
            role,
            trainable: role == Role::Parameter,
        });
        TensorId::new(self.graph.tensors.len() - 1)
    }

    fn fed(&mut self, name: &str, dtype: DType, shape: &[u64]) -> TensorId {
        let id = self.tensor(name.to_owned(), dtype, shape, Role::Input);
        self.graph.inputs.push(id);
        id
    }

    pub(super) fn input(&mut self, name: &str, shape: &[u64]) -> TensorId {
        self.fed(name, DType::Bf16, shape)
    }

    fn parameter(&mut self, shape: &[u64]) -> TensorId {
        let name = format!("w{}", self.graph.tensors.len());
        self.tensor(name, DType::Bf16, shape, Role::Parameter)
    }

    fn op(
        &mut self,
        op_type: &str,
        read: &[TensorId],
        shape: &[u64],
        product: Option<Product>,
    ) -> TensorId {
        let name = format!("{op_type}{}", self.graph.ops.len());
        let output = self.tensor(format!("{name}.out"), DType::Bf16, shape, Role::Activation);
        let is_parameter = |t: &TensorId| self.graph.tensor(*t).role == Role::Parameter;
        let (parameters, mut inputs): (Vec<TensorId>, Vec<TensorId>) =
            read.iter().copied().partition(is_parameter);
        inputs.dedup();
        let bytes =
            |tensors: &[TensorId]| tensors.iter().map(|t| self.graph.tensor(*t).bytes).sum();
        let work = match op_type {
            "Reshape" => Work::View,
            _ => Work::Kernel(Kernel {
                products: product.into_iter().collect(),
                dtype: product.map(|_| DType::Bf16),
                bytes_read: bytes(read),
                bytes_written: bytes(&[output]),
                ..Kernel::default()
            }),
        };
        self.graph.ops.push(Op {
            name,
            op_type: op_type.to_owned(),
            module: None,
            phase: Phase::Forward,
            inputs,
            parameters,
            outputs: vec![output],
            work,
            group: None,
            splits: ir::op::Splits::default(),
        });
        output
    }

    fn width(&self, tensor: TensorId) -> u64 {
        *self.graph.tensor(tensor).shape.last().unwrap()
    }

    /// By a new weight, with a bias.
    pub(super) fn linear(&mut self, x: TensorId, n: u64) -> TensorId {
        let k = self.width(x);
        let (weight, bias) = (self.parameter(&[k, n]), self.parameter(&[n]));
        let product = Product { count: 1, m: SEQUENCE, k, n };
        let y = self.op("MatMul", &[x, weight], &[SEQUENCE, n], Some(product));
        self.op("Add", &[y, bias], &[SEQUENCE, n], None)
    }

    fn norm(&mut self, x: TensorId) -> TensorId {
        let n = self.width(x);
        let (scale, shift) = (self.parameter(&[n]), self.parameter(&[n]));
        self.op("LayerNormalization", &[x, scale, shift], &[SEQUENCE, n], None)
    }

    /// Attention of `x` to `memory`, without the residual.
    fn attention(&mut self, x: TensorId, memory: TensorId, mask: TensorId) -> TensorId {
        let d = HIDDEN / HEADS;
        let split = [HEADS, SEQUENCE, d];
        let (q, k, v) =
            (self.linear(x, HIDDEN), self.linear(memory, HIDDEN), self.linear(memory, HIDDEN));
        let [q, k, v] = [q, k, v].map(|t| self.op("Reshape", &[t], &split, None));
        let square = [HEADS, SEQUENCE, SEQUENCE];
        let product = Product { count: HEADS, m: SEQUENCE, k: d, n: SEQUENCE };
        let scores = self.op("MatMul", &[q, k], &square, Some(product));
        let masked = self.op("Add", &[scores, mask], &square, None);
        let shares = self.op("Softmax", &[masked], &square, None);
        let product = Product { count: HEADS, m: SEQUENCE, k: SEQUENCE, n: d };
        let made = self.op("MatMul", &[shares, v], &split, Some(product));
        let made = self.op("Reshape", &[made], &[SEQUENCE, HIDDEN], None);
        self.linear(made, HIDDEN)
    }

    fn add(&mut self, a: TensorId, b: TensorId) -> TensorId {
        let shape = self.graph.tensor(a).shape.clone();
        self.op("Add", &[a, b], &shape, None)
    }

    /// Pre-norm block; with cross attention where there is a memory.
    fn block(&mut self, x: TensorId, memory: Option<TensorId>, mask: TensorId) -> TensorId {
        let normed = self.norm(x);
        let attended = self.attention(normed, normed, mask);
        let mut x = self.add(x, attended);
        if let Some(memory) = memory {
            let normed = self.norm(x);
            let attended = self.attention(normed, memory, mask);
            x = self.add(x, attended);
        }
        let normed = self.norm(x);
        let wide = self.linear(normed, 4 * HIDDEN);
        let active = self.op("Gelu", &[wide], &[SEQUENCE, 4 * HIDDEN], None);
        let fed = self.linear(active, HIDDEN);
        self.add(x, fed)
    }

    fn embedding(&mut self, name: &str, table: TensorId) -> TensorId {
        let ids = self.fed(name, DType::I64, &[SEQUENCE]);
        let words = self.op("Gather", &[ids, table], &[SEQUENCE, HIDDEN], None);
        let positions = self.parameter(&[SEQUENCE, HIDDEN]);
        self.add(words, positions)
    }

    fn mask(&mut self) -> TensorId {
        let seen = self.fed("seen", DType::Bool, &[SEQUENCE, SEQUENCE]);
        self.op("Where", &[seen], &[SEQUENCE, SEQUENCE], None)
    }

    pub(super) fn returning(mut self, outputs: &[TensorId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }

    fn head(&mut self, x: TensorId, table: TensorId, head: Head) -> TensorId {
        let x = self.norm(x);
        let weight = match head {
            Head::Tied => self.op("Transpose", &[table], &[HIDDEN, WORDS], None),
            Head::Separate => self.parameter(&[HIDDEN, WORDS]),
        };
        let product = Product { count: 1, m: SEQUENCE, k: HIDDEN, n: WORDS };
        self.op("MatMul", &[x, weight], &[SEQUENCE, WORDS], Some(product))
    }
}

/// Embedding, equal blocks that share a mask, and a head.
pub(super) fn decoder(n_layers: usize, head: Head) -> Graph {
    let mut sketch = Sketch::default();
    let table = sketch.parameter(&[WORDS, HIDDEN]);
    let mut x = sketch.embedding("ids", table);
    let mask = sketch.mask();
    for _ in 0..n_layers {
        x = sketch.block(x, None, mask);
    }
    let logits = sketch.head(x, table, head);
    sketch.returning(&[logits])
}

/// Blocks, and further blocks that attend to what the first ones made.
pub(super) fn encoder_decoder(n_encoder: usize, n_decoder: usize) -> Graph {
    let mut sketch = Sketch::default();
    let table = sketch.parameter(&[WORDS, HIDDEN]);
    let mask = sketch.mask();
    let mut memory = sketch.embedding("source", table);
    for _ in 0..n_encoder {
        memory = sketch.block(memory, None, mask);
    }
    let memory = sketch.norm(memory);
    let mut x = sketch.embedding("target", table);
    for _ in 0..n_decoder {
        x = sketch.block(x, Some(memory), mask);
    }
    let logits = sketch.head(x, table, Head::Tied);
    sketch.returning(&[logits])
}

/// Any graph: ops of several kinds that read anything before them.
pub(super) fn random(seed: u64, n_ops: usize) -> Graph {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut sketch = Sketch::default();
    let mut made = vec![sketch.input("x", &[SEQUENCE, HIDDEN])];
    for _ in 0..n_ops {
        let near = made.len().saturating_sub(if random.random_bool(0.8) { 4 } else { 1_000 });
        let x = made[random.random_range(near..made.len())];
        let y = made[random.random_range(near..made.len())];
        made.push(match random.random_range(0..5) {
            0 => sketch.linear(x, HIDDEN),
            1 => sketch.norm(x),
            2 => sketch.op("Reshape", &[x], &[SEQUENCE, HIDDEN], None),
            3 => sketch.op("Gelu", &[x], &[SEQUENCE, HIDDEN], None),
            _ => sketch.add(x, y),
        });
    }
    let last = *made.last().unwrap();
    sketch.returning(&[last])
}

/// The same graph under other names and ids, its ops in another order in which they can run.
pub(super) fn shuffled(graph: &Graph, seed: u64) -> Graph {
    let mut random = SmallRng::seed_from_u64(seed);
    let makers = graph.producers();
    let mut is_done = vec![false; graph.ops.len()];
    let mut order: Vec<OpId> = Vec::new();
    while order.len() < graph.ops.len() {
        let is_ready = |op: &OpId| {
            let mut inputs = graph.op(*op).inputs.iter();
            !is_done[op.index()]
                && inputs.all(|t| makers[t.index()].is_none_or(|maker| is_done[maker.index()]))
        };
        let ready: Vec<OpId> = graph.op_ids().filter(is_ready).collect();
        let op = ready[random.random_range(0..ready.len())];
        is_done[op.index()] = true;
        order.push(op);
    }
    let mut tensors: Vec<usize> = (0..graph.tensors.len()).collect();
    for at in (1..tensors.len()).rev() {
        tensors.swap(at, random.random_range(0..=at));
    }
    let mut new = vec![TensorId::new(0); tensors.len()];
    for (at, old) in tensors.iter().enumerate() {
        new[*old] = TensorId::new(at);
    }
    let named =
        |ids: &[TensorId]| -> Vec<TensorId> { ids.iter().map(|t| new[t.index()]).collect() };
    let rename = |(at, op): (usize, &OpId)| {
        let op = graph.op(*op);
        Op {
            name: format!("n{at}"),
            inputs: named(&op.inputs),
            parameters: named(&op.parameters),
            outputs: named(&op.outputs),
            ..op.clone()
        }
    };
    Graph {
        name: "other".to_owned(),
        ops: order.iter().enumerate().map(rename).collect(),
        tensors: tensors
            .iter()
            .enumerate()
            .map(|(at, old)| Tensor { name: format!("t{at}"), ..graph.tensors[*old].clone() })
            .collect(),
        inputs: named(&graph.inputs),
        outputs: named(&graph.outputs),
        ..graph.clone()
    }
}
