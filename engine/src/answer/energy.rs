//! What a plan draws and costs: from what its devices do, to its document and in words.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::energy::{Draw, Duty, least_joules};
use cost_model::kernels::plain_product::peak;
use documents::plan::PlanDocument;
use documents::plan::energy::{DutyDocument, EnergyDocument};
use documents::plan::request::RequestDocument;
use ir::cluster::{Cluster, DeviceKind, Running};
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::DeviceId;
use ir::tensor::DType;
use ir::units::{Nanos, Watts};

use crate::answer::page::{Column, Page};

/// Objectives of plans that have energy and prices.
pub const ENERGY: &str = "energy-per-token";
/// The second one.
pub const COST: &str = "cost-per-token";

/// Seconds of an hour.
const HOUR_S: f64 = 3600.0;
/// Tokens of which prices are told.
const MANY: f64 = 1e6;

/// Devices of a stage that do the same.
pub struct Share {
    /// The stage; `None` = they do nothing.
    pub stage: Option<usize>,
    /// One of them.
    pub device: DeviceId,
    /// How many they are.
    pub n_devices: u64,
    /// Seconds in which one computes, and sends or receives alone.
    pub seconds: [f64; 2],
    /// Operations of one.
    pub flops: f64,
}

/// What is common to all devices of a plan.
pub struct Whole<'a> {
    /// The devices.
    pub cluster: &'a Cluster,
    /// What was asked for.
    pub request: &'a RequestDocument,
    /// What products run in.
    pub dtype: DType,
    /// Of a step.
    pub step: Nanos,
    /// Tokens that go through the model in a step, and that it makes.
    pub tokens: [f64; 2],
    /// Operations, and bytes read from memory, that no plan goes without.
    pub least: [f64; 2],
}

/// Whether energy is told: where a flag asks for it, or the file says what devices draw or cost.
#[must_use]
pub fn is_asked(request: &RequestDocument, cluster: &Cluster) -> bool {
    let is_stated =
        |kind: &DeviceKind| kind.full_power.is_some() || kind.running != Running::default();
    request.least.is_some()
        || request.pue.is_some()
        || request.power_cap_w.is_some()
        || request.board_limit.is_some()
        || cluster.kinds.iter().any(is_stated)
}

/// Whether plans on several sets of devices at several board limits are compared by it.
#[must_use]
pub fn is_decided_by(request: &RequestDocument) -> bool {
    request.least.is_some() || request.power_cap_w.is_some()
}

/// Refuses to tell of energy or prices where the devices of a cluster have none.
///
/// # Errors
/// `no-power` for a kind of which neither watts nor the limit are known, `no-price` for one without a price
/// where that is to be least.
pub fn check(request: &RequestDocument, cluster: &Cluster) -> Result<(), Diagnostic> {
    if !is_asked(request, cluster) {
        return Ok(());
    }
    let kinds = || cluster.device_ids().map(|device| cluster.kind_of(device));
    if let Some(kind) = kinds().find(|kind| Draw::of(kind).is_none()) {
        let message = format!("what a `{}` draws is not known", kind.name);
        return Err(Diagnostic::input("no-power", message)
            .hint("state power_w of it under `running` or `kinds` in the cluster file"));
    }
    let unpriced = kinds().find(|kind| kind.running.price_per_hour.is_none());
    match unpriced.filter(|_| request.least.as_deref() == Some(COST)) {
        None => Ok(()),
        Some(kind) => {
            let message =
                format!("the least cost is asked for, and a `{}` has no price", kind.name);
            Err(Diagnostic::input("no-price", message)
                .hint("state price_per_hour of each kind under `running` in the cluster file"))
        }
    }
}

