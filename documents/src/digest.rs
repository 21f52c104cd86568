//! Digests of what a plan was made for, so that a plan is never applied to something else unseen.
//!
//! A digest covers content (names, shapes, work, links, constants), not files: the same model read
//! from two containers has one digest. The encoding is a flat sequence of tagged, length-prefixed
//! fields with LEB128 integers; plain enums are the position of their variant. [`ENCODING`] changes
//! whenever the meaning does.

use std::collections::BTreeMap;

use ir::card::part::PartCard;
use ir::card::{Attention, BlockGroup, ModelCard};
use ir::cluster::{Check, Cluster, Device, DeviceKind, RouteKind, Running};
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Op, Product, Work};
use ir::tensor::Tensor;
use ir::units::Nanos;
use sha2::{Digest as _, Sha256};

mod layers;
mod profile;

pub use layers::layers;
pub use profile::profile;

/// Version of the encoding that is hashed.
const ENCODING: u64 = 1;

/// SHA-256 of a file's bytes, as `sha256sum` prints it.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// SHA-256 of a graph's content, 64 lower-case hexadecimal digits.
#[must_use]
pub fn graph(graph: &Graph) -> String {
    let mut encoder = Encoder::new("graph");
    encoder.text(&graph.name);
    encoder.count(graph.ops.len());
    graph.ops.iter().for_each(|op| encoder.op(op));
    encoder.count(graph.tensors.len());
    graph.tensors.iter().for_each(|tensor| encoder.tensor(tensor));
    encoder.tensor_ids(&graph.inputs);
    encoder.tensor_ids(&graph.outputs);
    encoder.count(graph.n_groups);
    encoder.finish()
}

/// SHA-256 of a model card's content, 64 lower-case hexadecimal digits.
#[must_use]
pub fn card(model: &ModelCard) -> String {
    let mut encoder = Encoder::new("model card");
    encoder.text(&model.name);
    encoder.number(u64::from(model.n_predictions));
    encoder.count(model.groups.len());
    for BlockGroup { card, n_blocks, extra_weights, other_parameters: _, part: _ } in &model.groups
    {
        encoder.number(u64::from(*n_blocks));
        encoder.number(*extra_weights);
        let experts = card.experts.map(|e| [e.n_experts, e.per_token, e.feed_forward, e.n_shared]);
        let attention = match card.attention {
            Attention::Even => vec![0],
            Attention::Heads { dim } => vec![1, dim],
            Attention::Window { dim, tokens } => vec![3, dim, tokens],
            Attention::Latent { query_rank, key_value_rank, plain, rotary, value } => {
                vec![2, query_rank.unwrap_or(0), key_value_rank, plain, rotary, value]
            }
        };
        let numbers = [
            card.hidden,
            card.n_heads,
            card.n_kv_heads,
            card.feed_forward,
            // How the function between the products is written makes no other model.
            u64::from(card.form.is_gated()),
            card.sequence,
            card.vocabulary,
            card.head as u64,
        ];
        encoder.numbers(numbers.into_iter());
        encoder.numbers(experts.map_or_else(Vec::new, Vec::from).into_iter());
        encoder.numbers(attention.into_iter());
    }
    // A last normalisation, which every transformer has, is nothing of its own.
    let norm = model.groups.first().map_or(0, |group| match group.card.form.is_gated() {
        false => group.card.hidden.saturating_mul(2),
        true => group.card.hidden,
    });
    let usual = [0, norm.cast_signed()];
    let is_usual = [[0; 2], usual].contains(&model.other_parameters);
    if !is_usual
        || model.groups.iter().any(|group| group.other_parameters != 0 || group.part.is_some())
    {
        encoder.text("beside the closed forms");
        let others = model.groups.iter().map(|group| group.other_parameters);
        let all = model.other_parameters.into_iter().chain(others);
        encoder.numbers(all.map(i64::cast_unsigned).collect::<Vec<_>>().into_iter());
        model.groups.iter().filter_map(|group| group.part.as_ref()).for_each(|p| encoder.part(p));
    }
    if let Some(dtype) = model.dtype {
        encoder.text("of type");
        encoder.text(dtype.name());
    }
    encoder.stored(model);
    encoder.finish()
}

