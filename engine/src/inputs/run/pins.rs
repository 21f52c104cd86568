//! `--pin FIELD=VALUE` of a training run.

use std::collections::BTreeMap;

use cost_model::runs::forms::run::equal_blocks;
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::nearest::similar;
use ir::plan::{Mesh, Plan, Stage};
use planner::training::order::Order;
use planner::training::search_3d::space::{Pins, RecomputeRule, Split};

use crate::answer::suggest;

/// What can be fixed.
pub const FIELDS: [&str; 15] = [
    "data",
    "tensor",
    "pipeline",
    "context",
    "expert",
    "expert-overlap",
    "expert-tensor",
    "micro-batch",
    "virtual-stages",
    "schedule",
    "recompute",
    "zero",
    "sequence-parallel",
    "split",
    "mesh",
];

/// Values of fields by their names.
const POLICIES: [(&str, RecomputeRule); 6] = [
    ("fitted", RecomputeRule::Fitted),
    ("none", RecomputeRule::None),
    ("selective", RecomputeRule::Selective),
    ("per-op", RecomputeRule::PerOp),
    ("full", RecomputeRule::Full),
    ("alike", RecomputeRule::Alike),
];
const ZEROS: [(&str, ZeroStage); 4] = [
    ("0", ZeroStage::None),
    ("1", ZeroStage::Optimizer),
    ("2", ZeroStage::Gradients),
    ("3", ZeroStage::Parameters),
];
/// How a run divides sequences, by its name in a pin.
pub const SEQUENCES: [(&str, SequenceParallel); 3] = [
    ("on", SequenceParallel::On),
    ("off", SequenceParallel::Off),
    ("ulysses", SequenceParallel::Ulysses),
];
/// Whether exchanges of experts run beside other work, by its name in a pin.
pub const OVERLAPS: [(&str, bool); 2] = [("on", true), ("off", false)];
const SPLITS: [(&str, Split); 2] = [("balanced", Split::Balanced), ("equal", Split::Equal)];
/// Which axis lies inside hosts, by its name in a pin.
pub const MESHES: [(&str, Mesh); 2] =
    [("data-inside", Mesh::TpCpDpPp), ("pipeline-inside", Mesh::TpCpPpDp)];

/// Reads the pins.
///
/// # Errors
/// `bad-pin` for a field or a value that does not exist.
pub fn of(flags: &[String]) -> Result<Pins, Diagnostic> {
    let mut pins = Pins::default();
    let mut seen = BTreeMap::new();
    for flag in flags {
        let Some((field, value)) = flag.split_once('=') else {
            return Err(bad(flag, "does not have the form FIELD=VALUE"));
        };
        let other = seen.insert(field, value).filter(|other| *other != value);
        if let Some(other) = other.filter(|_| field != "schedule") {
            return Err(bad(flag, &format!("contradicts {field}={other}")));
        }
        set(&mut pins, field, value, flag)?;
    }
    Ok(pins)
}

/// Fields by what launchers call them.
const SHORT: [(&str, &str); 6] = [
    ("dp", "data"),
    ("tp", "tensor"),
    ("pp", "pipeline"),
    ("cp", "context"),
    ("ep", "expert"),
    ("etp", "expert-tensor"),
];

/// A pin with its field in full: `tp=8` is `tensor=8`.
pub fn in_full(pin: &str) -> String {
    let Some((field, value)) = pin.split_once('=') else { return pin.to_owned() };
    let known = SHORT.iter().find(|(short, _)| field.eq_ignore_ascii_case(short));
    format!("{}={value}", known.map_or(field, |(_, long)| *long))
}

/// Pins that were asked for, and those of a model for fields that nobody has pinned.
pub fn with(mut pins: Vec<String>, of_model: Vec<String>) -> Vec<String> {
    let field = |pin: &String| pin.split_once('=').map(|(field, _)| field.to_owned());
    let fields: Vec<Option<String>> = pins.iter().map(field).collect();
    pins.extend(of_model.into_iter().filter(|pin| !fields.contains(&field(pin))));
    pins
}

