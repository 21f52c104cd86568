//! `--pin FIELD=VALUE` of a training run.

use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Mesh;
use planner::parallelism::order::Order;
use planner::parallelism::search_3d::space::{Again, Pins, Split};

use crate::suggest;

/// What can be fixed.
const FIELDS: [&str; 13] = [
    "data",
    "tensor",
    "pipeline",
    "context",
    "expert",
    "micro-batch",
    "virtual-stages",
    "schedule",
    "recompute",
    "zero",
    "sequence-parallel",
    "split",
    "mesh",
];

/// Reads the pins.
///
/// # Errors
/// `bad-pin` for a field or a value that does not exist.
pub(super) fn of(flags: &[String]) -> Result<Pins, Diagnostic> {
    let mut pins = Pins::default();
    for flag in flags {
        let Some((field, value)) = flag.split_once('=') else {
            return Err(bad(flag, "does not have the form FIELD=VALUE"));
        };
        set(&mut pins, field, value, flag)?;
    }
    Ok(pins)
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
        "micro-batch" => pins.micro_batch = Some(u64::from(count()?)),
        "virtual-stages" => pins.virtual_stages = Some(count()?),
        "schedule" => {
            let known = Order::ALL.map(|order| (order.name(), order));
            pins.orders.push(one_of(&known, value, flag)?);
        }
        "recompute" => {
            let known = [
                ("fitted", Again::Fitted),
                ("none", Again::None),
                ("selective", Again::Selective),
                ("full", Again::Full),
                ("alike", Again::Alike),
            ];
            pins.again = one_of(&known, value, flag)?;
        }
        "zero" => {
            let known = [
                ("0", ZeroStage::None),
                ("1", ZeroStage::Optimizer),
                ("2", ZeroStage::Gradients),
                ("3", ZeroStage::Parameters),
            ];
            pins.zero = Some(one_of(&known, value, flag)?);
        }
        "sequence-parallel" => {
            let known = [
                ("on", SequenceParallel::On),
                ("off", SequenceParallel::Off),
                ("ulysses", SequenceParallel::Ulysses),
            ];
            pins.sequence = Some(one_of(&known, value, flag)?);
        }
        "split" => {
            let known = [("balanced", Split::Balanced), ("equal", Split::Equal)];
            pins.split = Some(one_of(&known, value, flag)?);
        }
        "mesh" => {
            let known =
                [("data-inside", Mesh::DataInside), ("pipeline-inside", Mesh::PipelineInside)];
            pins.mesh = Some(one_of(&known, value, flag)?);
        }
        _ => {
            return Err(bad(flag, "names no field of a training run")
                .fact("known", FIELDS.map(str::to_owned).to_vec())
                .hint(suggest::hint(field, FIELDS)));
        }
    }
    Ok(())
}

/// The value of a name.
fn one_of<T: Copy>(known: &[(&str, T)], value: &str, flag: &str) -> Result<T, Diagnostic> {
    let found = known.iter().find(|(name, _)| *name == value).map(|(_, found)| *found);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        bad(flag, &format!("needs one of {}", names.join(", ")))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn every_field_can_be_fixed() {
        let all = [
            "data=2",
            "tensor=8",
            "pipeline=4",
            "context=1",
            "expert=2",
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
        assert_eq!((pins.tensor, pins.micro_batch, pins.again), (Some(8), Some(3), Again::Full));
        assert_eq!(pins.orders, [Order::ZbH1]);
        for wrong in ["tensor", "tensor=0", "zero=4", "colour=red", "schedule=2f2b", "mesh=x"] {
            assert_eq!(of(&[wrong.to_owned()]).unwrap_err().code, "bad-pin", "{wrong}");
        }
    }
}
