//! What a search over degrees answers, in text.

use std::time::Duration;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::forms::model::counts::n_parameters;
use cost_model::runs::judge::memory::HoldingKind;
use cost_model::runs::judge::report::RankReport;
use cost_model::runs::oracle::ranks_of;
use documents::report::IntervalDocument;
use ir::card::Recompute;
use ir::diagnostic::Diagnostic;
use ir::plan::{Parallelism, Plan};
use ir::units::{Bytes, Nanos};
use planner::run::StopReason;
use planner::training::search_3d::fit::Fitted;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::sensitivity::{Flip, flips};
use planner::training::search_3d::simplest::{Choice, EQUAL};
use planner::training::search_3d::space::{Configuration, Space};
use planner::training::search_3d::{Counts, Found, Options};

use super::runners::Runners;
use super::told::unconfirmed;
use super::{recommended, searched};
use crate::answer::beside::Beside;
use crate::answer::energy;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::words::range;
use crate::inputs::load;
use crate::inputs::run::setting::Setting;
use planner::training::search::Wider;

/// What the answer rests on, and what else there is.
const SPACE: &str = "costs per transformer layer; only parallelism settings were searched, so the bound does \
    not cover operator placements";
/// Tipping points that are shown.
const SHOWN_FLIPS: usize = 4;

/// The fastest plan that was found with a setting, or how many bytes the smallest one needs.
pub struct Usual {
    /// `TP 8`.
    pub setting: String,
    /// What was found.
    pub found: Result<Judged, Bytes>,
}

/// Everything that is printed or written as a document.
pub struct Answer<'a> {
    /// Model, devices and software.
    pub setting: &'a Setting,
    /// The plan that is recommended.
    pub best: &'a Judged,
    /// The fastest plan, which the bound and the proof are of.
    pub fastest: &'a Judged,
    /// Why another one is recommended.
    pub choice: &'a Choice,
    /// The runners-up, the fastest plan first where another one is recommended.
    pub others: Vec<Judged>,
    /// The next fastest of other degrees.
    pub rivals: &'a [Judged],
    /// Of the Pareto front in time, memory and devices, the points that [`Self::print_front`] names.
    pub front: Vec<Judged>,
    /// What lies beyond the launcher.
    pub wider: Option<Wider>,
    /// Where time and memory of each rank go.
    pub ranks: Vec<RankReport>,
    /// How wrong figures may be before one of the rivals is faster than the fastest plan.
    pub flips: Vec<Flip>,
    /// What was searched.
    searched: Space,
    /// What no plan of the space is below.
    pub bound: Nanos,
    /// Why the search ended.
    pub stop: StopReason,
    /// What was looked at.
    pub counts: Counts,
    /// What is known of operator placements.
    pub beside: Option<Beside>,
    /// Who runs the plan, where nobody was asked for.
    pub runs_on: Option<Runners>,
    /// Plans that people ask for first.
    pub usual: Vec<Usual>,
    /// How long it took; not said where the same bytes are wanted each time.
    pub elapsed: Option<Duration>,
    pub(super) interval: IntervalDocument,
}

impl<'a> Answer<'a> {
    /// Judges the best plan again, as a plan, and asks what would turn the order.
    ///
    /// # Errors
    /// `internal` where the judge does not confirm what the search found.
    pub fn new(
        setting: &'a Setting,
        (found, choice, searched): (&'a Found, &'a Choice, Space),
        (front, wider): (Vec<Judged>, Option<Wider>),
        (elapsed, options): (Option<Duration>, &Options),
    ) -> Result<Self, Diagnostic> {
        let (fastest, rivals) = found.plans.split_first().ok_or_else(unconfirmed)?;
        let best = choice.simpler().map_or(fastest, |recommended| &recommended.plan);
        let report = setting.confirmed(&best.plan()?, best.step)?;
        Ok(Self {
            setting,
            best,
            fastest,
            choice,
            others: others(best, &found.plans, options),
            rivals,
            front,
            wider,
            ranks: report.ranks,
            flips: flips(&setting.pricing(), fastest, rivals, options),
            searched,
            bound: Nanos((found.bound_s * 1e9).round() as u64),
            stop: found.stop,
            counts: found.counts,
            beside: None,
            runs_on: None,
            usual: Vec::new(),
            elapsed,
            interval: setting.interval(best.step, &best.configuration.degrees),
        })
    }

    /// Share of the peak rate of its devices that the best plan reaches.
    fn utilisation(&self) -> f64 {
        self.setting.utilisation(self.best.step, self.best.n_devices())
    }

