//! `verify` on instances: is the solution legal, and is all that it states of itself true?

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::given::{Goal, row, rows, split};
use documents::solution::{FORMAT, SolutionDocument};
use ir::diagnostic::Diagnostic;
use ir::instance::{AveragingInstance, Instance, Peers};
use ir::units::Nanos;
use planner::given::runner::{Solution, goals, judge, simple_bound};
use serde_json::{Value, json};

use super::bound::{self, Verdict};
use super::{STRAIGHT_DEVICES, document, synchronisation, unused, with_accelerators};
use crate::answer::differences::{difference, differences};
use crate::answer::exit::{Cancel, CommandResult};
use crate::answer::files::input_file;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::kind::Told;
use crate::kinds::{buckets, frame};
use crate::request::PlanOnModel;
use crate::search::solved;

/// Longest solution that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 30;

/// Fields of a solution that carry no fact which the instance could contradict: the name of a
/// file, and what is the solution itself.
const FREE: [&str; 4] = ["instance", "certificate", "bound_method", "bound_standing"];

/// Verifies a solution; what `cancel` gives ends the search for a proof of its bound.
///
/// # Errors
/// Those of reading, and of the search.
pub fn run(
    args: &PlanOnModel,
    instance: Instance,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    unused::check(&args.target)?;
    let found = read(&args.plan, instance)?;
    let cancel = &cancel();
    let (broken, warnings) = match &found.stated {
        Some(stated) => broken(&found, stated, cancel)?,
        None => (Vec::new(), Vec::new()),
    };
    let name = row(found.goal).name;
    let value = format!("{name} {}", found.instance.unit().text(found.value));
    let statement = Told {
        sentence: format!("legal: {value}"),
        figures: vec![("objective", json!(name)), ("value_ns", json!(found.value.get()))],
    };
    let unproved =
        format!("unchecked: {value}, no rule broken, but the bound was not proved again");
    let words = ["illegal".to_owned(), unproved];
    let around = (Rows::of(args.target.all), &**cancel, page);
    Ok(frame::verdict((&broken, &warnings), (statement, words), around))
}

/// A legal solution of an instance.
pub(super) struct Found {
    /// With as many accelerators as it was planned for.
    pub(super) instance: Instance,
    pub(super) goal: Goal,
    pub(super) n_devices: usize,
    pub(super) solution: Solution,
    /// Judged.
    pub(super) value: Nanos,
    /// What it states of itself; a person's split states nothing.
    pub(super) stated: Option<SolutionDocument>,
}

/// Reads a solution, or a person's split of the dnn-partitioning collection, and judges it.
///
/// # Errors
/// `unreadable-file`, `invalid-solution`, `other-instance`, and the judge's fault where it is
/// illegal.
pub(super) fn read(path: &std::path::Path, instance: Instance) -> Result<Found, Diagnostic> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        Diagnostic::input("unreadable-file", format!("`{file}` can not be read"))
            .fact("reason", why)
            .hint("give a file that `meshwright solve INSTANCE -o FILE` wrote")
    };
    let text = input_file::read(path, LONGEST_FILE).map_err(unreadable)?;
    let fields: Option<Value> = serde_json::from_slice(&text).ok();
    let is_split = fields
        .is_some_and(|fields| fields.get("format").is_none() && fields.get("fpgas").is_some());
    if is_split && let Instance::Load(load) = &instance {
        let solution =
            split::devices(load, &importers::read_split(path)?).map(Solution::Devices)?;
        let goal = goals(&instance)[0];
        let value = judge(&instance, goal, STRAIGHT_DEVICES, &solution)?;
        let n_devices = STRAIGHT_DEVICES;
        return Ok(Found { instance, goal, n_devices, solution, value, stated: None });
    }
    let mut stated = SolutionDocument::parse(&text).map_err(|e| e.fact("file", file.clone()))?;
    stated.inputs = None;
    if let Some(count) = stated.accelerators
        && !(1..=MOST_ACCELERATORS).contains(&count)
    {
        let message = format!("`accelerators` is {count}, not in 1..={MOST_ACCELERATORS}");
        return Err(Diagnostic::input("invalid-solution", message).fact("field", "accelerators"));
    }
    let mut instance = with_accelerators(instance, stated.accelerators);
    if let Instance::Gradients(gradients) = &mut instance {
        let allowed =
            stated.communication.as_ref().map_or(&[][..], |communication| &communication.lossy);
        buckets::allow(gradients, allowed).map_err(|why| document::other(&why))?;
    }
    if let Instance::Averaging(AveragingInstance { peers: Peers::All(replicas), .. }) =
        &mut instance
    {
        let allowed =
            stated.communication.as_ref().map_or(&[][..], |communication| &communication.lossy);
        synchronisation::allow_stated(replicas, allowed).map_err(|why| document::other(&why))?;
    }
    let n_devices = stated.accelerators.unwrap_or(STRAIGHT_DEVICES);
    let goal = rows().iter().find(|row| row.name == stated.objective).map(|row| row.goal);
    let goal = goal.filter(|goal| goals(&instance).contains(goal)).ok_or_else(|| {
        let message = format!("`{}` is no objective of this instance", stated.objective);
        Diagnostic::input("other-instance", message)
            .hint("give the instance that the solution was made for")
    })?;
    let solution = document::solution(&instance, &stated)?;
    let value = judge(&instance, goal, n_devices, &solution)?;
    Ok(Found { instance, goal, n_devices, solution, value, stated: Some(stated) })
}

