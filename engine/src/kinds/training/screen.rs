//! The first screen of a plan of a training run.

use std::ops::Range;

use cost_model::runs::forms::interval::Figure;
use cost_model::runs::forms::model::Offload;
use cost_model::runs::forms::model::counts::n_parameters;
use documents::plan::PlanDocument;
use ir::card::{ModelCard, Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism};
use ir::units::{Bytes, Nanos};
use planner::training::search::Wider;
use planner::training::search_3d::fit::Fitted;
use planner::training::search_3d::judge::{Judged, Parts};
use planner::training::search_3d::simplest::EQUAL;

use super::answer::{Answer, most_lost};
use super::losses;
use crate::answer::energy;
use crate::answer::page::Column;
use crate::answer::screen::{Screen, figure};
use crate::answer::words::{count, range, rate};
use crate::inputs::load;
use crate::inputs::run::numbers::Numbers;
use crate::inputs::run::setting::Setting;
use crate::request::PlanRequest;
use crate::request::executor::Executor;

/// Other plans that are shown.
const SHOWN: usize = 5;

impl Setting {
    /// `gpt (12 layers, 1.3 B parameters), 512 x 2048 tokens, on 8 x h100_sxm5_80gb`.
    pub(super) fn title(&self) -> String {
        let samples = match self.has_tokens {
            true => format!("{} x {} tokens", self.global_batch, self.sequence),
            false => format!("{} samples", self.global_batch),
        };
        let layers = if self.model.is_of_parts() { "parts" } else { "layers" };
        let (name, n_layers) = (&self.model.name, self.model.n_blocks());
        let parameters = count(n_parameters(&self.model)).replace(" G", " B");
        let devices = load::describe(&self.cluster);
        format!("{name} ({n_layers} {layers}, {parameters} parameters), {samples}, on {devices}")
    }

    /// `megatron-core, bf16, adamw`.
    pub(super) fn software(&self) -> String {
        let Numbers { dtype, optimizer, .. } = self.numbers;
        let request = &self.request;
        let adapter = request.adapter.as_ref().map(|text| format!(", {text}"));
        let frozen = request.freeze.as_ref().map(|text| format!(", {text} frozen"));
        let tuned: String = adapter.into_iter().chain(frozen).collect();
        format!("{}, {dtype}, {}{tuned}", self.stack.name, optimizer.name())
    }

    /// Where a step lies in eight of ten cases, and the rate and utilisation that follow from it.
    pub(super) fn step_fact(
        &self,
        interval: Option<String>,
        step: Nanos,
        n_devices: u64,
    ) -> String {
        let tokens = self.tokens_per_s(step);
        let each = rate(tokens / n_devices.max(1) as f64);
        let share = self.utilisation(step, n_devices);
        let share = match share.is_finite() {
            true => format!(", MFU {}", percent_of(share)),
            false => String::new(),
        };
        let rest = format!("{} {}/s, {each}/device{share}", rate(tokens), self.unit());
        figure(step, interval, &rest)
    }

    /// Where a peak lies in eight of ten cases, and what a device leaves of its memory.
    pub(super) fn memory_fact(&self, interval: Option<String>, peak: Bytes) -> String {
        let usable =
            self.limit.map_or_else(String::new, |limit| match self.request.max_memory_bytes {
                Some(_) => format!("of {limit} allowed per device"),
                None => format!("of {limit} usable per device"),
            });
        figure(peak, interval, &usable)
    }

