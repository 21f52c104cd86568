//! The first screen of a fleet.

use documents::plan::fleet::{
    AlternativeDocument, FleetDocument, FleetFigures, RoleDocument, WorkerDocument,
};
use documents::report::FoundDocument;
use ir::units::Bytes;
use planner::run::StopReason;
use planner::serving::fleet::Objective;

use super::setting::Setting;
use super::words::{latency, names, statistic, thousands, workers};
use crate::answer::page::Column;
use crate::answer::screen::Screen;
use crate::answer::words::rate;
use crate::inputs::load;

/// The first screen.
pub(super) fn of(
    setting: &Setting,
    report: &FoundDocument<FleetFigures>,
    stop: StopReason,
) -> Screen {
    let run = &setting.run;
    let fleet = report.plan.fleet.clone().unwrap_or_default();
    let figures = &report.figures;
    let devices = load::describe(&run.cluster);
    let mut screen = Screen::new(format!("{}, {}, on {devices}", run.model.name, traffic(&fleet)));
    screen.fact("plan", workers(&fleet.workers));
    screen.fact("serves", serves(setting, &fleet, figures));
    let promises = &fleet.promises;
    let told = |seconds: Option<f64>, most: Option<f64>| {
        let promised =
            most.map_or_else(String::new, |most| format!("; promised {}", latency(most)));
        let of = format!("{} in a replay of the slowest workers{promised}", statistic(promises));
        seconds.map(|seconds| format!("{}, {of}", latency(seconds)))
    };
    screen.fact("TTFT", told(figures.ttft_seconds, promises.ttft_s));
    screen.fact("TPOT", told(figures.tpot_seconds, promises.tpot_s));
    screen.fact("proof", proof(setting, report, stop));
    for (name, worker) in names(&fleet.workers).iter().zip(&fleet.workers) {
        screen.fact("memory", memory(name, worker));
    }
    screen.fact("runs on", setting.asked.engine.name().to_owned());
    let costs = run.costs_from();
    screen.fact("based on", format!("{costs}; no interval: no fleet was measured"));
    instead(&mut screen, setting, figures);
    screen.target = Some(setting.asked.engine.name());
    screen
}

/// `50 requests/s of 4,000 tokens in, 1,000 out`.
fn traffic(fleet: &FleetDocument) -> String {
    let length = fleet.lengths.first();
    let [input, output] =
        length.map_or([0, 0], |of| [u64::from(of.input_tokens), u64::from(of.output_tokens)]);
    let of = format!("{} tokens in, {} out", thousands(input), thousands(output));
    match fleet.rate {
        Some(per_s) => format!("{per_s} requests/s of {of}"),
        None => format!("requests of {of}"),
    }
}

fn serves(setting: &Setting, fleet: &FleetDocument, figures: &FleetFigures) -> String {
    let n = format!("{} of {} devices", fleet.n_devices, setting.n_devices());
    let price =
        fleet.price_per_hour.map_or_else(String::new, |price| format!(", {price:.2} per hour"));
    let capacity = match setting.asked.objective {
        Objective::Throughput => String::new(),
        _ => format!(" (at most {:.4})", figures.capacity_requests_per_s),
    };
    let tokens = rate(figures.output_tokens_per_s);
    format!(
        "{:.4} requests/s{capacity}, {tokens} output tokens/s, on {n}{price}",
        fleet.requests_per_s
    )
}

/// Why no fleet is better.
fn proof(setting: &Setting, report: &FoundDocument<FleetFigures>, stop: StopReason) -> String {
    let figures = &report.figures;
    let (best, unit) = match setting.asked.objective {
        Objective::FewestDevices => ("fewest devices", "devices"),
        Objective::LowestPrice => ("lowest price", "per hour"),
        Objective::Throughput => ("most requests/s", "requests/s"),
    };
    let space = format!(
        "{} worker shapes on these devices, replicas in proportion",
        thousands(figures.n_enumerated)
    );
    let bound = report.plan.fleet.as_ref().and_then(|fleet| fleet.bound);
    match (figures.is_proved, bound) {
        (true, _) => format!("{best} of {space}"),
        (false, Some(bound)) => {
            format!("not proved: the bound is {bound:.4} {unit} of {space}; {}", stop.words())
        }
        (false, None) => format!("not proved; {}", stop.words()),
    }
}

/// Memory of the fullest device, and the limits of the engine.
fn memory(name: &str, worker: &WorkerDocument) -> String {
    let memory = &worker.memory;
    let tokens = thousands(worker.kv_tokens);
    let ranks = if worker.data > 1 { " per DP rank" } else { "" };
    let budget = match worker.role {
        RoleDocument::Decode => String::new(),
        _ => format!(", {} tokens per iteration", thousands(worker.max_num_batched_tokens)),
    };
    format!(
        "{name}: weights {}, KV cache {} ({tokens} tokens{ranks}) of {}; {} requests{budget}",
        Bytes(memory.weights),
        Bytes(memory.cache),
        Bytes(memory.capacity),
        worker.max_num_seqs
    )
}

/// Other fleets.
fn instead(screen: &mut Screen, setting: &Setting, figures: &FleetFigures) {
    let has_rate = setting.asked.rate.is_some();
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), latency);
    let row = |other: &AlternativeDocument| {
        let value = match (has_rate, other.n_devices, other.requests_per_s) {
            (_, None, _) => "-".to_owned(),
            (true, Some(n), _) => format!("{n}"),
            (false, _, served) => format!("{:.4}", served.unwrap_or(0.0)),
        };
        let text = other.why.clone().or_else(|| other.workers.clone()).unwrap_or_default();
        vec![other.name.clone(), value, time(other.ttft_seconds), time(other.tpot_seconds), text]
    };
    let rows: Vec<Vec<String>> = figures.alternatives.iter().map(row).collect();
    let columns = match has_rate {
        true => Column::row("instead | #devices | #TTFT | #TPOT | ~workers"),
        false => Column::row("instead | #requests/s | #TTFT | #TPOT | ~workers"),
    };
    screen.table(&columns, rows);
}