    /// What to know before it is run.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let degrees = &self.best.configuration.degrees;
        let peak = Bytes(self.best.peak);
        // What may end in a run without memory comes first.
        let upper_end = self.setting.upper_end(degrees, peak).into_iter();
        upper_end
            .chain(self.setting.warnings.iter().cloned())
            .chain(self.wider.as_ref().and_then(searched::warning))
            .chain(recommended::warning(self.choice))
            .chain(self.split_again())
            .chain(self.setting.above_published(self.utilisation()))
            .collect()
    }

    /// That PyTorch computes again in each part of a split backward pass, and for each product's weights.
    fn split_again(&self) -> Option<Diagnostic> {
        let order = self.best.configuration.order;
        let is_again = self.best.fitted.recompute.iter().any(|policy| *policy != Recompute::None);
        (self.setting.stack.splits_by_graph && !order.is_whole() && is_again).then(|| {
            let message = "PyTorch computes again in both parts of a split backward pass, several times \
                           in the second; the plan counts it once";
            Diagnostic::warning("split-again", message)
                .fact("schedule", order.name())
                .hint("plan with `--pin recompute=none`, or with `--pin schedule=1f1b`")
        })
    }

    /// Prints it.
    pub fn print(&self, page: &Page) {
        let setting = self.setting;
        self.print_model(page);
        page.line(&format!(
            "{}: {}; {}, {}; {}",
            setting.cluster.name,
            load::describe(&setting.cluster),
            setting.stack.name,
            setting.numbers.words(),
            setting.costs_from()
        ));
        page.line(&format!("plan: {}", degrees(&self.best.configuration)));
        self.recommendation().iter().for_each(|line| page.line(line));
        self.print_ranks(page);
        self.print_parts(page);
        self.print_others(page);
        self.print_front(page);
        self.print_turns(page);
        page.line(&self.sentence());
        page.line(&format!("search space: {}", self.space()));
        self.left_idle().iter().for_each(|line| page.line(line));
        if let Some(wider) = &self.wider {
            page.line(&searched::line(wider, self.best));
        }
        self.runs_on
            .iter()
            .for_each(|runners| page.line(&format!("launchers: {}", runners.line(true))));
        let degrees = &self.best.configuration.degrees;
        let figure = setting.basis(degrees).figure();
        page.line(&format!("interval: {}", setting.judged_on(figure, degrees)));
        page.line(&setting.peak_line(Bytes(self.best.peak), degrees));
        page.line(&self.beside.as_ref().map_or_else(|| SPACE.to_owned(), Beside::line));
    }

    /// By how much the plan is slower than the fastest one, and what it is simpler in.
    pub fn recommendation(&self) -> Option<String> {
        recommended::line(self.choice, self.fastest)
    }

    /// What no plan is below, those of the other space included where something is known of them.
    pub fn joint_bound(&self) -> Nanos {
        self.beside.as_ref().map_or(self.bound, |beside| beside.joint(self.bound))
    }

    fn print_model(&self, page: &Page) {
        let setting = self.setting;
        let blocks = if setting.model.is_of_parts() { "parts" } else { "blocks" };
        let samples = match setting.has_tokens {
            true => format!("samples of {} tokens", setting.sequence),
            false => "samples".to_owned(),
        };
        page.line(&format!(
            "{}: {} {blocks}, {:.2} billion parameters; {} {samples} a step",
            setting.model.name,
            setting.model.n_blocks(),
            n_parameters(&setting.model) as f64 / 1e9,
            setting.global_batch,
        ));
        if let Some(graph) = &setting.graph {
            page.line(&format!(
                "graph: {} ops, {} parameters, of which the plan has {}; {}",
                graph.n_ops,
                graph.n_parameters,
                n_parameters(&setting.model),
                graph.kind
            ));
        }
    }

    fn print_ranks(&self, page: &Page) {
        let stages = ranks_of_stages(&self.best.configuration, &self.best.fitted);
        let of = |rank: &RankReport, kind: HoldingKind| {
            let holdings = rank.alive.iter().filter(|holding| holding.what == kind);
            Bytes(holdings.map(|holding| holding.bytes).sum()).to_string()
        };
        let row = |(index, rank): (usize, &RankReport)| {
            vec![
                index.to_string(),
                stages.get(index).cloned().unwrap_or_default(),
                of(rank, HoldingKind::Persistent),
                of(rank, HoldingKind::Stash),
                of(rank, HoldingKind::Temporary),
                Bytes(rank.peak.bytes).to_string(),
                margin(rank),
            ]
        };
        let columns = [
            Column::Number("rank"),
            Column::Text("blocks"),
            Column::Number("states"),
            Column::Number("activations"),
            Column::Number("temporary"),
            Column::Number("peak"),
            Column::Number("margin"),
        ];
        let rows = self.ranks.iter().enumerate().map(row).collect();
        page.table(&columns, rows);
    }

    fn print_parts(&self, page: &Page) {
        let step = self.best.step.seconds();
        let parts = self.best.parts.named();
        let shown = parts.iter().filter(|(_, part)| *part > 0.0005 * step);
        let texts: Vec<String> =
            shown.map(|(name, part)| format!("{name} {:.1} %", 100.0 * part / step)).collect();
        page.line(&format!("of the step: {}", texts.join(", ")));
    }

    fn print_others(&self, page: &Page) {
        if self.others.is_empty() {
            return;
        }
        let row = |other: &Judged| {
            let loss = other.step.seconds() / self.best.step.seconds() - 1.0;
            vec![
                degrees(&other.configuration),
                other.step.to_string(),
                loses(loss),
                Bytes(other.peak).to_string(),
                most_lost(self.best, other),
            ]
        };
        let columns = [
            Column::Text("runner-up"),
            Column::Number("step time"),
            Column::Number("loses"),
            Column::Number("peak"),
            Column::Text("mostly by"),
        ];
        page.table(&columns, self.others.iter().map(row).collect());
    }

    fn print_front(&self, page: &Page) {
        if self.front.len() < 2 {
            return;
        }
        let row = |plan: &Judged| {
            vec![
                plan.n_devices().to_string(),
                plan.step.to_string(),
                Bytes(plan.peak).to_string(),
                degrees(&plan.configuration),
            ]
        };
        let columns = [
            Column::Number("devices"),
            Column::Number("step time"),
            Column::Number("peak"),
            Column::Text("plan"),
        ];
        let counts =
            if self.setting.request.devices.is_some() || self.setting.request.spares.is_some() {
                "the fastest plan of each device count, and "
            } else {
                ""
            };
        page.line(&format!(
            "Pareto front: {counts}the fastest plans within 75, 50 and 25 % of the fastest plan's peak; others may \
             lie between"
        ));
        page.table(&columns, self.front.iter().map(row).collect());
    }

    fn print_turns(&self, page: &Page) {
        // Constants that act on the same costs have the same tipping point: one line states it.
        let is_alike = |a: &Flip, b: &Flip| (a.winner, a.factor) == (b.winner, b.factor);
        for alike in self.flips.chunk_by(is_alike).take(SHOWN_FLIPS) {
            let Some(other) = self.rivals.get(alike[0].winner) else { continue };
            let names: Vec<String> =
                alike.iter().map(|flip| format!("`{}`", flip.constant.name())).collect();
            let change = 100.0 * (alike[0].factor - 1.0);
            page.line(&format!(
                "tipping point: if {} were {:.1} % {}, {} would win",
                names.join(" or "),
                change.abs(),
                if change < 0.0 { "lower" } else { "higher" },
                degrees(&other.configuration)
            ));
        }
        let is_whole = self.stop.is_complete();
        if is_whole && self.flips.is_empty() && !self.rivals.is_empty() {
            page.line("no tipping points: no constant changes the winner within a factor of 8");
        }
    }

    /// Whether nothing is faster than the fastest plan, for any layer split.
    pub fn is_optimum(&self) -> bool {
        self.bound >= self.fastest.step
    }

    /// What the proof speaks of.
    pub(super) fn space(&self) -> String {
        let space = &self.searched;
        let settings = match self.counts.n_shapes {
            0 => "the parallelism settings".to_owned(),
            1 => "1 parallelism setting".to_owned(),
            n => format!("{n} parallelism settings"),
        };
        let launcher = match space.pins.capabilities {
            Some(capabilities) => format!("that {} can run", capabilities.target),
            None => format!("under {}, whatever the launcher", self.setting.stack.name),
        };
        let hosts = if space.pins.may_offload { " or hosts" } else { "" };
        let states = match (space.pins.may_offload, self.setting.offload) {
            (false, Offload::Optimizer) => "hosts".to_owned(),
            _ => format!("devices{hosts}"),
        };
        let limits = match energy::is_decided_by(&self.setting.request) {
            true => ", at these board limits",
            false => "",
        };
        let devices = match &space.devices[..] {
            [1] => "1 device".to_owned(),
            numbers => format!("{} devices", counts(numbers)),
        };
        format!("{settings} {launcher} on {devices}, optimizer states on {states}{limits}")
    }

    /// That fewer devices are faster than all, where nobody stated a number of them.
    pub(super) fn left_idle(&self) -> Option<String> {
        let has = self.searched.devices.iter().copied().max()?;
        let used = self.best.n_devices();
        let is_own = self.setting.request.devices.is_none() && used < u64::from(has);
        let known = match self.stop.is_complete() {
            _ if self.fastest.n_devices() > used => "the fastest plan takes more",
            true => "no plan on more of them is faster",
            false => "no faster plan on more of them was found",
        };
        let launcher = self.searched.pins.capabilities;
        let scope = launcher.map_or_else(String::new, |capabilities| {
            format!(" that {} can run", capabilities.target)
        });
        let known = known.replace("plan on", &format!("plan{scope} on"));
        is_own.then(|| format!("{used} of {has} devices: {known}"))
    }

    /// How far the plan is above the bound at most.
    pub(super) fn percent(&self) -> String {
        let gap = self.fastest.step.seconds() / self.bound.seconds() - 1.0;
        // Rounded up: what is said is never less than what is.
        format!("{:.2} %", (gap * 1e4 - 1e-6).ceil() / 100.0)
    }

    /// How long the search took and what it looked at.
    pub(super) fn counted(&self) -> String {
        // A search that was left alone at the end of its time did not say what it looked at.
        let plans = match self.counts.n_judged {
            0 => None,
            1 => Some("1 plan simulated".to_owned()),
            n => Some(format!("{n} plans simulated")),
        };
        let time = self.elapsed.map(|elapsed| format!("{:.2} s", elapsed.as_secs_f64()));
        let words: Vec<String> = plans.into_iter().chain(time).collect();
        if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
    }

    fn sentence(&self) -> String {
        let best = self.best;
        let space = self.setting.search_space();
        let within = format!("within {} of the fastest of {space}", self.percent());
        let counts = match self.counts.n_shapes {
            0 => String::new(),
            n_shapes => format!(
                " ({} of {n_shapes} parallelism settings expanded, {} plans simulated, {} layer splits improved)",
                self.counts.n_expanded, self.counts.n_judged, self.counts.n_polished
            ),
        };
        let proof = match self.stop {
            _ if self.is_optimum() => format!("proved fastest of {space}{counts}"),
            stop if stop.is_complete() => format!(
                "no configuration of {space} is faster with the layer splits of the search \
                 (single-layer moves that save up to 8 % included); for any layer split, {within}{counts}"
            ),
            stop if self.bound == Nanos::ZERO => {
                format!("stopped early ({}): no bound{counts}", stop.words())
            }
            stop => {
                format!("stopped early ({}): bound {}, {within}{counts}", stop.words(), self.bound)
            }
        };
        let found = self.elapsed.map_or_else(String::new, |elapsed| {
            format!("found in {:.2} s, ", elapsed.as_secs_f64())
        });
        let of = match self.choice.simpler() {
            Some(_) => format!("of the fastest, {}: ", self.fastest.step),
            None => String::new(),
        };
        format!(
            "step time {}, 10-90 %: {} ({}), {:.0} {}/s, {:.1} % of peak in model FLOPs, {} devices; {found}{of}{proof}",
            best.step,
            range(Nanos(self.interval.low_ns), Nanos(self.interval.high_ns)),
            self.interval.origin,
            self.setting.tokens_per_s(best.step),
            self.setting.unit(),
            100.0 * self.utilisation(),
            best.n_devices(),
        )
    }
}