    /// Warns where the upper end of the peak's interval does not fit.
    pub(super) fn upper_end(&self, degrees: &Parallelism, peak: Bytes) -> Option<Diagnostic> {
        let usable = self.limit.filter(|_| self.layers.is_none())?;
        let device = self.cluster.devices.iter().min_by_key(|device| device.memory_limit())?;
        let whole = device.capacity?.get().saturating_sub(device.context.get());
        let request = &self.request;
        // Who states a margin leaves it for this.
        let is_stated = request.kept_free.is_some() || request.max_memory_bytes.is_some();
        let limit = if is_stated { Bytes(whole) } else { usable };
        let high = Bytes(self.peak_interval(peak, degrees).high_bytes);
        if high <= limit {
            return None;
        }
        let message = format!("the upper end of the memory interval, {high}, does not fit");
        let warning = Diagnostic::warning("memory-interval", message);
        // A plan that leaves as much room as its interval needs.
        let room = limit.as_f64() * peak.as_f64() / high.as_f64();
        let margin =
            (100.0 * (1.0 - (room + device.context.as_f64()) / device.capacity?.as_f64())).ceil();
        Some(match self.request.max_memory_bytes {
            Some(_) => warning.hint(format!("plan with --max-memory-per-device {}", room as u64)),
            // No plan leaves so much.
            None if self.request.kept_free == Some(0.0) => warning,
            None => warning.hint(format!(
                "plan for it with --memory-margin {margin:.0}%, if a plan still fits"
            )),
        })
    }
}

