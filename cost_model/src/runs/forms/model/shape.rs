//! Which degrees and batch sizes a model can run under: one list of rules, for everything that
//! makes, reads or checks a training run.
//!
//! What a schedule asks of micro-batches and chunks is the schedule's; what a launcher lacks is the
//! launcher's; whether a cluster has the devices ([`n_devices`]) is the cluster's.

use ir::card::{ModelCard, SequenceParallel};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;

#[cfg(test)]
mod tests;

/// How far the nearest values that work are looked for.
const FARTHEST: u64 = 1 << 20;

/// Model, degrees, and samples of a step.
type Of<'a> = (&'a ModelCard, &'a Parallelism, u64);

/// One rule about one field.
struct Rule {
    /// The field that breaks it, by the name that `--pin` has for it.
    field: &'static str,
    /// Why there is such a rule, as the end of a sentence.
    reason: &'static str,
    /// Whether it is kept. A degree of 0 means nothing.
    holds: fn(Of<'_>) -> bool,
    /// What the value is held against.
    limit: fn(Of<'_>) -> String,
    /// No greater value keeps it.
    most: fn(Of<'_>) -> u64,
    /// The field, to read it and to try other values.
    value: fn(&mut Parallelism) -> Field<'_>,
}

/// A field of degrees.
enum Field<'a> {
    Degree(&'a mut u32),
    Count(&'a mut u64),
    Optional(&'a mut Option<u32>),
}

impl Field<'_> {
    fn get(&self) -> u64 {
        match self {
            Self::Degree(value) => u64::from(**value),
            Self::Count(value) => **value,
            Self::Optional(value) => u64::from(value.unwrap_or(1)),
        }
    }

    /// Puts another value in; `None` where it is too large.
    fn set(self, to: u64) -> Option<()> {
        match self {
            Self::Degree(value) => *value = u32::try_from(to).ok()?,
            Self::Count(value) => *value = to,
            Self::Optional(value) => *value = Some(u32::try_from(to).ok()?),
        }
        Some(())
    }
}

const RULES: &[Rule] = &[
    Rule {
        field: "tensor",
        reason: "each shard has whole heads, and as many of keys and values as the others",
        holds: |(model, degrees, _)| {
            let tensor = u64::from(degrees.tensor);
            let splits = |n: u64, kv: u64| {
                n.is_multiple_of(tensor) && (kv.is_multiple_of(tensor) || tensor.is_multiple_of(kv))
            };
            let mut groups = model.groups.iter();
            tensor > 0
                && groups.all(|group| splits(group.card.n_heads, group.card.n_kv_heads.max(1)))
        },
        limit: |(model, ..)| {
            told(model.groups.iter().map(|group| {
                match (group.card.n_heads, group.card.n_kv_heads) {
                    (n, kv) if n == kv => format!("{n} heads"),
                    (n, kv) => format!("{n} heads, {kv} of keys and values"),
                }
            }))
        },
        most: |(model, ..)| model.groups.iter().map(|group| group.card.n_heads).max().unwrap_or(1),
        value: |degrees| Field::Degree(&mut degrees.tensor),
    },
    Rule {
        field: "context",
        reason: "each rank has two parts of the sequence, an early and a late one, so that causal \
            attention is as much work on all",
        holds: |(model, degrees, _)| {
            let parts = if degrees.context == 1 { 1 } else { 2 * u64::from(degrees.context) };
            let mut groups = model.groups.iter();
            parts > 0 && groups.all(|group| group.card.sequence.is_multiple_of(parts))
        },
        limit: |(model, ..)| format!("a sequence of {}", sequence(model)),
        most: |(model, ..)| sequence(model) / 2,
        value: |degrees| Field::Degree(&mut degrees.context),
    },
    Rule {
        field: "pipeline",
        reason: "each rank has a block",
        holds: |(model, degrees, _)| (1..=model.n_blocks()).contains(&degrees.pipeline),
        limit: |(model, ..)| format!("{} blocks", model.n_blocks()),
        most: |(model, ..)| u64::from(model.n_blocks()),
        value: |degrees| Field::Degree(&mut degrees.pipeline),
    },
    Rule {
        field: "virtual-stages",
        reason: "each chunk of each pipeline rank has a block",
        holds: |(model, degrees, _)| {
            let n_stages = one(degrees.pipeline) * u64::from(degrees.virtual_stages);
            // That there are too many ranks is a rule of its own.
            degrees.virtual_stages == 1
                || degrees.virtual_stages > 0 && n_stages <= u64::from(model.n_blocks())
        },
        limit: |(model, degrees, _)| {
            format!("{} blocks on {} ranks", model.n_blocks(), degrees.pipeline)
        },
        most: |(model, degrees, _)| u64::from(model.n_blocks()) / one(degrees.pipeline),
        value: |degrees| Field::Degree(&mut degrees.virtual_stages),
    },
    Rule {
        field: "data",
        reason: "each replica has as many samples as the others",
        holds: |(_, degrees, batch)| {
            degrees.data > 0 && batch > 0 && batch.is_multiple_of(u64::from(degrees.data))
        },
        limit: |(.., batch)| format!("a global batch of {batch}"),
        most: |(.., batch)| batch,
        value: |degrees| Field::Degree(&mut degrees.data),
    },
    Rule {
        field: "micro-batch",
        reason: "each micro-batch of a replica has as many samples as the others",
        holds: |(_, degrees, batch)| {
            degrees.micro_batch > 0
                && of_replica(degrees, batch).is_multiple_of(degrees.micro_batch)
        },
        limit: |(_, degrees, batch)| {
            format!("a global batch of {batch} on {} replicas", degrees.data)
        },
        most: |(_, degrees, batch)| of_replica(degrees, batch),
        value: |degrees| Field::Count(&mut degrees.micro_batch),
    },
    Rule {
        field: "micro-batches",
        reason: "the micro-batches of all replicas are the global batch",
        holds: |(_, degrees, batch)| {
            let samples = of_replica(degrees, batch);
            let n = degrees.n_micro_batches;
            // That micro-batches don't divide is a rule of its own.
            let is_told = degrees.micro_batch == 0 || !samples.is_multiple_of(degrees.micro_batch);
            n > 0 && (is_told || n.checked_mul(degrees.micro_batch) == Some(samples))
        },
        limit: |(_, degrees, batch)| {
            let Parallelism { data, micro_batch, .. } = degrees;
            format!("a global batch of {batch} on {data} replicas of {micro_batch} at a time")
        },
        most: |(_, degrees, batch)| of_replica(degrees, batch) / degrees.micro_batch.max(1),
        value: |degrees| Field::Count(&mut degrees.n_micro_batches),
    },
    Rule {
        field: "expert",
        reason: "each rank has as many experts as the others",
        holds: |(model, degrees, _)| {
            let divides = |n: u64| n.is_multiple_of(u64::from(degrees.expert));
            // A model without experts is one that has one.
            degrees.expert == 1 || degrees.expert > 0 && experts(model).all(divides) && has(model)
        },
        limit: |(model, ..)| match has(model) {
            true => told(experts(model).map(|n| format!("{n} experts"))),
            false => "no experts".to_owned(),
        },
        most: |(model, ..)| experts(model).max().unwrap_or(1),
        value: |degrees| Field::Degree(&mut degrees.expert),
    },
    Rule {
        field: "expert",
        reason: "experts are shared out among the replicas, their context ranks and what tensor ranks don't \
                 split an expert",
        holds: |(model, degrees, _)| {
            !has(model) || seats(degrees).is_multiple_of(one(degrees.expert))
        },
        limit: |(_, degrees, _)| match degrees.tensor / degrees.of_expert() {
            0 | 1 => format!("{} replicas of {} context ranks", degrees.data, degrees.context),
            apart => {
                let Parallelism { data, context, .. } = degrees;
                format!("{data} replicas of {context} context ranks of {apart} whole experts")
            }
        },
        most: |(_, degrees, _)| seats(degrees),
        value: |degrees| Field::Degree(&mut degrees.expert),
    },
    Rule {
        field: "expert-tensor",
        reason: "tensor ranks that split sequences split experts by a divisor of their number",
        holds: |(model, degrees, _)| {
            let splits = |n: u32| n == 1 || degrees.sequence == SequenceParallel::On;
            let divides = |n: u32| n > 0 && one(degrees.tensor).is_multiple_of(u64::from(n));
            degrees.expert_tensor.is_none_or(|n| divides(n) && has(model) && splits(degrees.tensor))
        },
        limit: |(model, degrees, _)| match (has(model), degrees.sequence) {
            (false, _) => "no experts".to_owned(),
            (true, SequenceParallel::On) => format!("{} tensor ranks", degrees.tensor),
            (true, _) => format!("{} tensor ranks of whole sequences", degrees.tensor),
        },
        most: |(_, degrees, _)| one(degrees.tensor),
        value: |degrees| Field::Optional(&mut degrees.expert_tensor),
    },
    Rule {
        field: "vocabulary",
        reason: "the ranks of a stage share it out",
        holds: |(_, degrees, _)| {
            let ranks = one(degrees.data) * one(degrees.tensor);
            let divides = |degree: u32| degree > 0 && ranks.is_multiple_of(u64::from(degree));
            degrees.vocabulary.is_none_or(divides)
        },
        limit: |(_, degrees, _)| {
            format!("{} replicas of {} tensor ranks", degrees.data, degrees.tensor)
        },
        most: |(_, degrees, _)| one(degrees.data) * one(degrees.tensor),
        value: |degrees| Field::Optional(&mut degrees.vocabulary),
    },
];

/// Ranks of a stage that can hold another part of the experts each.
fn seats(degrees: &Parallelism) -> u64 {
    let apart = one(degrees.tensor) / u64::from(degrees.of_expert());
    one(degrees.data) * one(degrees.context) * apart.max(1)
}

fn one(degree: u32) -> u64 {
    u64::from(degree.max(1))
}

fn sequence(model: &ModelCard) -> u64 {
    model.groups.first().map_or(0, |group| group.card.sequence)
}

fn of_replica(degrees: &Parallelism, batch: u64) -> u64 {
    batch / one(degrees.data)
}

fn experts(model: &ModelCard) -> impl Iterator<Item = u64> + '_ {
    model.groups.iter().filter_map(|group| group.card.experts).map(|experts| experts.n_experts)
}

fn has(model: &ModelCard) -> bool {
    experts(model).next().is_some()
}

/// What kinds of blocks have, each once.
fn told(kinds: impl Iterator<Item = String>) -> String {
    let mut kinds: Vec<String> = kinds.collect();
    kinds.dedup();
    kinds.join("; ")
}

/// Devices of degrees.
#[must_use]
pub fn n_devices(degrees: &Parallelism) -> u64 {
    [degrees.data, degrees.tensor, degrees.pipeline, degrees.context]
        .iter()
        .fold(1, |product: u64, degree| product.saturating_mul(one(*degree)))
}

/// Every rule that degrees break with so many samples of a step, as [`check`] says them.
#[must_use]
pub fn broken(model: &ModelCard, degrees: &Parallelism, global_batch: u64) -> Vec<Diagnostic> {
    let of = (model, degrees, global_batch);
    let broken = RULES.iter().filter(|rule| !(rule.holds)(of));
    broken.map(|rule| rule.diagnostic(of)).collect()
}

/// Checks that a model can run under such degrees with so many samples of a step.
///
/// # Errors
/// `shape-rule`, of an input, for the first rule that is broken: the field, its value, the limit, and
/// the nearest values that keep the rules of the field.
pub fn check(
    model: &ModelCard,
    degrees: &Parallelism,
    global_batch: u64,
) -> Result<(), Diagnostic> {
    let of = (model, degrees, global_batch);
    match RULES.iter().find(|rule| !(rule.holds)(of)) {
        Some(rule) => Err(rule.diagnostic(of)),
        None => Ok(()),
    }
}

impl Rule {
    fn diagnostic(&self, of: Of<'_>) -> Diagnostic {
        let value = (self.value)(&mut of.1.clone()).get();
        let (field, limit, reason) = (self.field, (self.limit)(of), self.reason);
        let message = format!("{field} can't be {value} with {limit}: {reason}");
        let nearest: Vec<String> = self.nearest(of, value).iter().map(u64::to_string).collect();
        let hint = match nearest.is_empty() {
            true => format!("no {field} works with {limit}"),
            false => format!("{field} can be {}", nearest.join(" or ")),
        };
        Diagnostic::input("shape-rule", message)
            .fact("field", field)
            .fact("value", value)
            .fact("limit", limit)
            .fact("nearest", nearest)
            .hint(hint)
    }

    /// The nearest values below and above that keep all rules of the field.
    fn nearest(&self, of @ (model, degrees, batch): Of<'_>, value: u64) -> Vec<u64> {
        let rules = || RULES.iter().filter(|rule| rule.field == self.field);
        let works = |candidate: &u64| {
            let mut tried = degrees.clone();
            (self.value)(&mut tried).set(*candidate).is_some()
                && rules().all(|rule| (rule.holds)((model, &tried, batch)))
        };
        let most = rules().map(|rule| (rule.most)(of)).min().unwrap_or(0).max(1);
        let top = value.saturating_sub(1).min(most);
        let mut below = (top.saturating_sub(FARTHEST).max(1)..=top).rev();
        let mut above = value.saturating_add(1)..=most.min(value.saturating_add(FARTHEST));
        // Where the next one is far below, 1 is told.
        let least = || Some(1).filter(|least| *least < value && works(least));
        below.find(works).or_else(least).into_iter().chain(above.find(works)).collect()
    }
}