/// Pins that a plan does not keep, each with what the plan has.
pub fn broken(pins: &Pins, plan: &Plan, schedule: &str) -> Vec<(String, String)> {
    let d = &plan.parallelism;
    let counts = [
        ("data", pins.data.map(u64::from), u64::from(d.data)),
        ("tensor", pins.tensor.map(u64::from), u64::from(d.tensor)),
        ("pipeline", pins.pipeline.map(u64::from), u64::from(d.pipeline)),
        ("context", pins.context.map(u64::from), u64::from(d.context)),
        ("expert", pins.expert.map(u64::from), u64::from(d.expert)),
        ("expert-tensor", pins.expert_tensor.map(u64::from), u64::from(d.of_expert())),
        ("micro-batch", pins.micro_batch, d.micro_batch),
        ("virtual-stages", pins.virtual_stages.map(u64::from), u64::from(d.virtual_stages)),
        ("zero", pins.zero.map(|zero| zero as u64), d.zero as u64),
    ];
    let mut broken: Vec<(String, String)> = counts
        .into_iter()
        .filter_map(|(name, pin, count)| Some((name, pin.filter(|pin| *pin != count)?, count)))
        .map(|(name, pin, count)| (format!("{name}={pin}"), count.to_string()))
        .collect();
    let mut check = |is_kept: bool, pin: &str, planned: String| {
        if !is_kept {
            broken.push((pin.to_owned(), planned));
        }
    };
    let orders = &pins.orders;
    let runs = orders.is_empty() || orders.iter().any(|order| order.name() == schedule);
    check(runs, "schedule", schedule.to_owned());
    let sequence = pins.sequence.is_none_or(|pin| pin == d.sequence);
    check(sequence, "sequence-parallel", format!("{:?}", d.sequence));
    let overlap = pins.expert_overlap.is_none_or(|pin| pin == d.expert_overlap);
    check(overlap, "expert-overlap", word(&OVERLAPS, d.expert_overlap).to_owned());
    check(pins.mesh.is_none_or(|pin| pin == d.mesh), "mesh", format!("{:?}", d.mesh));
    let stages = &plan.partition.stages;
    let sizes = || stages.iter().map(|stage| stage.blocks.len() as u32);
    let n_stages = u32::try_from(stages.len()).unwrap_or(u32::MAX);
    let is_equal = || sizes().eq(equal_blocks(sizes().sum(), n_stages));
    check(pins.split != Some(Split::Equal) || is_equal(), "split=equal", "other sizes".to_owned());
    let all = |wanted: &dyn Fn(&Stage) -> bool| stages.iter().all(wanted);
    let each =
        |stage: &Stage, policy: Recompute| stage.each.iter().all(|block| block.recompute == policy);
    let is_full = |stage: &Stage| match stage.recompute {
        _ if !stage.each.is_empty() => each(stage, Recompute::Full),
        Recompute::Full => true,
        Recompute::Block { blocks } => blocks as usize >= stage.blocks.len(),
        _ => stage.blocks.is_empty(),
    };
    let recomputes = match pins.recompute {
        RecomputeRule::Fitted => true,
        RecomputeRule::None => {
            all(&|stage| stage.recompute == Recompute::None && each(stage, Recompute::None))
        }
        RecomputeRule::Selective => all(&|stage| stage.recompute == Recompute::Selective),
        RecomputeRule::PerOp => all(&|stage| stage.recompute == Recompute::PerOp),
        RecomputeRule::Full => all(&is_full),
        RecomputeRule::Alike => {
            stages.windows(2).all(|pair| pair[0].recompute == pair[1].recompute)
        }
    };
    check(recomputes, "recompute", "another policy".to_owned());
    broken
}