impl Answer<'_> {
    /// What a person reads first.
    pub(super) fn screen(
        &self,
        plan: &PlanDocument,
        (written, request): (Vec<String>, &PlanRequest),
    ) -> Screen {
        let (setting, best) = (self.setting, self.best);
        let configuration = &best.configuration;
        let degrees = &configuration.degrees;
        let mut screen = Screen::new(setting.title());
        screen.warnings = self.warnings();
        (screen.written, screen.on, screen.is_whole) = (written, request.on(), request.all);
        screen.fact(
            "plan",
            format!("{}; {}", words(degrees, Shown::of(&setting.model)), setting.software()),
        );
        screen.fact("", self.layers());
        let interval = range(Nanos(self.interval.low_ns), Nanos(self.interval.high_ns));
        screen.fact("step", setting.step_fact(Some(interval), best.step, best.n_devices()));
        let peak = Bytes(best.peak);
        let peak_interval = setting.peak_interval(peak, degrees);
        let interval = range(Bytes(peak_interval.low_bytes), Bytes(peak_interval.high_bytes));
        screen.fact("memory", setting.memory_fact(Some(interval), peak));
        let mut proof = self.recommendation().into_iter().chain([self.proof()]);
        screen.fact("proof", proof.next());
        screen.fact("", proof.next());
        screen.fact("time", shares(&best.parts, best.step));
        screen.fact("devices", self.left_idle());
        screen.fact("runs on", self.launchers());
        screen.fact("based on", self.evidence());
        screen.fact("energy", plan.energy.as_ref().map(energy::fact));
        screen.fact("devices", losses::fact(plan));
        self.instead(&mut screen);
        let any = || self.runs_on.as_ref()?.runs.first().copied().map(str::to_owned);
        let requested = request
            .executor
            .filter(|executor| *executor != Executor::ANY)
            .map(|executor| executor.text());
        let is_new = |target: &String| !request.exports.contains(target);
        if let Some(target) = requested.or_else(any).filter(is_new) {
            screen.export(&target);
        }
        screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
        screen
    }

    /// Micro-batches, layers of stages, recompute.
    fn layers(&self) -> String {
        let (fitted, configuration) = (&self.best.fitted, &self.best.configuration);
        let degrees = &configuration.degrees;
        let name = configuration.order.name();
        let mut words = vec![match degrees.virtual_stages {
            n if n > 1 && degrees.pipeline > 1 => {
                let passes = Parallelism { virtual_stages: 1, ..degrees.clone() };
                format!("{}, {n} virtual stages per rank", micro_batches(&passes, name))
            }
            _ => micro_batches(degrees, name),
        }];
        words.extend(layers_by_stage(fitted, degrees.virtual_stages));
        words.push(recomputed(fitted.blocks.iter().zip(&fitted.recompute)));
        let moves_all =
            self.setting.model.tuning.adapter.is_some() && degrees.zero == ZeroStage::Parameters;
        let on_hosts = if moves_all { ALL_ON_HOSTS } else { ON_HOSTS };
        words.extend((configuration.offload == Offload::Optimizer).then(|| on_hosts.to_owned()));
        words.join(", ")
    }

    /// How far from the fastest plan, of what space.
    fn proof(&self) -> String {
        let space = self.space();
        let (counts, percent) = (self.counted(), self.percent());
        let is_other = self.choice.simpler().is_some();
        let found = if is_other { "the fastest found is " } else { "" };
        match self.stop {
            _ if self.is_optimum() && is_other => {
                format!("the fastest is proved fastest of {space}{counts}")
            }
            _ if self.is_optimum() => format!("proved fastest of {space}{counts}"),
            stop if stop.is_complete() => format!(
                "{found}within {percent} of the fastest of {space}, for any layer split{counts}"
            ),
            stop if self.bound == Nanos::ZERO => format!(
                "not finished ({}): the first settings of {space} were searched; how much faster \
                 others are is not known",
                stop.words()
            ),
            stop => format!(
                "not finished ({}): at most {percent} slower than the fastest of {space}; no plan takes \
                 less than {}, this one {}",
                stop.words(),
                self.bound,
                self.best.step
            ),
        }
    }

    /// Launchers that take the plan, the one that needs the least other one, and what lies beyond them.
    fn launchers(&self) -> Option<String> {
        let runners = self.runs_on.as_ref()?;
        let mut text = runners.line(false);
        // As in its exporter.
        let is_unnamed = self.setting.hyperparameters.is_none() && self.setting.graph.is_none();
        if is_unnamed && runners.runs.contains(&"megatron") {
            text += "; the file for megatron has no flags of this model";
        }
        if let Some(Wider::Faster(_, plan)) = &self.wider {
            let stack = &self.setting.stack.name;
            text += &format!("; any launcher (--for any) under {stack}: {}", plan.step);
        }
        Some(text)
    }

    /// What the intervals rest on.
    fn evidence(&self) -> String {
        let (setting, degrees) = (self.setting, &self.best.configuration.degrees);
        let step = setting.judged_on(setting.basis(degrees).figure(), degrees);
        let memory = setting.judged_on(Figure::Peak, degrees);
        format!("{}; step: {step}; memory: {memory}", setting.costs_from())
    }

    /// Runners-up, and plans that take less memory or fewer devices.
    fn instead(&self, screen: &mut Screen) {
        let best = self.best;
        let least =
            self.front.iter().min_by_key(|plan| plan.peak).filter(|plan| plan.peak < best.peak);
        let half = self.front.iter().find(|plan| plan.peak <= best.peak / 2 + best.peak / 10);
        let fewest = self.front.iter().min_by_key(|plan| plan.n_devices());
        let fewest = fewest.filter(|plan| plan.n_devices() < best.n_devices());
        let close = self.others.iter().map(|plan| (plan, self.loses(plan)));
        let of_front = [(half, "less memory"), (least, "least memory"), (fewest, "fewest devices")];
        let of_front = of_front.into_iter().filter_map(|(plan, what)| {
            let plan = plan?;
            let share = plan.step.seconds() / best.step.seconds() - 1.0;
            let slower = match share.abs() <= EQUAL {
                true => "a tie".to_owned(),
                false => format!("{:+.0} %", 100.0 * share),
            };
            Some((plan, format!("{slower}, {what}")))
        });
        let asked = self.usual.iter().filter_map(|usual| usual.found.as_ref().ok());
        let asked = asked.map(|plan| (plan, self.loses(plan)));
        let mut shown: Vec<(&Judged, String)> = Vec::new();
        // The closest, what people ask for, what else there is, then more that are close.
        let (first, last): (Vec<_>, Vec<_>) = close.enumerate().partition(|(at, _)| *at < 1);
        let drop_index = |(_, entry)| entry;
        let fastest = self.choice.simpler().map(|_| (self.fastest, self.loses(self.fastest)));
        let all = fastest.into_iter().chain(first.into_iter().map(drop_index));
        let all = all.chain(asked).chain(of_front);
        for (plan, what) in all.chain(last.into_iter().map(drop_index)) {
            let is_new = |(other, _): &(&Judged, String)| !is_same(other, plan);
            if shown.len() < SHOWN && !is_same(best, plan) && shown.iter().all(is_new) {
                shown.push((plan, what));
            }
        }
        shown.sort_by_key(|(plan, _)| plan.step);
        let row = |(plan, what): (&Judged, String)| {
            let configuration = &plan.configuration;
            let hosts = if configuration.offload == Offload::Optimizer { ", offload" } else { "" };
            let text = format!(
                "{}, {}{hosts}",
                words(&configuration.degrees, Shown::Several),
                micro_batches(&configuration.degrees, configuration.order.name())
            );
            let text = match recomputes(best) {
                _ if configuration.degrees == best.configuration.degrees => {
                    let stages = plan.fitted.blocks.iter().zip(&plan.fitted.recompute);
                    format!("{text}, {}", recomputed(stages))
                }
                true if !recomputes(plan) => format!("{text}, no recompute"),
                _ => text,
            };
            vec![text, plan.step.to_string(), Bytes(plan.peak).to_string(), what]
        };
        let too_large = self.usual.iter().filter_map(|usual| {
            let need = usual.found.as_ref().err()?.to_string();
            Some(vec![usual.setting.clone(), "-".to_owned(), need, "does not fit".to_owned()])
        });
        let rows = shown.into_iter().map(row).chain(too_large).collect();
        let columns = Column::row("instead | #step | #memory | ");
        screen.table(&columns, rows);
    }

    /// By how much another plan is slower, and mostly in what.
    fn loses(&self, other: &Judged) -> String {
        let share = other.step.seconds() / self.best.step.seconds() - 1.0;
        let lost = most_lost(self.best, other);
        let part = match lost.split_once(' ') {
            _ if is_same(other, self.fastest) => ", fastest",
            _ if share < 0.0 => "",
            Some(("collectives" | "exposed", _)) => ", communication",
            Some((part, _)) => &format!(", {part}"),
            None => "",
        };
        match share.abs() <= EQUAL {
            true if is_same(other, self.fastest) => "a tie, fastest".to_owned(),
            true => "a tie".to_owned(),
            false => format!("{:+.1} %{part}", 100.0 * share),
        }
    }
}

