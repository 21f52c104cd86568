//! Known ways to shard a decoder, as restrictions of the program: each is a point of its space.

use std::collections::BTreeSet;
use std::fmt;

use super::answer::Refused;
use super::decoder::LOSS;
use super::graph::{Graph, Op, Strategy};
use super::mesh::Part::{self, Partial, Replicated, Split};
use super::mesh::{Axis, Mesh};
use super::program::Known;
use super::replay::{Of, of_parameters};
use super::rules::Rule;
use super::training::{Planned, Question, limited};
use crate::run::Control;

/// What an axis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Splits the batch; parameters at rest are split in any way (DDP, ZeRO, FSDP).
    Data,
    /// Splits columns, then rows of pairs of products (Shoeybi et al., Megatron-LM, arXiv:1909.08053).
    Tensor,
    /// The same, and tokens between the pairs (Korthikanti et al., arXiv:2205.05198).
    TensorAndSequence,
    /// Splits the batch, and experts in place of it (Lepikhin et al., GShard, arXiv:2006.16668).
    Expert,
}

impl Form {
    /// All; the last one is of mixtures alone.
    pub const ALL: [Self; 4] = [Self::Data, Self::Tensor, Self::TensorAndSequence, Self::Expert];
}

/// By axis what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<(String, u64, Form)>);

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |form: Form| {
            let of = self.0.iter().filter(|(_, _, other)| *other == form);
            of.map(|(_, size, _)| size).product::<u64>()
        };
        let [data, tensor, both, expert] = Form::ALL.map(size);
        let words = [
            (data * expert, format!("DP {}", data * expert)),
            (expert, format!("EP {expert}")),
            (tensor, format!("TP {tensor}")),
            (both, format!("TP {both} + SP")),
        ];
        let words: Vec<String> =
            words.into_iter().filter(|(n, _)| *n > 1).map(|(_, word)| word).collect();
        write!(f, "{}", words.join(" x "))
    }
}

/// All products of forms over the axes of a mesh; none of graphs that are no decoder's.
#[must_use]
pub fn all(graph: &Graph, mesh: &Mesh) -> Vec<Template> {
    if graph.ops.iter().all(|op| op.name != LOSS) {
        return Vec::new();
    }
    let is_mixture = graph.ops.iter().any(|op| is_of_experts(&op.name));
    let forms = if is_mixture { &Form::ALL[..] } else { &Form::ALL[..3] };
    let mut all = vec![Template(Vec::new())];
    for Axis { name, size } in &mesh.axes {
        let with = |template: &Template| {
            let template = template.clone();
            forms.iter().map(move |form| {
                let mut next = template.clone();
                next.0.push((name.clone(), *size, *form));
                next
            })
        };
        all = all.iter().flat_map(with).collect();
    }
    // Tensor ranks either split tokens or do not.
    let is_one = |template: &Template| {
        let has = |form| template.0.iter().any(|of| of.2 == form);
        !(has(Form::Tensor) && has(Form::TensorAndSequence))
    };
    all.retain(is_one);
    all
}

/// Parts of the first output of an op that tensor parallelism may leave; none where it says nothing.
fn parts(name: &str, between: Part) -> Option<Vec<Part>> {
    let name = match name.strip_prefix("layers.") {
        Some(rest) => rest.split_once('.').map_or(rest, |(_, name)| name),
        None => name,
    };
    Some(match name {
        "attention.q"
        | "attention"
        | "attention.backward"
        | "attention.o.backward"
        | "mlp.up"
        | "mlp.gate"
        | "mlp.activation"
        | "mlp.activation.backward"
        | "mlp.down.backward"
        | "head"
        | "cross_entropy" => vec![Split(2)],
        // Fewer heads than ranks are on all of them.
        "attention.k" | "attention.v" => vec![Split(2), Replicated],
        "attention.o"
        | "mlp.down"
        | "embedding"
        | "attention.q.backward"
        | "attention.k.backward"
        | "attention.v.backward"
        | "mlp.up.backward"
        | "mlp.gate.backward"
        | "head.backward"
        | "attention_norm.sum_of_two"
        | "attention_norm.sum"
        | "mlp_norm.sum" => vec![Partial],
        "attention.q.weight"
        | "attention.q.weight.grad"
        | "mlp.up.weight"
        | "mlp.up.weight.grad"
        | "mlp.gate.weight"
        | "mlp.gate.weight.grad" => vec![Split(1)],
        "attention.o.weight"
        | "attention.o.weight.grad"
        | "mlp.down.weight"
        | "mlp.down.weight.grad"
        | "head.weight"
        | "head.weight.grad"
        | "embedding.weight"
        | "embedding.weight.grad" => vec![Split(0)],
        "attention_norm"
        | "attention_norm.backward"
        | "mlp_norm"
        | "mlp_norm.backward"
        | "norm"
        | "norm.backward"
        | "attention.residual"
        | "attention.residual.backward"
        | "mlp.residual"
        | "mlp.residual.backward" => vec![between],
        _ => return None,
    })
}

/// Whether an op is a product of experts, or between those.
fn is_of_experts(name: &str) -> bool {
    name.contains(".experts.")
}

