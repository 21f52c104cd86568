//! Where no plan fits: how much is missing on which rank, what binds, and what would fit.

use cost_model::runs::forms::model::{Offload, Pricing};
use cost_model::runs::forms::system::System;
use cost_model::runs::judge::costs::PipelineCosts;
use cost_model::runs::judge::memory::{Holding, HoldingKind};
use cost_model::runs::judge::{judge_plan, over_limit};
use cost_model::runs::oracle;
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::DeviceId;
use ir::plan::Plan;
use ir::tensor::DType;
use ir::units::Bytes;
use planner::training::search_3d::min_memory::{Least, least};
use planner::training::search_3d::space::{Configuration, Pins, RecomputeRule, Space};
use planner::training::search_3d::{Cuts, Found, Options, solve};

use super::answer::{degrees, ranks_of_stages};
use super::no_configuration;
use crate::answer::exit::CommandResult;
use crate::answer::nothing_fits::{exceeded, short, smallest};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::inputs::run::setting::Setting;
use crate::request::executor;

/// The answer: exit code 4 where it is proved that nothing fits.
pub fn answer(
    setting: &Setting,
    space: &Space,
    (found, is_proved, options): (&Found, bool, &Options),
    page: Option<&Page>,
) -> CommandResult {
    let (least, mut diagnostic) = misfit(setting, space, (found, is_proved, options))?;
    let limit = setting.limit.map_or(u64::MAX, |limit| limit.0);
    page.iter().for_each(|page| print_ranks(&least, limit, page));
    ways(setting, space, (&least, options), &mut diagnostic)?;
    Err(diagnostic)
}

/// The plan that needs least of those that do not fit, and by how much; without what would fit.
///
/// # Errors
/// Where no plan can be counted, or none exists.
pub(super) fn misfit(
    setting: &Setting,
    space: &Space,
    (found, is_proved, options): (&Found, bool, &Options),
) -> Result<(Least, Diagnostic), Diagnostic> {
    if found.counts.n_out_of_range > 0 {
        return Err(out_of_range(found));
    }
    let Some(least) = least(&setting.pricing(), space, options) else {
        return Err(match options.stop() {
            Some(_) => unexplained(is_proved),
            None if !is_proved => left_out(found),
            None => no_configuration::answer(setting, space, &|| options.stop().is_some()),
        });
    };
    let on_hosts = least_on_hosts(setting, space, options);
    let on_hosts = on_hosts.filter(|on_hosts| on_hosts.bytes() < least.bytes());
    let hosts = if on_hosts.is_some() { ", with optimizer states on hosts" } else { "" };
    let least = on_hosts.unwrap_or(least);
    let limit = setting.limit.map_or(u64::MAX, |limit| limit.0);
    let worst = least.ranks.iter().max_by_key(|rank| rank.need);
    let binding = worst.and_then(|rank| rank.alive.first());
    let most =
        binding.map_or_else(String::new, |holding| in_words(holding, !hosts.is_empty())) + hosts;
    let device = setting.cluster.devices.first();
    let sizes = (Bytes(least.bytes()), Bytes(limit));
    let open = "other layer splits and longer schedules are not excluded";
    let diagnostic = smallest(is_proved, sizes, &most, open)
        .fact("usable", usable(setting))
        .fact("checked", checked(found, is_proved))
        .fact("capacity", device.and_then(|device| device.capacity).unwrap_or(Bytes::ZERO))
        .fact("context", device.map_or(Bytes::ZERO, |device| device.context))
        .fact("margin", device.map_or(Bytes::ZERO, |device| device.reserve))
        .fact("shortfall_bytes", short("rank", least.ranks.iter().map(|rank| rank.need), limit))
        .fact("binds", binding.map(ToString::to_string).unwrap_or_default())
        .fact("plan", degrees(&least.configuration));
    Ok((least, diagnostic))
}

/// `79.5 GiB of 80.0 GiB per device (less 512 MiB driver context and 4.0 GiB margin)`.
fn usable(setting: &Setting) -> String {
    let limit = setting.limit.unwrap_or(Bytes::ZERO);
    let device = setting.cluster.devices.iter().find(|device| device.capacity.is_some());
    let Some(capacity) = device.and_then(|device| device.capacity) else {
        return format!("{limit} per device");
    };
    if setting.request.max_memory_bytes.is_some() {
        return format!("{limit} of {capacity} per device (--max-memory-per-device)");
    }
    let of = |what: fn(&ir::cluster::Device) -> Bytes| device.map_or(Bytes::ZERO, what);
    let margin = match of(|device| device.reserve) {
        Bytes(0) => ", no margin".to_owned(),
        margin => format!(" and {margin} margin"),
    };
    format!(
        "{limit} of {capacity} per device (less {} driver context{margin})",
        of(|device| device.context)
    )
}