/// What a plan draws and costs; nothing where nobody asked.
#[must_use]
pub fn document(whole: &Whole<'_>, shares: &[Share]) -> Option<EnergyDocument> {
    if shares.is_empty() || !is_asked(whole.request, whole.cluster) {
        return None;
    }
    let pue = whole.request.pue.unwrap_or(1.0);
    let step_s = whole.step.seconds();
    let mut energy = EnergyDocument { pue, step_s, ..EnergyDocument::default() };
    let mut spent: BTreeMap<&str, f64> = BTreeMap::new();
    let mut price = Some(0.0);
    for share in shares.iter().chain(&idle(whole.cluster, shares)) {
        let kind = whole.cluster.kind_of(share.device);
        let draw = Draw::of(kind)?;
        let rate = peak(kind, whole.dtype).map_or(f64::INFINITY, |peak| peak.1.get());
        let duty = Duty::new(step_s, share.seconds, share.flops, rate);
        let n = share.n_devices as f64;
        energy.is_nominal |= draw.is_nominal;
        energy.joules_per_step += pue * n * duty.joules(&draw);
        energy.most_w += pue * n * duty.most_watts(&draw);
        price = price.zip(kind.running.price_per_hour).map(|(sum, per_hour)| sum + n * per_hour);
        for (what, seconds) in [
            ("products", duty.products_s),
            ("memory", duty.computing_s - duty.products_s),
            ("transfers", duty.transfers_s),
            ("waiting", duty.step_s - duty.computing_s - duty.transfers_s),
        ] {
            *spent.entry(what).or_default() += share.stage.map_or(0.0, |_| n * seconds);
        }
        energy.devices.push(DutyDocument {
            stage: share.stage.map(|stage| u32::try_from(stage).unwrap_or(u32::MAX)),
            kind: kind.name.clone(),
            n_devices: share.n_devices,
            computing_s: duty.computing_s,
            products_s: duty.products_s,
            transfers_s: duty.transfers_s,
            joules: n * duty.joules(&draw),
            most_w: duty.most_watts(&draw),
        });
    }
    let [tokens, made] = whole.tokens;
    energy.mean_w = energy.joules_per_step / step_s;
    energy.joules_per_token = energy.joules_per_step / tokens;
    energy.joules_per_output_token = (made > 0.0).then(|| energy.joules_per_step / made);
    energy.price_per_token = price.map(|price| price * step_s / HOUR_S / tokens);
    energy.least_joules_per_token = pue * least(whole, joules) / tokens;
    energy.least_price_per_token = energy.price_per_token.map(|_| least(whole, prices) / tokens);
    let most = spent.into_iter().reduce(|most, next| if next.1 > most.1 { next } else { most });
    most.map_or("", |part| part.0).clone_into(&mut energy.binds);
    Some(energy)
}

/// Devices of the cluster that no stage has, by kind: who leaves them out says so (`without`).
fn idle(cluster: &Cluster, shares: &[Share]) -> Vec<Share> {
    let mut left: BTreeMap<usize, (DeviceId, u64)> = BTreeMap::new();
    for device in cluster.device_ids() {
        let kind = cluster.devices[device.index()].kind.index();
        left.entry(kind).or_insert((device, 0)).1 += 1;
    }
    for share in shares {
        let kind = cluster.devices[share.device.index()].kind.index();
        if let Some(entry) = left.get_mut(&kind) {
            entry.1 = entry.1.saturating_sub(share.n_devices);
        }
    }
    let share = |(device, n_devices)| Share {
        stage: None,
        device,
        n_devices,
        seconds: [0.0; 2],
        flops: 0.0,
    };
    left.into_values().filter(|entry| entry.1 > 0).map(share).collect()
}

/// The least of a figure over the kinds of the cluster.
fn least(whole: &Whole<'_>, figure: fn(&DeviceKind, &Whole<'_>) -> Option<f64>) -> f64 {
    let used: BTreeSet<_> = whole.cluster.devices.iter().map(|device| device.kind).collect();
    let kinds = used.into_iter().filter_map(|kind| whole.cluster.kinds.get(kind.index()));
    let least = kinds.filter_map(|kind| figure(kind, whole)).fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.0 }
}

fn joules(kind: &DeviceKind, whole: &Whole<'_>) -> Option<f64> {
    least_joules(kind, whole.dtype, whole.least)
}

fn prices(kind: &DeviceKind, whole: &Whole<'_>) -> Option<f64> {
    let (_, peak) = peak(kind, whole.dtype)?;
    let [flops, bytes] = whole.least;
    let seconds = (flops / peak.get()).max(bytes / kind.memory_bandwidth?.get());
    Some(kind.running.price_per_hour? * seconds / HOUR_S)
}