/// Where an operand of an op has its samples: slots of experts (`ebth`) behind the experts.
fn batch(graph: &Graph, op: &Op, tensor: usize) -> Part {
    let has_slots = [".experts.", ".dispatch", ".combine"].iter().any(|of| op.name.contains(of));
    Split(u8::from(has_slots && graph.tensors[tensor].dims.len() == 4))
}

/// Whether a form has a rule of an op.
fn has(
    (graph, of_parameters): (&Graph, &[Option<Of>]),
    number: usize,
    rule: &Rule,
    form: Form,
) -> bool {
    let op = &graph.ops[number];
    let n = op.inputs.len();
    let between = match form {
        Form::TensorAndSequence => Split(1),
        _ => Replicated,
    };
    match form {
        Form::Expert if is_of_experts(&op.name) => rule.parts.iter().all(|part| *part == Split(0)),
        Form::Data | Form::Expert if n == 0 => true,
        Form::Data | Form::Expert => {
            let is_of = |tensor: usize| of_parameters[tensor].is_some();
            let mut all = op.inputs.iter().chain(&op.outputs).zip(&rule.parts);
            op.inputs.iter().all(|tensor| is_of(*tensor))
                || all.all(|(at, part)| is_of(*at) || *part == batch(graph, op, *at))
        }
        Form::Tensor | Form::TensorAndSequence => {
            let Some(parts) = parts(&op.name, between) else { return true };
            // Sums of whole products are no way to share them out.
            parts.contains(&rule.parts[n]) && (rule.parts[n] != Partial || rule.is_divided)
        }
    }
}

/// The program of a template alone.
#[must_use]
pub fn restricted(graph: &Graph, template: &Template) -> Graph {
    let (mut only, of) = (graph.clone(), of_parameters(graph));
    for number in 0..graph.ops.len() {
        let rules = &graph.ops[number].rules;
        let pinned = &graph.ops[number].by_axis;
        let of_axis = |(axis, (_, _, form)): (usize, &(String, u64, Form))| -> Vec<usize> {
            let mut may = (0..rules.len()).collect::<Vec<_>>();
            may.retain(|at| pinned.get(axis).is_none_or(|of| of.contains(at)));
            may.retain(|at| has((graph, &of), number, &rules[*at], *form));
            may
        };
        only.ops[number].by_axis = template.0.iter().enumerate().map(of_axis).collect();
    }
    only
}

/// The first template that strategies are a point of.
#[must_use]
pub fn named(graph: &Graph, mesh: &Mesh, strategies: &[Strategy]) -> Option<Template> {
    let is = |template: &Template| {
        let only = restricted(graph, template);
        only.ops.iter().zip(strategies).all(|(op, strategy)| {
            op.by_axis.iter().enumerate().all(|(axis, allowed)| {
                let has = |at: &usize| {
                    let parts = op.rules[*at].parts.iter().zip(&strategy.placements);
                    parts.into_iter().all(|(part, placement)| *part == placement[axis].unordered())
                };
                allowed.iter().any(has)
            })
        })
    };
    all(graph, mesh).into_iter().find(is)
}
/// Part of the price that a template's program may lack to its bound, and of one that takes so much longer than the
/// plan.
const BESIDE: f64 = 5e-3;
const COARSE: f64 = 0.1;
const FAR: f64 = 1.5;

impl Question<'_> {
    /// By template that fits, seconds of its step in as many micro-batches as a plan, the fastest first; of those that
    /// differ by the axes that they use alone, the fastest one.
    #[must_use]
    pub fn templates(&self, planned: &Planned, control: &Control) -> Vec<(Template, f64)> {
        let of = (planned.accumulation, planned.recomputes);
        let far = FAR * planned.seconds();
        let mut known = Known::default();
        let mut seconds = |template: Template| {
            // A slow one needs fewer digits.
            let mut found = None;
            for gap in [COARSE, BESIDE] {
                if control.stop().is_some() {
                    break;
                }
                let control = limited(control, (gap, None));
                let planned = self.template(&template, of, &control, &mut known);
                let Ok(planned) = planned else { break };
                let seconds = planned.seconds();
                found = Some(found.map_or(seconds, |before: f64| before.min(seconds)));
                if seconds > far {
                    break;
                }
            }
            Some((template, found?))
        };
        let mut all: Vec<_> = self::all(&planned.step.graph, self.mesh)
            .into_iter()
            .filter_map(&mut seconds)
            .collect();
        all.sort_by(|one, other| one.1.total_cmp(&other.1));
        let mut names = BTreeSet::new();
        all.retain(|(template, _)| names.insert(template.to_string()));
        all
    }

    /// A template's fastest way to run a step of as many micro-batches within memory.
    ///
    /// # Errors
    /// As [`Self::plan`]: most models and meshes have no way for some.
    pub(super) fn template(
        &self,
        template: &Template,
        (accumulation, recomputes): (u64, bool),
        control: &Control,
        known: &mut Known,
    ) -> Result<Planned, (Refused, Vec<String>)> {
        let step = self.step(accumulation, recomputes);
        let mut step = step.ok_or((Refused::NoGraph, Vec::new()))?;
        step.graph = restricted(&step.graph, template);
        self.overlapped(step, (accumulation, recomputes), control, known)
    }
}
