//! Where no plan on measured layers fits: bytes short of each stage, what binds, and what would fit.

use cost_model::runs::forms::model::Offload;
use cost_model::runs::measured::LayerPricing;
use cost_model::runs::measured::stage::idle_room;
use cost_model::runs::oracle;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use planner::training::per_layer::min_memory::{Least, least};
use planner::training::per_layer::{Judged, Options, solve};
use planner::training::search_3d::space::Space;

use super::super::no_configuration;
use super::super::nothing_fits::{hosts_are_full, loosened};
use super::found::degrees;
use super::pricing;
use crate::answer::exit::CommandResult;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::inputs::run::setting::Setting;

/// Doublings of the devices that are tried.
const DOUBLINGS: u32 = 6;
/// Replays for each way out: a plan that fits is wanted, not the best one.
const REPLAYS: u64 = 50;

/// The answer: exit code 4 where every configuration was searched.
pub fn answer(
    setting: &Setting,
    space: &Space,
    (limits, is_proved): (&Options, bool),
    page: &Page,
) -> CommandResult {
    let pricing = pricing(setting)?;
    let Some(least) = least(&pricing, space) else {
        return Err(no_configuration::answer(setting, space, &|| limits.stop().is_some()));
    };
    let limit = setting.limit.map_or(u64::MAX, |limit| limit.0);
    print_stages(&least, limit, page);
    let short = (0..).zip(&least.bytes).filter(|(_, bytes)| **bytes > limit);
    let short: Vec<(String, Bytes)> = short
        .map(|(stage, bytes): (u32, _)| (format!("stage {stage}"), Bytes(bytes - limit)))
        .collect();
    let lacks = least.most().0.saturating_sub(limit);
    let message = format!(
        "no {}: the one that needs least is short of {lacks} bytes ({}) on its fullest device{}",
        if is_proved { "plan fits" } else { "measured plan fits" },
        Bytes(lacks),
        if is_proved { "" } else { "; other degrees were not measured, or take longer schedules" }
    );
    let blame = if is_proved { Blame::Infeasible } else { Blame::NotFound };
    let mut diagnostic = Diagnostic::error(blame, "memory-exceeded", message)
        .fact("need", least.most())
        .fact("have", Bytes(limit))
        .fact("shortfall_bytes", short)
        .fact("binds", binding(&least))
        .fact("plan", degrees(&least.degrees));
    ways(setting, (&pricing, &least), (space, limits), &mut diagnostic)?;
    Err(diagnostic)
}

/// Terms of a stage with their bytes.
fn terms(least: &Least, stage: usize) -> [(&'static str, f64); 4] {
    let figures = &least.stages[stage].figures;
    let kept = f64::from(least.in_flight[stage]);
    [
        ("states", figures.states),
        ("activations", kept * figures.activation),
        ("ends", figures.end_states + kept * figures.end_activation),
        ("working room", figures.temporary + figures.recompute + idle_room(figures)),
    ]
}

/// The largest term of the fullest stage.
fn binding(least: &Least) -> String {
    let fullest = (0..least.bytes.len()).max_by_key(|stage| least.bytes[*stage]).unwrap_or(0);
    let largest = terms(least, fullest).into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    largest.map_or_else(String::new, |(name, bytes)| {
        format!("{name} of stage {fullest}: {}", Bytes(bytes.round() as u64))
    })
}

fn print_stages(least: &Least, limit: u64, page: &Page) {
    let row = |stage: usize| {
        let own = &least.stages[stage];
        let terms = terms(least, stage).map(|(_, bytes)| Bytes(bytes.round() as u64).to_string());
        let need = least.bytes[stage];
        let mut row = vec![
            stage.to_string(),
            format!("{}, {} again, {} ZeRO-3", own.blocks, own.recomputed, own.fully_sharded),
        ];
        row.extend(terms);
        row.extend([Bytes(need).to_string(), Bytes(need.saturating_sub(limit)).to_string()]);
        row
    };
    let columns = [
        Column::Number("stage"),
        Column::Text("blocks"),
        Column::Number("states"),
        Column::Number("activations"),
        Column::Number("ends"),
        Column::Number("working room"),
        Column::Number("needs"),
        Column::Number("short of"),
    ];
    page.talk_table(&columns, (0..least.stages.len()).map(row).collect());
}

/// Tells changes that fit, each planned by the same search.
fn ways(
    setting: &Setting,
    (pricing, least): (&LayerPricing<'_>, &Least),
    (space, limits): (&Space, &Options),
    told: &mut Diagnostic,
) -> Result<(), Diagnostic> {
    let in_time = || limits.stop().is_none();
    let options = Options { most_replays: REPLAYS, ..limits.clone() };
    let fitting =
        |pricing: &LayerPricing<'_>, space: &Space| -> Result<Option<Judged>, Diagnostic> {
            Ok(solve(pricing, space, &options)?.best)
        };
    for (name, pins) in loosened(&space.pins) {
        let plan = fitting(pricing, &Space { pins, ..space.clone() })?;
        let way = plan.map(|plan| {
            format!("without --pin {name} a plan fits: step time {} or less", plan.step)
        });
        told.loosened(&format!("pin {name}"), way, in_time());
    }
    let moved = LayerPricing { offload: Offload::Optimizer, ..*pricing };
    let plan = fitting(&moved, space)?;
    let is_found = plan.is_some();
    let how = "with optimizer states on the hosts (without --no-offload) a plan fits: step time";
    told.loosened("offload", plan.map(|plan| format!("{how} {} or less", plan.step)), in_time());
    if !is_found {
        told.hints.push(match fitting(&LayerPricing { host_memory: &[], ..moved }, space)? {
            Some(plan) => {
                let plan = plan.plan()?;
                hosts_are_full(&oracle::costs(&moved, &plan)?, &plan)
            }
            None => host_term(&moved, space),
        });
    }
    let most = space.devices.iter().copied().max().unwrap_or(1);
    for n in (1..=DOUBLINGS).map(|power| most.saturating_mul(1 << power)) {
        if pricing.hosts(n).is_none() {
            told.hints.push(format!(
                "links of {n} devices were not measured: more devices are not tried"
            ));
            break;
        }
        let more = Space { devices: vec![n], ..space.clone() };
        if let Some(plan) = fitting(pricing, &more)? {
            let way = format!("on {n} such devices a plan fits: step time {} or less", plan.step);
            told.loosened("devices", Some(way), true);
            break;
        }
    }
    let larger = LayerPricing { limit: Some(least.most()), ..*pricing };
    if let Some(plan) = fitting(&larger, space)? {
        let room = setting.room_for(least.most());
        let way = format!("with {room} a plan fits: step time {} or less", plan.step);
        told.loosened("memory", Some(way), true);
    }
    Ok(())
}

/// What binds even with the optimizer states on the hosts.
fn host_term(moved: &LayerPricing<'_>, space: &Space) -> String {
    match least(moved, space) {
        None => "optimizer states on the hosts are not enough".to_owned(),
        Some(least) => format!(
            "optimizer states on the hosts are not enough: {} bytes are needed still, most by {}",
            least.most().0,
            binding(&least)
        ),
    }
}