/// How many parallelism settings were looked at.
fn checked(found: &Found, is_proved: bool) -> String {
    let (all, seen) = (found.counts.n_shapes, found.counts.n_expanded);
    let settings = if all == 1 { "setting" } else { "settings" };
    match is_proved || seen >= all {
        true => format!("all {all} parallelism {settings}"),
        false => format!("{seen} of {all} parallelism {settings}"),
    }
}

/// The plan that needs least with optimizer states on hosts, where they may lie there and hosts have room.
fn least_on_hosts(setting: &Setting, space: &Space, options: &Options) -> Option<Least> {
    let may_move = space.pins.may_offload && setting.offload == Offload::Nothing;
    let space = space.keeping(Offload::Optimizer).filter(|_| may_move)?;
    let pricing = Pricing { offload: Offload::Optimizer, ..setting.pricing() };
    let least = least(&pricing, &space, options)?;
    let fitting = Pricing { limit: Some(Bytes(least.bytes())), ..pricing };
    let one = Options { n_plans: 1, cuts: Cuts::OfPlans, ..options.clone() };
    (!solve(&fitting, &space, &one).plans.is_empty()).then_some(least)
}

/// `weights, gradients and optimizer of stage 0 (2.5 GiB)`.
fn in_words(holding: &Holding, on_hosts: bool) -> String {
    let what = match holding.what {
        HoldingKind::Persistent if on_hosts => "weights and gradients",
        HoldingKind::Persistent => "weights, gradients and optimizer",
        HoldingKind::Stash => "activations",
        HoldingKind::Temporary => "temporary buffers",
        other => other.name(),
    };
    let stage =
        holding.stage.map_or_else(String::new, |stage| format!(" of stage {}", stage.index()));
    format!("{what}{stage} ({})", Bytes(holding.bytes))
}

/// What fits nowhere but can't be counted either is no proof.
fn out_of_range(found: &Found) -> Diagnostic {
    let message =
        "durations or bytes are too large to be counted, so nothing is known of what fits";
    Diagnostic::input("out-of-range", message)
        .fact("configurations", found.counts.n_out_of_range)
        .hint("check the rates and sizes of the cluster file and the model")
}

/// A schedule that is too long to search proves nothing.
fn left_out(found: &Found) -> Diagnostic {
    let message = "no plan was found: schedules with this many micro-batches are not searched";
    Diagnostic::error(Blame::NotFound, "no-plan", message)
        .fact("configurations", found.counts.n_too_large)
        .hint("lower --global-batch, or take larger micro-batches")
}

/// Nothing fits, and no time is left to say by how much.
fn unexplained(is_proved: bool) -> Diagnostic {
    let what = if is_proved { "no plan fits" } else { "no plan was found that fits" };
    exceeded(is_proved, format!("{what}; the time is over before it is known by how much"))
        .hint("give it more time with --time-limit, and it says what is missing and what would fit")
}