/// What is compared with the recommended plan: the fastest ones, but for those of its own settings.
fn others(best: &Judged, fastest: &[Judged], options: &Options) -> Vec<Judged> {
    let best_degrees = degrees(&best.configuration);
    let others = fastest.iter().filter(|plan| degrees(&plan.configuration) != best_degrees);
    others.take(options.n_plans.max(2) - 1).cloned().collect()
}

/// How much slower a runner-up is, as a share.
fn loses(share: f64) -> String {
    if share.abs() <= EQUAL { "a tie".to_owned() } else { format!("{:+.1} %", 100.0 * share) }
}

/// Counts in words: a range of whole numbers as its ends, others one by one as far as they are few.
fn counts(counts: &[u32]) -> String {
    const SHOWN: usize = 6;
    let named = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match counts {
        [] => "no".to_owned(),
        [one] => one.to_string(),
        [first, .., last] if (last - first) as usize + 1 == counts.len() => {
            format!("{first} to {last}")
        }
        [first @ .., last] if counts.len() <= SHOWN => format!("{} or {last}", named(first)),
        [.., last] => {
            let n = counts.len();
            format!("{}, .. or {last} (whole hosts, {n} counts)", named(&counts[..SHOWN - 2]))
        }
    }
}

/// The pipeline rank of each stage of a plan; none without a grid.
pub fn ranks(plan: &Plan) -> Vec<u32> {
    let grid = plan.schedule.grid.as_ref();
    grid.and_then(|grid| ranks_of(grid, plan.partition.stages.len())).unwrap_or_default()
}

