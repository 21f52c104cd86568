//! Where no plan on measured layers fits: bytes short of each stage, what binds, and what would fit.

use cost_model::runs::forms::model::Offload;
use cost_model::runs::measured::LayerPricing;
use cost_model::runs::oracle;
use ir::diagnostic::Diagnostic;
use ir::units::Bytes;
use planner::training::per_layer::min_memory::{Least, least};
use planner::training::per_layer::{Judged, Options, solve};
use planner::training::search_3d::space::Space;

use super::super::no_configuration;
use super::super::nothing_fits::{hosts_are_full, without_pins};
use super::found::degrees;
use super::pricing;
use crate::answer::exit::CommandResult;
use crate::answer::nothing_fits::{short, smallest};
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
    page: Option<&Page>,
) -> CommandResult {
    let pricing = pricing(setting)?;
    let Some(least) = least(&pricing, space) else {
        return Err(no_configuration::answer(setting, space, &|| limits.stop().is_some()));
    };
    let limit = setting.limit.map_or(u64::MAX, |limit| limit.0);
    page.iter().for_each(|page| print_stages(&least, limit, page));
    let open = "other degrees were not measured, or take longer schedules";
    let sizes = (least.most(), Bytes(limit));
    let mut diagnostic = smallest(is_proved, sizes, &binding(&least), open)
        .fact("shortfall_bytes", short("stage", least.bytes.iter().copied(), limit))
        .fact("binds", binding(&least))
        .fact("plan", degrees(&least.degrees));
    ways(setting, (&pricing, &least), (space, limits), &mut diagnostic)?;
    Err(diagnostic)
}

/// Terms of a stage with their bytes.
fn terms(least: &Least, stage: usize) -> [(&'static str, Bytes); 4] {
    super::terms(&least.stages[stage].figures, f64::from(least.in_flight[stage]))
}

/// The largest term of the fullest stage.
fn binding(least: &Least) -> String {
    let fullest = (0..least.bytes.len()).max_by_key(|stage| least.bytes[*stage]).unwrap_or(0);
    let largest = terms(least, fullest).into_iter().max_by_key(|term| term.1);
    largest.map_or_else(String::new, |(name, bytes)| format!("{name} of stage {fullest}: {bytes}"))
}

fn print_stages(least: &Least, limit: u64, page: &Page) {
    let row = |stage: usize| {
        let figures = &least.stages[stage];
        let terms = terms(least, stage).map(|(_, bytes)| bytes.to_string());
        let need = least.bytes[stage];
        let mut row = vec![
            stage.to_string(),
            format!(
                "{} ({} recomputed, {} ZeRO 3)",
                figures.blocks, figures.recomputed, figures.fully_sharded
            ),
        ];
        row.extend(terms);
        row.extend([Bytes(need).to_string(), Bytes(need.saturating_sub(limit)).to_string()]);
        row
    };
    let columns = Column::row(
        "#stage | blocks | #states | #activations | #ends | #working room | #needs | \
         #short of",
    );
    page.talk_table(&columns, (0..least.stages.len()).map(row).collect());
}

/// Tells changes that fit, each planned by the same search.
fn ways(
    setting: &Setting,
    (pricing, least): (&LayerPricing<'_>, &Least),
    (space, limits): (&Space, &Options),
    error: &mut Diagnostic,
) -> Result<(), Diagnostic> {
    let in_time = || limits.stop().is_none();
    let options = Options { most_replays: REPLAYS, ..limits.clone() };
    let fitting =
        |pricing: &LayerPricing<'_>, space: &Space| -> Result<Option<Judged>, Diagnostic> {
            Ok(solve(pricing, space, &options)?.best)
        };
    let step =
        |space: &Space| Ok(fitting(pricing, space)?.map(|plan| format!("{} or less", plan.step)));
    without_pins(space, step, &in_time, error)?;
    let moved = LayerPricing { offload: Offload::Optimizer, ..*pricing };
    let plan = fitting(&moved, space)?;
    let is_found = plan.is_some();
    let how = "with optimizer states on the hosts (without --no-offload) a plan fits: step time";
    error.loosened("offload", plan.map(|plan| format!("{how} {} or less", plan.step)), in_time());
    if !is_found {
        error.hints.push(match fitting(&LayerPricing { host_memory: &[], ..moved }, space)? {
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
            error.hints.push(format!(
                "links of {n} devices were not measured: more devices are not tried"
            ));
            break;
        }
        let more = Space { devices: vec![n], ..space.clone() };
        if let Some(plan) = fitting(pricing, &more)? {
            let way = format!("on {n} such devices a plan fits: step time {} or less", plan.step);
            error.loosened("devices", Some(way), true);
            break;
        }
    }
    let larger = LayerPricing { limit: Some(least.most()), ..*pricing };
    if let Some(plan) = fitting(&larger, space)? {
        let room = setting.room_for(least.most());
        let way = format!("with {room} a plan fits: step time {} or less", plan.step);
        error.loosened("memory", Some(way), true);
    }
    Ok(())
}

/// What binds even with the optimizer states on the hosts.
fn host_term(moved: &LayerPricing<'_>, space: &Space) -> String {
    match least(moved, space) {
        None => "optimizer states on hosts are not enough".to_owned(),
        Some(least) => format!(
            "with optimizer states on hosts the smallest plan still needs {} per device, most of it {}",
            least.most(),
            binding(&least)
        ),
    }
}
