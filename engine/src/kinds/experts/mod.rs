//! Plans of copies of experts on devices.

pub mod compare;
pub mod explain;
pub mod export;
pub mod figures;
pub mod plan;

use std::sync::Arc;

use cost_model::experts::bound::{METHODS, bound};
use cost_model::experts::verify::{Violation, verify as rules};
use cost_model::experts::{Shape, greatest, shares};
use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use exporters::Export;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use planner::experts::expert_placement::exact;
use planner::experts::{self, OBJECTIVE, slots_and_groups};
use planner::run::Control;
use serde_json::json;

use self::figures::Figures;
use crate::answer::differences::difference;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::words::ranges;
use crate::inputs::experts::Setting;
use crate::kinds::expert_layers::{self as shared, Placed, TOLERANCE, by_law};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, illegal,
};
use crate::request::fields::Honours;
use crate::search::row::{self, row};

/// What bounds may be off by that an integer program proves again.
const PROVED: f64 = 1e-5;

/// Devices of the copies of experts.
pub struct Experts;

impl Kind for Experts {
    const KIND: PlanKind = PlanKind::Experts;
    const FLAGS: &'static [&'static str] = &["--cluster"];
    const ROWS: &'static str = "a row that decides what the plan does";
    const HONOURS: &'static Honours = &shared::HONOURS;
    const IS_ROW: IsRow = row::is::<experts::Experts>;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const CHECK_SUBJECT: ChecksSubject = shared::check_subject;
    const ELSEWHERE: &'static str =
        "no other program is known to take copies of experts: their devices stand in the plan";
    const FIGURE: &'static str = "load";
    const HAS_STEPS: bool = false;

    type Setting = Setting;
    type Judged = Placed;

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let setting = shared::read(plan, target)?;
        let others = target.others(plan, &shared::references(&setting));
        Ok(Read { warnings: setting.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Placed, Vec<Diagnostic>> {
        let placed = Placed::of(setting, plan);
        let mut found = of_recipe(setting, plan);
        found.extend(shared::of_step(setting, plan));
        found.extend(shared::of_layers(setting, plan));
        for (at, entry) in plan.experts.layers.iter().enumerate() {
            found.extend(of_entry((setting, plan), &placed, (at, entry)));
        }
        if found.is_empty() { Ok(placed) } else { Err(found) }
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let figures = Figures::of(on.plan, &on.setting.experts);
        Told {
            sentence: format!(
                "the plan is legal: {} experts of {} layers on {} devices, greatest load {:.4} times \
                 the mean",
                on.setting.experts.n_experts,
                figures.n_layers,
                on.setting.host.len(),
                figures.load
            ),
            figures: vec![("load", json!(figures.load))],
        }
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        export::exported(target, on)
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let compared = |rows| compare::compare((pair.a, pair.b), (rows, page));
        frame::compare::<Self>(pair, compare::unlike(pair.a, pair.b), compared, page)
    }
}

/// What is stated of the objective and the options of the row.
fn of_recipe(setting: &Setting, plan: &PlanDocument) -> Vec<Diagnostic> {
    let experts = &plan.experts;
    let mut found = Vec::new();
    let mut check = |field: &str, stated: String, derived: String| {
        if stated != derived {
            found.push(difference(field, &stated, &derived));
        }
    };
    if let Ok(Some((recipe, _))) = row::<experts::Experts>(&plan.algorithm)
        && let Ok((slots, groups)) = slots_and_groups(&recipe.options)
    {
        check("experts.groups", experts.groups.unwrap_or(1).to_string(), groups.to_string());
        let least = setting.experts.n_experts.div_ceil(setting.host.len().max(1) as u64);
        let requested = slots.map_or(least, |slots| slots as u64).to_string();
        for (at, entry) in experts.layers.iter().enumerate() {
            check(
                &format!("experts.layers[{at}].slots"),
                entry.slots.to_string(),
                requested.clone(),
            );
        }
    }
    check("objective", plan.objective.clone(), OBJECTIVE.to_owned());
    found
}

/// Rules and figures of an entry.
fn of_entry(
    (setting, plan): (&Setting, &PlanDocument),
    placed: &Placed,
    (at, entry): (usize, &ExpertLayersDocument),
) -> Vec<Diagnostic> {
    let Some(copies) = placed.copies.get(at) else { return Vec::new() };
    let field = |name: &str| format!("experts.layers[{at}].{name}");
    let n_experts = setting.experts.n_experts as usize;
    let groups = plan.experts.groups.unwrap_or(1) as usize;
    let shape = match setting.shape(Some(entry.slots as usize), groups) {
        Ok(shape) => shape,
        Err(error) => {
            return vec![illegal("bad-slots", format!("{}: {}", field("slots"), error.message))];
        }
    };
    let Some(shares) = shares(&entry.visits).filter(|shares| shares.len() == n_experts) else {
        let message = format!("{}: not the routed tokens of {n_experts} experts", field("visits"));
        return vec![illegal("bad-visits", message)];
    };
    let broken = rules(copies, n_experts, &shape);
    let mut found: Vec<Diagnostic> =
        broken.iter().map(|one| diagnosed((setting, placed), entry, one)).collect();
    found.extend(by_law((setting, plan), entry, &field("visits")));
    if !found.is_empty() {
        return found;
    }
    let load = greatest(&shares, copies, shape.host.len());
    if (load - entry.greatest_load).abs() > TOLERANCE * load {
        let stated = entry.greatest_load.to_string();
        found.push(difference(&field("greatest_load"), &stated, &load.to_string()));
    }
    if let Some(most) = most_proved(entry, &shares, &shape) {
        let derived = format!("at most {most}");
        found.push(difference(&field("bound"), &entry.bound.to_string(), &derived));
    }
    found
}

/// What can be proved where an entry states a higher bound.
fn most_proved(entry: &ExpertLayersDocument, shares: &[f64], shape: &Shape) -> Option<f64> {
    if !entry.bound.is_finite()
        || entry.bound < 0.0
        || entry.bound > entry.greatest_load * (1.0 + TOLERANCE)
    {
        return Some(entry.greatest_load);
    }
    let simple = bound(shares, shape).load;
    if ![METHODS, &[exact::METHOD]].concat().contains(&entry.bound_method.as_str()) {
        return Some(simple);
    }
    if entry.bound <= simple * (1.0 + TOLERANCE) {
        return None;
    }
    if entry.bound_method != exact::METHOD {
        return Some(simple);
    }
    let again =
        exact::solve(shares, shape, (entry.greatest_load, exact::MOST_NODES), &Control::default());
    let proved = again.map_or(0.0, |solution| solution.bound).max(simple);
    (entry.bound > proved * (1.0 + PROVED)).then_some(proved)
}

/// A broken rule in words.
fn diagnosed(
    (setting, placed): (&Setting, &Placed),
    entry: &ExpertLayersDocument,
    broken: &Violation,
) -> Diagnostic {
    let layers = ranges(&entry.layers);
    let host = |number: &usize| {
        let at = setting.host.iter().position(|other| other == number);
        let node = at.and_then(|at| setting.cluster.devices.get(at)?.node);
        let node = node.and_then(|node| setting.cluster.nodes.get(node.index()));
        node.map_or_else(|| format!("host {number}"), |node| format!("`{}`", node.name))
    };
    let (code, message) = match broken {
        Violation::OtherExperts { placed, experts } => {
            ("other-experts", format!("{placed} experts are placed, and the layer has {experts}"))
        }
        Violation::Nowhere { expert } => {
            ("expert-nowhere", format!("expert {expert} is on no device"))
        }
        Violation::NoDevice { expert, device } => {
            let name = placed.device(setting, *device);
            ("unknown-device", format!("expert {expert} is on `{name}`, which the cluster has not"))
        }
        Violation::Slots { device, held: n_experts } => {
            let name = placed.device(setting, *device);
            ("slots", format!("`{name}` holds {n_experts} experts in {} slots", entry.slots))
        }
        Violation::TwoHosts { group, hosts: [one, two] } => {
            ("group-apart", format!("group {group} is on {} and on {}", host(one), host(two)))
        }
        Violation::GroupsOfHost { host: number, held: n_groups } => (
            "groups-uneven",
            format!("{} has {n_groups} groups, not its part of them", host(number)),
        ),
    };
    illegal(code, format!("layers {layers}: {message}")).fact("layers", layers)
}