fn bad(flag: &str, why: &str) -> Diagnostic {
    Diagnostic::usage("bad-pin", format!("`--pin {flag}` {why}"))
        .hint("write --pin tensor=8, --pin schedule=1f1b, --pin zero=1 or the like")
}

fn set(pins: &mut Pins, field: &str, value: &str, flag: &str) -> Result<(), Diagnostic> {
    let count = || {
        let n = value.parse::<u32>().ok().filter(|n| *n > 0);
        n.ok_or_else(|| bad(flag, "needs a whole number of at least 1"))
    };
    match field {
        "data" => pins.data = Some(count()?),
        "tensor" => pins.tensor = Some(count()?),
        "pipeline" => pins.pipeline = Some(count()?),
        "context" => pins.context = Some(count()?),
        "expert" => pins.expert = Some(count()?),
        "expert-tensor" => pins.expert_tensor = Some(count()?),
        "micro-batch" => pins.micro_batch = Some(u64::from(count()?)),
        "virtual-stages" => pins.virtual_stages = Some(count()?),
        "schedule" => {
            let known = Order::ALL.map(|order| (order.name(), order));
            pins.orders.push(one_of(&known, value, flag)?);
        }
        "recompute" => pins.recompute = one_of(&POLICIES, value, flag)?,
        "zero" => pins.zero = Some(one_of(&ZEROS, value, flag)?),
        "sequence-parallel" => pins.sequence = Some(one_of(&SEQUENCES, value, flag)?),
        "expert-overlap" => pins.expert_overlap = Some(one_of(&OVERLAPS, value, flag)?),
        "split" => pins.split = Some(one_of(&SPLITS, value, flag)?),
        "mesh" => pins.mesh = Some(one_of(&MESHES, value, flag)?),
        _ => {
            return Err(
                bad(flag, "names no field of a training run").hint(suggest::hint(field, FIELDS))
            );
        }
    }
    Ok(())
}

/// What a value is called.
pub fn word<T: Copy + PartialEq>(known: &[(&'static str, T)], value: T) -> &'static str {
    known.iter().find(|(_, other)| *other == value).map_or("unknown", |(name, _)| name)
}

/// The value of a name.
fn one_of<T: Copy>(known: &[(&str, T)], value: &str, flag: &str) -> Result<T, Diagnostic> {
    let found = known.iter().find(|(name, _)| *name == value).map(|(_, found)| *found);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let error = bad(flag, &format!("needs one of {}", names.join(", ")));
        let field = flag.split('=').next().unwrap_or_default();
        match similar(value, names).first() {
            Some(nearest) => Diagnostic {
                hints: vec![format!("did you mean --pin {field}={nearest}?")],
                ..error
            },
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_pins_gives_way() {
        let of_model = || vec!["data=2".to_owned(), "tensor=2".to_owned()];
        assert_eq!(with(vec!["data=4".to_owned()], of_model()), ["data=4", "tensor=2"]);
        assert_eq!(with(Vec::new(), of_model()), of_model());
    }

    #[test]
    fn every_field_can_be_fixed() {
        let all = [
            "data=2",
            "tensor=8",
            "pipeline=4",
            "context=1",
            "expert=2",
            "expert-tensor=4",
            "micro-batch=3",
            "virtual-stages=2",
            "schedule=zb-h1",
            "recompute=full",
            "zero=3",
            "sequence-parallel=off",
            "split=equal",
            "mesh=pipeline-inside",
        ];
        let pins = of(&all.map(str::to_owned)).unwrap();
        assert_eq!(
            (pins.tensor, pins.micro_batch, pins.recompute),
            (Some(8), Some(3), RecomputeRule::Full)
        );
        assert_eq!(pins.orders, [Order::ZbH1]);
        for wrong in ["tensor", "tensor=0", "zero=4", "colour=red", "schedule=2f2b", "mesh=x"] {
            assert_eq!(of(&[wrong.to_owned()]).unwrap_err().code, "bad-pin", "{wrong}");
        }
    }
}
