//! A training step of layers whose experts' tokens go through in parts, with slices of gradients beside
//! the backward pass: what it takes, and its rules.
//!
//! The backward pass of a layer does its experts first, then the rest, which its gradients end with. A
//! slice beside either holds gradients that exist when that starts (the prefix rule); what no slice
//! took follows the last layer.

use super::moe::{PartTimes, replayed_s};

/// Seconds of an all-reduce.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reduce {
    /// Before the first byte.
    pub start_up_s: f64,
    /// Of each byte.
    pub per_byte_s: f64,
}

impl Reduce {
    /// Of so many bytes; nothing takes no time.
    #[must_use]
    pub fn seconds(&self, bytes: u64) -> f64 {
        match bytes {
            0 => 0.0,
            _ => self.start_up_s + bytes as f64 * self.per_byte_s,
        }
    }
}

/// A kind of layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// By number of parts, from 1, the times of one; empty where the layer has no experts.
    pub forward: Vec<PartTimes>,
    /// The same of the backward pass.
    pub backward: Vec<PartTimes>,
    /// Seconds of all but the experts, forward and backward, in which the link between hosts is idle.
    pub others_s: [f64; 2],
    /// Bytes of gradients that the backward pass of these ends with.
    pub gradient_bytes: u64,
}

/// What is decided of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Parts of the forward pass; 0 where the layer has no experts.
    pub forward: u32,
    /// Parts of the backward pass.
    pub backward: u32,
    /// Bytes of gradients beside the experts' backward pass.
    pub gradient_bytes: u64,
    /// The same beside that of the rest of the layer.
    pub others_gradient_bytes: u64,
}

/// Layers of a model, each of a kind, in the order of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Kinds of layers.
    pub kinds: Vec<Layer>,
    /// By layer its kind.
    pub layers: Vec<usize>,
    /// The all-reduce of gradients.
    pub reduce: Reduce,
}

/// A rule that a step breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The step has another number of layers.
    OtherLayers {
        /// Of the step.
        stated: usize,
        /// Of the model.
        layers: usize,
    },
    /// A number of parts that the layer can't be cut into.
    BadParts {
        /// The layer.
        layer: usize,
        /// The number.
        parts: u32,
    },
    /// Gradients are summed up before they exist.
    TooEarly {
        /// The layer whose slices reach beyond what exists.
        layer: usize,
        /// Bytes of all slices up to there.
        sent: u64,
        /// Bytes that exist.
        existing: u64,
    },
}

impl Model {
    /// Bytes of all gradients.
    #[must_use]
    pub fn gradient_bytes(&self) -> u64 {
        let each = self.layers.iter().map(|kind| self.kinds[*kind].gradient_bytes);
        each.fold(0, u64::saturating_add)
    }

    /// Bytes that no slice takes.
    #[must_use]
    pub fn rest_bytes(&self, parts: &[Parts]) -> u64 {
        let slices =
            |layer: &Parts| layer.gradient_bytes.saturating_add(layer.others_gradient_bytes);
        let sent = parts.iter().map(slices).fold(0, u64::saturating_add);
        self.gradient_bytes().saturating_sub(sent)
    }

    /// Seconds of both passes of a layer.
    #[must_use]
    pub fn layer_s(&self, layer: usize, parts: &Parts) -> [f64; 2] {
        let kind = &self.kinds[self.layers[layer]];
        let seconds = |times: &[PartTimes], n: u32, beside_s: f64| {
            let part = (n as usize).checked_sub(1).and_then(|at| times.get(at));
            part.map_or(beside_s, |part| replayed_s(part, n, beside_s))
        };
        let [experts_s, others_s] = [parts.gradient_bytes, parts.others_gradient_bytes]
            .map(|bytes| self.reduce.seconds(bytes));
        [
            kind.others_s[0] + seconds(&kind.forward, parts.forward, 0.0),
            kind.others_s[1].max(others_s) + seconds(&kind.backward, parts.backward, experts_s),
        ]
    }

    /// Seconds of a step; layers that do the same are replayed once.
    #[must_use]
    pub fn seconds(&self, parts: &[Parts]) -> f64 {
        let mut known: Vec<(usize, Parts, f64)> = Vec::new();
        let mut sum = self.reduce.seconds(self.rest_bytes(parts));
        for (layer, (kind, of_layer)) in self.layers.iter().zip(parts).enumerate() {
            let same = known.iter().find(|(other, parts, _)| other == kind && parts == of_layer);
            let seconds = same.map(|(_, _, seconds)| *seconds).unwrap_or_else(|| {
                let seconds = self.layer_s(layer, of_layer).iter().sum();
                known.push((*kind, *of_layer, seconds));
                seconds
            });
            sum += seconds;
        }
        sum
    }

    /// All rules that a step breaks.
    #[must_use]
    pub fn verify(&self, parts: &[Parts]) -> Vec<Violation> {
        let (stated, layers) = (parts.len(), self.layers.len());
        if stated != layers {
            return vec![Violation::OtherLayers { stated, layers }];
        }
        let mut found = Vec::new();
        let (mut sent, mut existing) = (0_u64, 0_u64);
        for (layer, (kind, of_layer)) in self.layers.iter().zip(parts).enumerate().rev() {
            let kind = &self.kinds[*kind];
            for (n, times) in
                [(of_layer.forward, &kind.forward), (of_layer.backward, &kind.backward)]
            {
                let is_cut = match times.len() {
                    0 => n == 0,
                    most => (1..=most).contains(&(n as usize)),
                };
                if !is_cut {
                    found.push(Violation::BadParts { layer, parts: n });
                }
            }
            let slices = of_layer.gradient_bytes.saturating_add(of_layer.others_gradient_bytes);
            sent = sent.saturating_add(slices);
            // Without experts nothing hides a slice beside them.
            let is_misplaced = kind.backward.is_empty() && of_layer.gradient_bytes > 0;
            if slices > 0 && (sent > existing || is_misplaced) {
                found.push(Violation::TooEarly { layer, sent, existing });
            }
            existing = existing.saturating_add(kind.gradient_bytes);
        }
        found
    }
}
