//! Steps of workers by measured kernels: the price of an iteration beside AIConfigurator's estimate.

use cost_model::kernels::tables::{Answer, Class};
use cost_model::serving::aic::{Aggregated, Memo, Prices};
use cost_model::serving::{Chunk, Iteration, IterationTime};
use documents::plan::fleet::{RoleDocument, WorkerDocument};
use planner::serving::serving_fleet::Reason;
use serde_json::{Value, json};

use super::setting::Setting;
use super::tables::mean;
use super::words::{latency, shape};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;

/// A step of a worker.
struct Step {
    name: String,
    own_s: f64,
    aic_s: f64,
    /// AIConfigurator's kernels, with their times in all layers.
    kernels: Vec<(&'static str, Answer)>,
}

/// Steps of a worker by tables; `None` where the fleet is priced by forms.
struct Composed {
    steps: Vec<Step>,
    /// AIConfigurator's estimate of an aggregated worker.
    aggregated: Option<Aggregated>,
}

/// Prompt tokens of a mixed step, and requests that decode in the mean (Little), on an attention
/// data-parallel rank.
fn load(setting: &Setting, worker: &WorkerDocument) -> (u64, u64) {
    let lengths = mean(&setting.asked.traffic.lengths);
    let streams = f64::from(worker.data.max(1)) * worker.stages.len().max(1) as f64;
    let decoding_s = worker.tpot_s.unwrap_or(0.0) * lengths.generated.saturating_sub(1) as f64;
    let running = (worker.requests_per_s / streams * decoding_s).round().max(1.0);
    (lengths.prompt.min(worker.max_num_batched_tokens), running as u64)
}

fn composed(setting: &Setting, worker: &WorkerDocument) -> Result<Option<Composed>, Reason> {
    let Some(tables) = &setting.tables else { return Ok(None) };
    let composition = tables.composition(&setting.run, &shape(worker))?;
    let lengths = mean(&setting.asked.traffic.lengths);
    let own = Prices::own(composition.clone(), Memo::default());
    let (context, running) = load(setting, worker);
    let decoding_cached = running * (lengths.prompt + lengths.generated / 2);
    let prompt = vec![Chunk { new: context, cached: (lengths.prompt - context) / 2 }];
    let step = |name: String, iteration: &Iteration, aic: (Answer, Vec<_>)| Step {
        name,
        own_s: own.seconds(iteration),
        aic_s: aic.0.seconds,
        kernels: aic.1,
    };
    let prefill = || {
        let chunk = Chunk { new: lengths.prompt, cached: 0 };
        let of = composition.prefill(1, lengths.prompt, 0);
        step(
            "T_prefill, 1 prompt".to_owned(),
            &Iteration { prompts: vec![chunk], ..Iteration::default() },
            (of, composition.kernels_of_prefill(1, lengths.prompt, 0)),
        )
    };
    let mixed = || {
        let of = composition.mixed(context, running, lengths);
        step(
            format!("T_mix, {context} prompt tokens, {running} decoding"),
            &Iteration { prompts: prompt.clone(), n_decoding: running, decoding_cached },
            (of, composition.kernels_of_mixed(context, running, lengths)),
        )
    };
    let decode = || {
        let cached = lengths.prompt + lengths.generated / 2 + 1;
        step(
            format!("T_gen, {running} decoding"),
            &Iteration { n_decoding: running, decoding_cached, ..Iteration::default() },
            (composition.decode(running, cached), composition.kernels_of_decode(running, cached)),
        )
    };
    let (steps, aggregated) = match worker.role {
        RoleDocument::Prefill => (vec![prefill()], None),
        RoleDocument::Decode => (vec![decode()], None),
        RoleDocument::Aggregated => {
            let of = composition.aggregated(running, context, lengths);
            (vec![prefill(), mixed(), decode()], Some(of))
        }
    };
    Ok(Some(Composed { steps, aggregated }))
}

/// Kernels by how their times were found: `measured: a, b; interpolated: c`.
fn classes(kernels: &[(&'static str, Answer)]) -> Vec<(Class, Vec<&'static str>)> {
    let mut classes: Vec<(Class, Vec<&'static str>)> = Vec::new();
    for (name, answer) in kernels {
        match classes.iter_mut().find(|(class, _)| *class == answer.class) {
            Some((_, names)) => names.push(name),
            None => classes.push((answer.class, vec![name])),
        }
    }
    classes.sort_by_key(|(class, _)| *class);
    classes
}

/// Shows steps of workers with both prices; their JSON, by worker.
pub(super) fn explain(
    setting: &Setting,
    workers: &[(&String, &WorkerDocument)],
    (rows, page): (Rows, &Page),
) -> Vec<Value> {
    let mut all = Vec::new();
    let found = workers
        .iter()
        .filter_map(|(name, worker)| Some((*name, composed(setting, worker).ok().flatten()?)));
    let found: Vec<(&String, Composed)> = found.collect();
    if found.is_empty() {
        return all;
    }
    let cells = |(name, of): &(&String, Composed)| -> Vec<Vec<String>> {
        let row = |step: &Step| {
            let more = 100.0 * (step.aic_s / step.own_s - 1.0);
            vec![
                (*name).clone(),
                step.name.clone(),
                latency(step.own_s),
                latency(step.aic_s),
                format!("{more:+.1} %"),
            ]
        };
        of.steps.iter().map(row).collect()
    };
    let columns = Column::row("@worker | step | #own | #AIConfigurator | #difference");
    let cells: Vec<Vec<String>> = found.iter().flat_map(cells).collect();
    rows.table(&columns, cells.into_iter(), page);
    for (name, of) in &found {
        for step in &of.steps {
            let class = |(class, names): &(Class, Vec<&str>)| {
                format!("{} {}", class.name(), names.join(", "))
            };
            let classes: Vec<String> = classes(&step.kernels).iter().map(class).collect();
            page.line(&format!("{name}, {}: {}", step.name, classes.join("; ")));
        }
        if let Some(of) = &of.aggregated {
            page.line(&format!(
                "{name}, AIConfigurator's estimate: TTFT {}, TPOT {}, {:.1} output tokens/s",
                latency(of.first_token_s),
                latency(of.per_token_s),
                of.tokens_per_s
            ));
        }
        let steps: Vec<Value> = of.steps.iter().map(document).collect();
        let mut worker = json!({ "worker": name, "steps": steps });
        if let Some(of) = &of.aggregated {
            worker["aiconfigurator"] = json!({
                "ttft_s": of.first_token_s, "tpot_s": of.per_token_s,
                "output_tokens_per_s": of.tokens_per_s,
            });
        }
        all.push(worker);
    }
    all
}

fn document(step: &Step) -> Value {
    let kernel = |(name, answer): &(&str, Answer)| json!({ "name": name, "seconds": answer.seconds, "class": answer.class.name() });
    let kernels: Vec<Value> = step.kernels.iter().map(kernel).collect();
    json!({
        "step": step.name,
        "own_seconds": step.own_s,
        "aiconfigurator_seconds": step.aic_s,
        "kernels": kernels,
    })
}