/// What a rank has left at its peak; empty without a limit.
pub fn margin(rank: &RankReport) -> String {
    let left = rank.limit.map(|limit| Bytes(limit.saturating_sub(rank.peak.bytes)));
    left.map_or_else(String::new, |left| left.to_string())
}

/// The part of the step that a plan loses most by.
pub fn most_lost(best: &Judged, other: &Judged) -> String {
    let pairs = best.parts.named().into_iter().zip(other.parts.named());
    let lost = pairs.map(|((name, ours), (_, theirs))| (name, theirs - ours));
    let most = lost.fold(("", 0.0), |most, next| if next.1 > most.1 { next } else { most });
    if most.0.is_empty() {
        return "nothing".to_owned();
    }
    format!("{} {}", most.0, Nanos((most.1 * 1e9).round() as u64))
}

/// A configuration in one line.
pub fn degrees(configuration: &Configuration) -> String {
    let hosts = match configuration.offload {
        Offload::Nothing => "",
        Offload::Optimizer => ", optimizer states on hosts",
        Offload::Parameters => ", parameters and optimizer states on hosts",
    };
    in_words(&configuration.degrees, configuration.order.name()) + hosts
}

/// Degrees and the name of a schedule in one line.
pub fn in_words(d: &Parallelism, schedule: &str) -> String {
    let mut text = format!("data {} x tensor {} x pipeline {}", d.data, d.tensor, d.pipeline);
    for (name, degree) in [("context", d.context), ("expert", d.expert)] {
        if degree > 1 {
            let sign = if name == "context" { " x" } else { "," };
            text.push_str(&format!("{sign} {name} {degree}"));
        }
    }
    if let Some(ranks) = d.expert_tensor {
        text.push_str(&format!(" of tensor {ranks}"));
    }
    if d.expert_overlap {
        text.push_str(" (exchanges beside work)");
    }
    text.push_str(&format!(", micro-batch {} x {}", d.micro_batch, d.n_micro_batches));
    if d.pipeline > 1 {
        text.push_str(&format!(", {schedule}"));
    }
    if d.virtual_stages > 1 {
        text.push_str(&format!(" of {} chunks", d.virtual_stages));
    }
    if d.data * d.context > 1 {
        text.push_str(&format!(", ZeRO {}", d.zero as u8));
    }
    if d.mesh == ir::plan::Mesh::TpCpPpDp {
        text.push_str(", pipeline inside hosts");
    }
    text
}