fn print_ranks(least: &Least, limit: u64, page: &Page) {
    let stages = ranks_of_stages(&least.configuration, &least.fitted);
    let row = |(index, rank): (usize, &planner::training::search_3d::min_memory::RankNeed)| {
        vec![
            index.to_string(),
            stages.get(index).cloned().unwrap_or_default(),
            Bytes(rank.need).to_string(),
            Bytes(limit).to_string(),
            Bytes(rank.need.saturating_sub(limit)).to_string(),
            rank.alive.first().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    let columns = Column::row("#rank | blocks | #needs | #has | #short of | most of it");
    let rows = least.ranks.iter().enumerate().map(row).collect();
    page.talk_table(&columns, rows);
}

/// Tells the smallest changes that fit, each found by the same search.
fn ways(
    setting: &Setting,
    space: &Space,
    (least, options): (&Least, &Options),
    error: &mut Diagnostic,
) -> Result<(), Diagnostic> {
    let pricing = setting.pricing();
    let one = Options { n_plans: 1, cuts: Cuts::OfPlans, ..options.clone() };
    let in_time = || options.stop().is_none();
    let fitting = |space: &Space| {
        in_time().then(|| solve(&pricing, space, &one).plans.into_iter().next()).flatten()
    };
    let step = |space: &Space| Ok(fitting(space).map(|plan| plan.step.to_string()));
    without_pins(space, step, &in_time, error)?;
    let is_moved = least.configuration.offload == Offload::Optimizer;
    if setting.offload == Offload::Nothing && !is_moved && in_time() {
        let moved = Pricing { offload: Offload::Optimizer, ..pricing };
        on_hosts(&moved, space, (options, &one), error)?;
    }
    if let Some(dtype) = narrower_type(setting).filter(|_| in_time()) {
        let way = narrower(setting, space, (&one, dtype));
        error.loosened("dtype", way, in_time());
    }
    if let Some(joined) = joined(setting) {
        let most = space.devices.iter().copied().max().unwrap_or(1);
        let mut more = (1..=6).map(|power| most.saturating_mul(1 << power));
        let found =
            more.find_map(|n| Some((n, fitting(&Space { devices: vec![n], ..space.clone() })?)));
        let way = found.map(|(n, plan)| {
            let joined = if u64::from(n) > pricing.system.per_host { &joined } else { "" };
            let pins = pinned(&plan.configuration);
            let hosts = match plan.configuration.offload {
                Offload::Optimizer | Offload::Parameters => ", with optimizer states on hosts",
                Offload::Nothing => "",
            };
            // How fast hangs on what they share of their host, which no file states yet.
            format!("on {n} such devices{joined} a plan fits{hosts}: {pins}")
        });
        error.loosened("devices", way, in_time());
    }
    let room = setting.room_for(Bytes(least.bytes()));
    error.loosened("memory", Some(format!("with {room} the smallest plan fits")), true);
    Ok(())
}

/// Tells which pins keep plans from fitting, each alone: `step` is that of a plan of a space, in words.
pub fn without_pins(
    space: &Space,
    step: impl Fn(&Space) -> Result<Option<String>, Diagnostic>,
    in_time: &dyn Fn() -> bool,
    error: &mut Diagnostic,
) -> Result<(), Diagnostic> {
    for (name, pins) in loosened(&space.pins) {
        let step = step(&Space { pins, ..space.clone() })?;
        let way = step.map(|step| format!("without --pin {name} a plan fits: step time {step}"));
        error.loosened(&format!("pin {name}"), way, in_time());
    }
    Ok(())
}

/// How devices beyond those of a host are joined in what is priced, in words: as hosts of the cluster are,
/// or by the link of its only host. `None` where no link joins the devices, or one that joins no more of them.
pub fn joined(setting: &Setting) -> Option<String> {
    let cluster = &setting.cluster;
    let last = cluster.devices.len().checked_sub(1).map(DeviceId::new)?;
    let link = &cluster.route(DeviceId::new(0), last)?.kind.name;
    let has_hosts = cluster.devices.len() as u64 > setting.system.per_host;
    match has_hosts {
        true => Some(String::new()),
        false => {
            importers::cluster::bridged(link).is_none().then(|| format!(", all joined by {link},"))
        }
    }
}

/// The degrees of a configuration as flags, so that a search of another size finds it.
fn pinned(configuration: &Configuration) -> String {
    let degrees = &configuration.degrees;
    let mut pins = vec![
        ("data", u64::from(degrees.data)),
        ("tensor", degrees.tensor.into()),
        ("pipeline", degrees.pipeline.into()),
        ("micro-batch", degrees.micro_batch),
        ("zero", degrees.zero as u64),
    ];
    let ranks = [("context", degrees.context), ("expert", degrees.expert)];
    let shared = ranks.into_iter().filter(|(_, n)| *n > 1);
    pins.extend(shared.map(|(name, n)| (name, u64::from(n))));
    pins.extend(degrees.expert_tensor.map(|n| ("expert-tensor", u64::from(n))));
    let flags: Vec<String> = pins.iter().map(|(name, n)| format!("--pin {name}={n}")).collect();
    flags.join(" ")
}

/// Tells what fits with the optimizer states on the hosts, or what binds even then.
fn on_hosts(
    moved: &Pricing<'_>,
    space: &Space,
    (options, one): (&Options, &Options),
    error: &mut Diagnostic,
) -> Result<(), Diagnostic> {
    let mut spaces = Vec::new();
    if let Some(space) = space.keeping(Offload::Optimizer) {
        spaces.push((space, "offload", "without --no-offload".to_owned()));
    }
    if let Some(capabilities) = space.pins.capabilities {
        let pins = Pins { capabilities: None, ..space.pins.clone() };
        let how = format!("--for any, as {} can't leave them there", capabilities.target);
        spaces.push((Space { pins, ..space.clone() }, "executor", how));
    }
    for (space, constraint, how) in &spaces {
        let plan = solve(moved, space, one).plans.into_iter().next();
        let way = plan.map(|plan| {
            let step = plan.step;
            format!("with optimizer states on the hosts ({how}) a plan fits: step time {step}")
        });
        let is_found = way.is_some();
        error.loosened(constraint, way, options.stop().is_none());
        if is_found {
            return Ok(());
        }
    }
    if let Some((space, ..)) = spaces.first() {
        error.hints.extend(full_hosts(moved, space, options)?);
    }
    Ok(())
}

/// What would fit if hosts had room for the optimizer states, and what they have.
fn full_hosts(
    moved: &Pricing<'_>,
    space: &Space,
    options: &Options,
) -> Result<Option<String>, Diagnostic> {
    let system = System { host_memory: Vec::new(), ..moved.system.clone() };
    let one = Options { n_plans: 1, cuts: Cuts::OfPlans, ..options.clone() };
    let found = solve(&Pricing { system: &system, ..*moved }, space, &one);
    let Some(best) = found.plans.first() else { return Ok(host_term(moved, space, options)) };
    let plan = best.plan()?;
    Ok(Some(hosts_are_full(&oracle::costs(moved, &plan)?, &plan)))
}

/// Which host has too little memory for what a plan leaves there.
pub fn hosts_are_full(costs: &PipelineCosts, plan: &Plan) -> String {
    let full = match judge_plan(costs, plan) {
        Ok(judged) => over_limit(&judged.report),
        Err(violation) => Some(violation),
    };
    let why = full.map_or_else(String::new, |full| format!("{}: {full}", full.code()));
    format!("with more memory in the hosts their share of the states fits ({why})")
}

/// The type of 16 bits that the devices compute in, where the run was asked for in more.
fn narrower_type(setting: &Setting) -> Option<DType> {
    let has = |dtype: &DType| setting.system.device.peak.contains_key(dtype);
    let is_wide = setting.numbers.dtype.bits() > 16;
    [DType::Bf16, DType::F16].into_iter().find(has).filter(|_| is_wide)
}

/// The same run in a type of 16 bits.
fn narrower(
    setting: &Setting,
    space: &Space,
    (options, dtype): (&Options, DType),
) -> Option<String> {
    let mut setting = setting.clone();
    setting.numbers.dtype = dtype;
    // Other kernels may be had in it.
    setting.stack = executor::stack_on(&setting.stack.name, &setting.cluster).ok()?;
    setting.fit_stack();
    let found = solve(&setting.pricing(), space, options);
    let plan = found.plans.first()?;
    Some(format!("with --dtype {dtype} a plan fits: step time {}", plan.step))
}

/// What binds even with the optimizer states on the hosts.
fn host_term(moved: &Pricing<'_>, space: &Space, options: &Options) -> Option<String> {
    let need = Bytes(least(moved, space, options)?.bytes());
    Some(format!("with optimizer states on hosts the smallest plan still needs {need} per device"))
}

/// Names of pins, with what takes each away, in the order in which a configuration is chosen.
type Freed = (&'static str, fn(&mut Pins));

const FREED: [Freed; 15] = [
    ("data", |pins| pins.data = None),
    ("tensor", |pins| pins.tensor = None),
    ("pipeline", |pins| pins.pipeline = None),
    ("context", |pins| pins.context = None),
    ("expert", |pins| pins.expert = None),
    ("expert-tensor", |pins| pins.expert_tensor = None),
    ("expert-overlap", |pins| pins.expert_overlap = None),
    ("micro-batch", |pins| pins.micro_batch = None),
    ("virtual-stages", |pins| pins.virtual_stages = None),
    ("schedule", |pins| pins.orders.clear()),
    ("recompute", |pins| pins.recompute = RecomputeRule::Fitted),
    ("zero", |pins| pins.zero = None),
    ("sequence-parallel", |pins| pins.sequence = None),
    ("split", |pins| pins.split = None),
    ("mesh", |pins| pins.mesh = None),
];

/// The pins with one of them taken away.
pub fn loosened(pins: &Pins) -> Vec<(&'static str, Pins)> {
    let without = |(name, free): &Freed| {
        let mut freed = pins.clone();
        free(&mut freed);
        (*name, freed)
    };
    FREED.iter().map(without).filter(|(_, freed)| freed != pins).collect()
}

/// What is pinned, each with the pins up to it: those that come later are taken away.
pub fn first_pins(pins: &Pins) -> Vec<(&'static str, Pins)> {
    let mut all = Vec::new();
    let mut left = pins.clone();
    for (name, free) in FREED.iter().rev() {
        let up_to = left.clone();
        free(&mut left);
        if left != up_to {
            all.push((*name, up_to));
        }
    }
    all.reverse();
    all
}