/// Refuses a plan that draws more than its cap.
#[must_use]
pub fn above_cap(energy: &EnergyDocument, request: &RequestDocument) -> Option<Diagnostic> {
    let cap = request.power_cap_w.filter(|cap| energy.most_w > *cap)?;
    let message = format!("the plan draws up to {:.0} W, and the cap is {cap} W", energy.most_w);
    let error = Diagnostic::error(Blame::IllegalPlan, "power-cap", message);
    Some(error.fact("most_w", energy.most_w).fact("power_cap_w", cap))
}

/// Warns of boards that are to be limited before a plan is run.
#[must_use]
pub fn boards_to_limit(request: &RequestDocument, cluster: &Cluster) -> Option<Diagnostic> {
    let limit = request.board_limit.filter(|limit| *limit < 1.0)?;
    let kinds: BTreeMap<&str, Watts> = cluster
        .device_ids()
        .map(|device| cluster.kind_of(device))
        .filter_map(|kind| Some((kind.name.as_str(), kind.power?)))
        .collect();
    let each = kinds.iter().map(|(name, power)| format!("{name}: {}", watts(power.get())));
    let message = format!(
        "the plan is for boards that are limited to {:.1} % of what they may draw; nothing in this file \
         limits them",
        100.0 * limit
    );
    Some(
        Diagnostic::warning("board-limit", message)
            .fact("limits", each.collect::<Vec<_>>())
            .hint("set the limit of each board before the run, such as by nvidia-smi -pl WATTS"),
    )
}

/// Watts as people read them.
pub fn watts(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} MW", value / 1e6),
        value if value >= 1e4 => format!("{:.1} kW", value / 1e3),
        value => format!("{value:.0} W"),
    }
}

/// Joules as people read them.
pub fn joules_text(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} MJ", value / 1e6),
        value if value >= 1e3 => format!("{:.2} kJ", value / 1e3),
        value if value >= 1.0 => format!("{value:.2} J"),
        value => format!("{:.3} mJ", value * 1e3),
    }
}

/// Energy, power and price in one line.
#[must_use]
pub fn fact(energy: &EnergyDocument) -> String {
    let price = energy
        .price_per_token
        .map_or_else(String::new, |price| format!(", {:.4} per million tokens", price * MANY));
    let nominal = if energy.is_nominal { " (nominal)" } else { "" };
    format!(
        "{} per token, {} at the wall on average, {} at most{price}{nominal}",
        joules_text(energy.joules_per_token),
        watts(energy.mean_w),
        watts(energy.most_w)
    )
}

/// Energy and price in one sentence.
#[must_use]
pub fn sentence(energy: &EnergyDocument) -> String {
    let price = energy
        .price_per_token
        .map_or_else(String::new, |price| format!("; {:.4} for a million tokens", price * MANY));
    let nominal = if energy.is_nominal { "; watts are nominal" } else { "" };
    format!(
        "energy: {} per token, at least {} on these kinds of devices; {} on average, at most {} at the wall (PUE \
         {}){price}{nominal}; most time goes to {}",
        joules_text(energy.joules_per_token),
        joules_text(energy.least_joules_per_token),
        watts(energy.mean_w),
        watts(energy.most_w),
        energy.pue,
        energy.binds
    )
}

/// Prints energy and price of a plan that states them, in one sentence.
pub fn told(plan: &PlanDocument, page: &Page) {
    plan.energy.iter().for_each(|energy| page.line(&sentence(energy)));
}

/// Prints what the devices of each stage do and draw, where a plan states it.
pub fn print(plan: &PlanDocument, page: &Page) {
    let Some(energy) = &plan.energy else { return };
    let share = |seconds: f64| format!("{:.1} %", 100.0 * seconds / energy.step_s);
    let row = |duty: &DutyDocument| {
        vec![
            duty.stage.map_or_else(|| "-".to_owned(), |stage| stage.to_string()),
            format!("{} x {}", duty.n_devices, duty.kind),
            share(duty.products_s),
            share(duty.computing_s - duty.products_s),
            share(duty.transfers_s),
            watts(duty.joules / energy.step_s / duty.n_devices.max(1) as f64),
            watts(duty.most_w),
        ]
    };
    let columns = Column::row(
        "#stage | devices | #products | #memory | #transfers | #each draws \
             | #at most",
    );
    page.table(&columns, energy.devices.iter().map(row).collect());
    page.line(&sentence(energy));
}