/// By rank, its layers and how many are recomputed.
pub fn ranks_of_stages(configuration: &Configuration, fitted: &Fitted) -> Vec<String> {
    let n_ranks = configuration.degrees.pipeline.max(1);
    let mut ranks = vec![String::new(); n_ranks as usize];
    for (stage, (blocks, recompute)) in fitted.blocks.iter().zip(&fitted.recompute).enumerate() {
        let rank = configuration.order.rank_of(n_ranks, stage as u32) as usize;
        let Some(text) = ranks.get_mut(rank) else { continue };
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&stage_text(blocks, *recompute));
    }
    ranks
}

/// `0-9 (recomputed)`.
pub fn stage_text(blocks: &std::ops::Range<u32>, recompute: Recompute) -> String {
    let range = match blocks.end.saturating_sub(blocks.start) {
        0 => "none".to_owned(),
        1 => blocks.start.to_string(),
        _ => format!("{}-{}", blocks.start, blocks.end - 1),
    };
    match recompute {
        Recompute::None => range,
        Recompute::Selective => format!("{range} (selective)"),
        Recompute::PerOp => format!("{range} (per op)"),
        Recompute::Full => format!("{range} (recomputed)"),
        Recompute::Uniform { blocks } => format!("{range} (recomputed by {blocks})"),
        Recompute::Block { blocks } => format!("{range} ({blocks} recomputed)"),
    }
}