/// Where optimizer states lie that devices do not keep.
pub(super) const ON_HOSTS: &str = "optimizer states on hosts";
/// The same of runs with adapters whose weights are shared out.
const ALL_ON_HOSTS: &str = "weights and optimizer states on hosts";

/// Degrees that are shown though they are 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Of data parallelism.
    Several,
    /// Of data, tensor and pipeline parallelism.
    All,
    /// Of expert parallelism too.
    AllOfExperts,
}

impl Shown {
    /// All that a model can have.
    pub(super) fn of(model: &ModelCard) -> Self {
        if model.has_experts() { Self::AllOfExperts } else { Self::All }
    }
}

/// `DP 8, TP 4, PP 2, ZeRO 1`.
pub(super) fn words(degrees: &Parallelism, which: Shown) -> String {
    let is_whole = which != Shown::Several;
    let all = [
        ("DP", degrees.data, true),
        ("TP", degrees.tensor, is_whole),
        ("PP", degrees.pipeline, is_whole),
        ("CP", degrees.context, false),
        ("EP", degrees.expert, which == Shown::AllOfExperts),
    ];
    let shown = all.into_iter().filter(|(_, n, is_shown)| *n > 1 || *is_shown);
    let mut words: Vec<String> = shown.map(|(name, n, _)| format!("{name} {n}")).collect();
    if degrees.data * degrees.context > 1 {
        words.push(format!("ZeRO {}", degrees.zero as u8));
    }
    if let Some(at) = words.iter().position(|word| word.starts_with("EP ")) {
        let apart = degrees.expert_tensor.map(|ranks| format!("ETP {ranks}"));
        apart.into_iter().for_each(|word| words.insert(at + 1, word));
    }
    words.extend((is_whole && degrees.expert_overlap).then(|| "overlapped all-to-all".to_owned()));
    words.extend((degrees.mesh == Mesh::TpCpPpDp).then(|| "rank order TP-PP-DP".to_owned()));
    words.join(", ")
}

