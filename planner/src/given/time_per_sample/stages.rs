//! What a stage is made of: kinds of layers that are alike, and the bytes that cross its borders.

use std::collections::BTreeMap;

use ir::instance::StageInstance;

use crate::given::ideals::classes::ClassGraph;

/// Seconds and bytes of one configuration of a layer, for one tensor degree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// Seconds of one sample.
    pub(super) time: f64,
    /// Seconds that every copy past the first adds: the exchange of gradients.
    pub(super) exchange: f64,
    /// Bytes for each sample in flight.
    pub(super) per_sample: f64,
    /// Bytes whatever is in flight.
    pub(super) fixed: f64,
    /// Position among the configurations of the layer.
    pub(super) position: u32,
}

/// Layers whose choices are alike.
pub(super) struct Kind {
    /// By position of the degree.
    pub(super) choices: Vec<Vec<Choice>>,
}

/// The instance as the search wants it.
pub(super) struct Model {
    /// Tensor degrees, increasing.
    pub(super) degrees: Vec<u32>,
    /// Kinds of layers.
    pub(super) kinds: Vec<Kind>,
    /// Kind of each layer.
    pub(super) kind_of: Vec<u32>,
    /// Seconds that an edge adds to the stages at both ends, by edge and degree: the producer's
    /// side, then the consumer's.
    pub(super) edge_seconds: Vec<Vec<(f64, f64)>>,
    /// Whether some choices of a layer differ in what they add to its edges; then the cheapest
    /// counts, and a stage is judged again at the end.
    pub(super) is_exact: bool,
}

/// Layers in the order from the last to the first: an ideal is what the last stages hold.
pub(super) fn graph(instance: &StageInstance) -> ClassGraph {
    let n_nodes = instance.nodes.len();
    let mut before: Vec<(u32, u32)> =
        instance.edges.iter().map(|(from, to, _)| (*to, *from)).collect();
    before.sort_unstable();
    before.dedup();
    ClassGraph {
        class_of: (0..n_nodes as u32).collect(),
        accelerator: vec![Some(0); n_nodes],
        cpu: vec![0; n_nodes],
        bytes: vec![0; n_nodes],
        nets: Vec::new(),
        before,
    }
}

impl Model {
    pub(super) fn new(instance: &StageInstance) -> Self {
        let all = instance.nodes.iter().flat_map(|node| &node.configurations);
        let mut degrees: Vec<u32> = all.map(|configuration| configuration.degree).collect();
        degrees.sort_unstable();
        degrees.dedup();
        degrees.retain(|degree| *degree as usize <= instance.n_devices);
        let mut numbers: BTreeMap<Vec<Vec<[u64; 5]>>, u32> = BTreeMap::new();
        let (mut kinds, mut kind_of) = (Vec::new(), Vec::new());
        for node in 0..instance.nodes.len() {
            let choices: Vec<Vec<Choice>> =
                degrees.iter().map(|degree| choices(instance, node, *degree)).collect();
            let key = choices.iter().map(|list| list.iter().map(key).collect()).collect();
            let number = *numbers.entry(key).or_insert_with(|| {
                kinds.push(Kind { choices });
                kinds.len() as u32 - 1
            });
            kind_of.push(number);
        }
        let mut model = Self { degrees, kinds, kind_of, edge_seconds: Vec::new(), is_exact: true };
        model.edge_seconds = model.edges(instance);
        model
    }

    fn edges(&mut self, instance: &StageInstance) -> Vec<Vec<(f64, f64)>> {
        let degrees = self.degrees.clone();
        let seconds = |bytes: u64| 2.0 * bytes as f64 / instance.bandwidth.get();
        let mut end = |node: u32, neighbour: u32, degree: u32, forward: bool| {
            let configurations = &instance.nodes[node as usize].configurations;
            let of_degree = configurations.iter().filter(|c| c.degree == degree);
            let sync = of_degree.map(|c| {
                let list = if forward { &c.forward_sync } else { &c.backward_sync };
                cost_model::given::time_per_sample::sync(list, neighbour)
            });
            let (least, most) = (sync.clone().min().unwrap_or(0), sync.max().unwrap_or(0));
            self.is_exact &= least == most;
            least
        };
        instance
            .edges
            .iter()
            .map(|(from, to, bytes)| {
                let both = |degree: &u32| {
                    let producer = end(*from, *to, *degree, false);
                    let consumer = end(*to, *from, *degree, true);
                    (seconds(bytes.get() + producer), seconds(bytes.get() + consumer))
                };
                degrees.iter().map(both).collect()
            })
            .collect()
    }
}

fn choices(instance: &StageInstance, node: usize, degree: u32) -> Vec<Choice> {
    let samples = instance.n_micro_batches as f64;
    (0..)
        .zip(&instance.nodes[node].configurations)
        .filter(|(_, configuration)| configuration.degree == degree)
        .map(|(position, configuration)| Choice {
            time: configuration.time.seconds(),
            exchange: 4.0 * configuration.parameters.as_f64() / samples / instance.bandwidth.get(),
            per_sample: configuration.bytes_per_sample.as_f64(),
            fixed: configuration.bytes_fixed.as_f64(),
            position,
        })
        .collect()
}

/// Two choices with one key are alike.
fn key(choice: &Choice) -> [u64; 5] {
    let Choice { time, exchange, per_sample, fixed, position } = *choice;
    [time, exchange, per_sample, fixed, f64::from(position)].map(f64::to_bits)
}