/// SHA-256 of a cluster's content, 64 lower-case hexadecimal digits.
#[must_use]
pub fn cluster(cluster: &Cluster) -> String {
    let mut encoder = Encoder::new("cluster");
    encoder.text(&cluster.name);
    encoder.count(cluster.kinds.len());
    cluster.kinds.iter().for_each(|kind| encoder.device_kind(kind));
    encoder.count(cluster.devices.len());
    cluster.devices.iter().for_each(|device| encoder.device(device));
    encoder.count(cluster.nodes.len());
    for node in &cluster.nodes {
        encoder.text(&node.name);
        encoder.optional(node.host_memory.map(|bytes| bytes.get()));
        encoder.optional(node.n_cpu_cores.map(u64::from));
        // What older files cannot state leaves their digests as they were.
        if let Some(rate) = node.host_bandwidth {
            encoder.text("host_memory_bytes_per_s");
            encoder.number(rate.get().to_bits());
        }
    }
    encoder.number(cluster.duplex as u64);
    let links = &cluster.links;
    encoder.count(links.kinds.len());
    links.kinds.iter().for_each(|kind| encoder.route_kind(kind));
    encoder.count(links.n_tiers);
    encoder.count(links.channels.len());
    links.channels.iter().for_each(|channel| encoder.text(&channel.name));
    encoder.numbers(links.send.iter().map(|channel| u64::from(channel.0)));
    encoder.numbers(links.receive.iter().map(|channel| u64::from(channel.0)));
    encoder.numbers(links.pairs.iter().map(|pair| u64::from(*pair)));
    if !links.places.is_empty() {
        encoder.numbers(links.places.iter().map(|place| u64::from(*place)));
    }
    if !links.by_hosts.is_empty() {
        encoder.text("by_hosts");
        encoder.count(links.by_hosts.len());
    }
    for (hosts, way) in &links.by_hosts {
        encoder.number(u64::from(*hosts));
        encoder.route_kind(way);
    }
    encoder.finish()
}

struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// What a checkpoint holds by block.
    fn stored(&mut self, model: &ModelCard) {
        let Some(stored) = model.weights() else { return };
        self.text("stored");
        let blocks =
            stored.blocks.iter().flat_map(|block| [block.others.bytes, block.experts.bytes]);
        let all: Vec<u64> = blocks.chain(stored.ends.map(|end| end.bytes)).collect();
        self.numbers(all.into_iter());
    }

    fn new(what: &str) -> Self {
        let mut encoder = Self { bytes: Vec::with_capacity(1 << 16) };
        encoder.text(what);
        encoder.number(ENCODING);
        encoder
    }

    fn finish(self) -> String {
        format!("{:x}", Sha256::digest(&self.bytes))
    }

    /// LEB128: seven bits per byte, least significant first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn numbers(&mut self, numbers: impl ExactSizeIterator<Item = u64>) {
        self.count(numbers.len());
        numbers.for_each(|number| self.number(number));
    }

    fn optional(&mut self, number: Option<u64>) {
        match number {
            None => self.number(0),
            Some(number) => {
                self.number(1);
                self.number(number);
            }
        }
    }

    /// The bits, with one zero.
    fn real(&mut self, real: f64) {
        let bits = if real == 0.0 { 0 } else { real.to_bits() };
        self.bytes.extend_from_slice(&bits.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn tensor_ids(&mut self, ids: &[TensorId]) {
        self.numbers(ids.iter().map(|id| u64::from(id.0)));
    }

    fn part(&mut self, part: &PartCard) {
        for pass in [&part.forward, &part.backward_input, &part.backward_weight] {
            self.count(pass.products.len());
            for product in &pass.products {
                let Product { count, m, k, n } = product.product;
                self.numbers([count, m, k, n, product.grows as u64, product.n_kernels].into_iter());
            }
            self.number(pass.bytes);
            self.number(pass.fixed_bytes);
            self.number(pass.n_kernels);
        }
        let numbers = [part.n_parameters, part.stash, part.input, part.behind];
        self.numbers(numbers.into_iter());
        self.count(part.tied.len());
        for (block, elements) in &part.tied {
            self.numbers([u64::from(*block), *elements].into_iter());
        }
    }

    fn op(&mut self, op: &Op) {
        self.text(&op.name);
        self.text(&op.op_type);
        self.text(op.module.as_deref().unwrap_or(""));
        self.number(op.phase as u64);
        self.tensor_ids(&op.inputs);
        self.tensor_ids(&op.parameters);
        self.tensor_ids(&op.outputs);
        self.work(&op.work);
        self.optional(op.group.map(|group| u64::from(group.0)));
    }

    fn work(&mut self, work: &Work) {
        match work {
            Work::View => self.number(0),
            Work::Kernel(kernel) => {
                self.number(1);
                self.count(kernel.products.len());
                for Product { count, m, k, n } in &kernel.products {
                    [count, m, k, n].into_iter().for_each(|extent| self.number(*extent));
                }
                self.number(kernel.bytes_read.get());
                self.number(kernel.bytes_written.get());
                self.number(kernel.temporary.get());
                self.text(kernel.dtype.map_or("", |dtype| dtype.name()));
                self.number(kernel.origin as u64);
                // Digests of graphs without a trace stay what they were.
                if !kernel.measured.is_empty() {
                    self.times(&kernel.measured);
                }
            }
            Work::Given(given) => {
                self.number(2);
                self.times(&given.time);
                self.number(given.temporary.get());
            }
        }
    }

    /// Durations by the name of a kind.
    fn times(&mut self, times: &BTreeMap<String, Nanos>) {
        self.count(times.len());
        for (kind, time) in times {
            self.text(kind);
            self.number(time.get());
        }
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.text(&tensor.name);
        self.text(tensor.dtype.name());
        self.numbers(tensor.shape.iter().copied());
        self.number(tensor.bytes.get());
        self.number(tensor.state_bytes.get());
        self.number(tensor.role as u64);
        self.number(u64::from(tensor.trainable));
    }

    /// Cache, clock and power of a catalogue kind follow from its name and are not hashed.
    fn device_kind(&mut self, kind: &DeviceKind) {
        self.text(&kind.name);
        self.optional(kind.memory.map(|bytes| bytes.get()));
        self.optional(kind.memory_bandwidth.map(|rate| rate.get().to_bits()));
        self.count(kind.peak.len());
        for (dtype, rate) in &kind.peak {
            self.text(dtype.name());
            self.real(rate.get());
        }
        self.optional(kind.n_multiprocessors.map(u64::from));
        self.text(&kind.source);
        self.number(kind.check as u64);
        if let (Check::Given, Some(power)) = (kind.check, kind.power) {
            self.real(power.get());
        }
        if let Some(architecture) = kind.architecture {
            self.text(architecture.name());
        }
        if kind.full_power.is_some() || kind.running != Running::default() {
            let Running { idle, products, memory, transfers, price_per_hour } = kind.running;
            let limits =
                [kind.full_power, kind.power].map(|limit| limit.map(ir::units::Watts::get));
            let running = [idle, products, memory, transfers, price_per_hour];
            self.text("running");
            limits
                .into_iter()
                .chain(running)
                .for_each(|value| self.optional(value.map(f64::to_bits)));
        }
    }

    fn device(&mut self, device: &Device) {
        self.text(&device.name);
        self.number(u64::from(device.kind.0));
        self.number(u64::from(device.class.0));
        self.optional(device.node.map(|node| u64::from(node.0)));
        self.optional(device.capacity.map(|bytes| bytes.get()));
        self.number(device.context.get());
        self.number(device.reserve.get());
    }

    fn route_kind(&mut self, kind: &RouteKind) {
        self.text(&kind.name);
        self.count(kind.tier);
        self.real(kind.latency_ns);
        self.real(kind.bandwidth.get());
        self.text(&kind.source);
        self.number(kind.check as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;
    use ir::op::Phase;
    use ir::profile::Profile;
    use ir::units::{Bytes, Seconds};

    #[test]
    fn every_field_of_a_graph_changes_the_digest() {
        let base = sample::graph();
        let changes: [fn(&mut Graph); 9] = [
            |g| g.name.push('x'),
            |g| g.ops[0].name.push('x'),
            |g| g.ops[0].module = Some("other".into()),
            |g| g.ops[0].phase = Phase::Optimizer,
            |g| g.ops.swap(0, 1),
            |g| g.tensors[0].bytes = Bytes(7),
            |g| g.tensors[0].shape.push(1),
            |g| g.outputs.clear(),
            |g| g.n_groups += 1,
        ];
        let mut digests = vec![graph(&base)];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            digests.push(graph(&changed));
        }
        assert!(digests.iter().all(|d| d.len() == 64));
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), changes.len() + 1, "two different graphs share a digest");
        assert_eq!(graph(&base), graph(&base.clone()));
    }

    #[test]
    fn clusters_and_profiles_are_told_apart() {
        let base = sample::cluster();
        let mut slower = base.clone();
        slower.links.kinds[0].latency_ns += 1.0;
        assert_ne!(cluster(&base), cluster(&slower));
        let mut profiled = Profile { name: "p".into(), ..Profile::default() };
        let empty = profile(&profiled);
        profiled.kinds.insert("a".into(), sample::constants(1e-6));
        let first = profile(&profiled);
        profiled.kinds.get_mut("a").unwrap().launch = Seconds::new(2e-6).unwrap();
        assert_ne!(empty, first);
        assert_ne!(first, profile(&profiled));
    }

    #[test]
    fn adjacent_names_do_not_run_together() {
        let mut left = sample::graph();
        left.ops[0].name = "ab".into();
        left.ops[0].op_type = "c".into();
        let mut right = sample::graph();
        right.ops[0].name = "a".into();
        right.ops[0].op_type = "bc".into();
        assert_ne!(graph(&left), graph(&right));
    }
}