/// As many as `--accelerators` takes.
const MOST_ACCELERATORS: usize = 4096;

/// What the solution states in vain, and what could not be looked at.
fn broken(
    found: &Found,
    stated: &SolutionDocument,
    cancel: &Arc<AtomicBool>,
) -> Result<(Vec<Diagnostic>, Vec<Diagnostic>), Diagnostic> {
    let Found { instance, goal, n_devices, solution, value, .. } = found;
    let mut warnings = match (instance, solution) {
        (Instance::Gradients(gradients), Solution::Buckets(found)) => {
            buckets::warnings(gradients, 0, found)
        }
        (_, Solution::Synchronisation(found)) => synchronisation::warnings(0, found),
        _ => Vec::new(),
    };
    if stated.instance != instance.name() {
        let (of, name) = (&stated.instance, instance.name());
        let message = format!("the solution is of `{of}`, and the file is called `{name}`");
        warnings.push(Diagnostic::warning("other-name", message));
    }
    let mut wrong = Vec::new();
    let mut holds = true;
    if stated.bound_ns > value.get() {
        holds = false;
        let most = format!("at most {}, the value", value.get());
        wrong.push(difference("bound_ns", &stated.bound_ns.to_string(), &most));
    } else {
        match bound::check(instance, *goal, *n_devices, stated, cancel)? {
            Verdict::Holds => {}
            // As it is told, so it is a claim that may be true.
            Verdict::Unchecked(claim) => wrong.push(claim),
            Verdict::Wrong(list) => {
                holds = false;
                wrong.extend(list);
            }
        }
    }
    let simple = simple_bound(instance, *goal, *n_devices);
    let bound = planner::run::Bound { value: Nanos(stated.bound_ns), ..simple };
    let mut derived = document::document(instance, *goal, *value, bound, solution);
    derived.accelerators = stated.accelerators;
    // Solutions from before it was stated leave it out.
    let covered = solved::covered(*goal, &stated.bound_method);
    derived.bound_covers = stated.bound_covers.as_ref().and(covered.map(str::to_owned));
    // A bound that does not hold proves nothing.
    derived.proved_optimal = holds && value.get() <= stated.bound_ns;
    let mut claimed = bare(stated);
    let mut other = bare(&derived);
    for shares in ["fpgas", "cpus"] {
        shorten(&mut claimed, &mut other, shares);
    }
    wrong.extend(differences(&claimed, &other));
    let mut seen = Vec::new();
    wrong.retain(|one: &Diagnostic| {
        let is_new = !seen.contains(&one.message);
        seen.push(one.message.clone());
        is_new
    });
    Ok((wrong, warnings))
}

/// A document without what carries no fact.
fn bare(document: &SolutionDocument) -> Value {
    debug_assert_eq!(document.format, FORMAT);
    let mut fields = serde_json::to_value(document).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|name, _| !FREE.contains(&name.as_str()));
        // These are the solution itself.
        fields.remove("layers");
        fields.remove("stages");
        for (name, member) in [("fpgas", "nodes"), ("cpus", "nodes"), ("queues", "tasks")] {
            for share in fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
                share.as_object_mut().map(|share| share.remove(member));
            }
        }
    }
    fields
}

/// Devices that hold nothing need not be listed.
fn shorten(claimed: &mut Value, other: &mut Value, name: &str) {
    let listed = claimed.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    if let Some(all) = other.get_mut(name).and_then(Value::as_array_mut) {
        all.truncate(listed);
    }
}