/// `micro-batch 8 x 2, interleaved x 3`: size, count, schedule, virtual stages per rank.
pub(super) fn micro_batches(degrees: &Parallelism, order: &str) -> String {
    let mut text = format!("micro-batch {} x {}", degrees.micro_batch, degrees.n_micro_batches);
    match (degrees.pipeline, degrees.virtual_stages) {
        (0 | 1, _) => {}
        (_, 0 | 1) => text += &format!(", {order}"),
        (_, n) => text += &format!(", {order} x {n}"),
    }
    text
}

/// Layers of each stage, where there are several.
fn layers_by_stage(fitted: &Fitted, n_virtual: u32) -> Option<String> {
    const LISTED: usize = 8;
    let counts: Vec<u32> =
        fitted.blocks.iter().map(|blocks| blocks.end.saturating_sub(blocks.start)).collect();
    let (least, most) = (counts.iter().min()?, counts.iter().max()?);
    let listed = || counts.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
    match counts.len() {
        0 | 1 => None,
        // Virtual stages share them out evenly.
        _ if least == most && n_virtual > 1 => None,
        _ if least == most => {
            let layers = if *least == 1 { "layer" } else { "layers" };
            Some(format!("{least} {layers} per stage"))
        }
        n if n <= LISTED => Some(format!("layers per stage {}", listed())),
        _ => Some(format!("{least} to {most} layers per stage")),
    }
}

/// Whether two plans have the same settings, to the layers that are recomputed.
fn is_same(a: &Judged, b: &Judged) -> bool {
    a.configuration == b.configuration && a.fitted.recompute == b.fitted.recompute
}

/// Whether a plan recomputes anything.
pub(super) fn recomputes(plan: &Judged) -> bool {
    plan.fitted.recompute.iter().any(|recompute| *recompute != Recompute::None)
}

/// `62 %`, and of less than ten a digit more.
fn percent_of(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// How many layers are recomputed, and how.
pub(super) fn recomputed<'s>(
    stages: impl Iterator<Item = (&'s Range<u32>, &'s Recompute)>,
) -> String {
    let (mut all, mut whole, mut parts) = (0, 0, 0);
    for (blocks, recompute) in stages {
        let n = blocks.end.saturating_sub(blocks.start);
        all += n;
        match recompute {
            Recompute::None => {}
            Recompute::Selective | Recompute::PerOp => parts += n,
            Recompute::Full | Recompute::Uniform { .. } => whole += n,
            Recompute::Block { blocks } => whole += blocks,
        }
    }
    match (whole, parts) {
        (0, 0) => "no recompute".to_owned(),
        (whole, 0) => format!("{whole} of {all} layers recomputed"),
        (0, parts) => format!("{parts} of {all} layers recomputed in part"),
        (whole, parts) => format!("{whole} of {all} layers recomputed, {parts} in part"),
    }
}

/// Where the time of a step goes, in percent.
fn shares(parts: &Parts, step: Nanos) -> String {
    let step = step.seconds();
    let all = [
        ("compute", parts.compute_s),
        ("recompute", parts.recompute_s),
        ("exposed communication", parts.collectives_s + parts.exposed_s),
        ("bubble", parts.bubble_s),
        ("optimizer", parts.optimizer_s),
    ];
    let shown = all.iter().filter(|(_, part)| *part >= 0.005 * step);
    let shown = shown.map(|(name, part)| format!("{name} {:.0} %", 100.0 * part / step));
    shown.collect::<Vec<_>>().join(", ")
}
