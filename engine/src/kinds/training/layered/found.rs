//! What a search on measured layers answers.

use std::time::Duration;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::forms::model::counts::{model_flops, n_parameters};
use cost_model::runs::judge::judge_plan;
use cost_model::runs::judge::report::RankReport;
use cost_model::runs::measured::stage::idle_room;
use cost_model::runs::oracle::{StageFigures, figures};
use documents::plan::PlanDocument;
use documents::report::training::{
    OtherDegreesDocument, TrainingReportDocument, TrainingRunDocument, TrainingStageDocument,
};
use ir::card::SequenceParallel;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::{Parallelism, Plan};
use ir::units::Bytes;
use planner::run::StopReason;
use planner::training::per_layer::table::Chosen;
use planner::training::per_layer::{Family, Found, Judged};

use super::super::answer::margin;
use super::super::replay::documents;
use super::stage_text;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::inputs::load;
use crate::inputs::run::setting::Setting;

/// What is not known of a step on measured layers.
const NO_INTERVAL: &str =
    "no interval: steps on measured layers were not judged against measured steps";

/// Other degrees that are shown.
const SHOWN: usize = 5;

/// Everything that is printed or written as a document.
pub struct Answer<'a> {
    setting: &'a Setting,
    best: &'a Judged,
    found: &'a Found,
    plan: Plan,
    figures: Vec<StageFigures>,
    ranks: Vec<RankReport>,
    elapsed: Option<Duration>,
}

impl<'a> Answer<'a> {
    /// Judges the best plan again, as a plan.
    ///
    /// # Errors
    /// `internal` where the judge does not confirm what the search found.
    pub fn new(
        setting: &'a Setting,
        best: &'a Judged,
        found: &'a Found,
        elapsed: Option<Duration>,
    ) -> Result<Self, Diagnostic> {
        let plan = best.plan()?;
        let oracle = setting.oracle(setting.limit);
        let priced = oracle.price(&plan.parallelism, false)?;
        let figures = figures(&*priced, setting.model.n_blocks(), &plan)?;
        let costs = setting.costs(&plan, setting.limit)?;
        let report = judge_plan(&costs, &plan).map_err(|violation| violation.diagnostic())?.report;
        if report.step_time != best.step {
            let message = "the judge does not confirm the plan that the search found";
            return Err(Diagnostic::error(Blame::Internal, "internal", message));
        }
        Ok(Self { setting, best, found, plan, figures, ranks: report.ranks, elapsed })
    }

    fn tokens_per_s(&self) -> f64 {
        let tokens = self.setting.global_batch as f64 * self.setting.sequence as f64;
        tokens / self.best.step.seconds()
    }

    fn utilisation(&self) -> f64 {
        let flops = model_flops(&self.setting.model, self.setting.global_batch);
        let devices = self.best.n_devices() as f64;
        flops / (self.best.step.seconds() * devices * self.setting.peak())
    }

    /// Prints it.
    pub fn print(&self, page: &Page) {
        let setting = self.setting;
        page.line(&format!(
            "{}: {} blocks, {:.2} billion parameters; {} samples of {} tokens a step",
            setting.model.name,
            setting.model.n_blocks(),
            n_parameters(&setting.model) as f64 / 1e9,
            setting.global_batch,
            setting.sequence
        ));
        let layers = setting.layers.as_ref().map_or("", |layers| layers.name.as_str());
        page.line(&format!(
            "{}: {}; layers measured in `{layers}`",
            setting.cluster.name,
            load::describe(&setting.cluster)
        ));
        let hosts = match setting.offload {
            Offload::Nothing => "",
            Offload::Optimizer => ", optimizer states on hosts (host links and memory nominal)",
        };
        page.line(&format!("plan: {}{hosts}", degrees(&self.best.degrees)));
        self.print_ranks(page);
        self.print_others(page);
        if let Some(lacking) = &self.found.lacking {
            page.line(&format!(
                "{} of {} shapes are left out: {}",
                self.found.counts.n_unmeasured, self.found.counts.n_shapes, lacking.message
            ));
        }
        if self.found.counts.n_too_large > 0 {
            page.line(&format!(
                "{} of {} shapes are left out: too many micro-batches",
                self.found.counts.n_too_large, self.found.counts.n_shapes
            ));
        }
        page.line(&self.sentence());
        page.line(NO_INTERVAL);
    }

    fn print_ranks(&self, page: &Page) {
        let bytes = |bytes: f64| Bytes(bytes.round() as u64).to_string();
        let pipeline = self.best.degrees.pipeline;
        let row = |(index, (rank, own)): (usize, (&RankReport, &StageFigures))| {
            let left = u64::from(pipeline) - index as u64;
            let kept = self.best.degrees.n_micro_batches.min(left) as f64;
            let stage = &self.plan.partition.stages[index];
            vec![
                index.to_string(),
                stage_text(stage),
                bytes(own.states),
                bytes(kept * own.activation),
                bytes(own.end_states + kept * own.end_activation),
                bytes(own.temporary + own.recompute + idle_room(own)),
                Bytes(rank.peak.bytes).to_string(),
                margin(rank),
            ]
        };
        let columns = [
            Column::Number("rank"),
            Column::Text("blocks"),
            Column::Number("states"),
            Column::Number("activations"),
            Column::Number("ends"),
            Column::Number("working room"),
            Column::Number("peak"),
            Column::Number("margin"),
        ];
        let rows = self.ranks.iter().zip(&self.figures).enumerate().map(row).collect();
        page.table(&columns, rows);
    }

    fn print_others(&self, page: &Page) {
        if self.found.others.is_empty() {
            return;
        }
        let row = |family: &planner::training::per_layer::Family| {
            let loss = family.bound.seconds() / self.best.step.seconds() - 1.0;
            vec![
                degrees(&family.degrees),
                family.bound.to_string(),
                format!("{:+.1} %", 100.0 * loss),
            ]
        };
        let columns = [
            Column::Text("other degrees"),
            Column::Number("no plan below"),
            Column::Number("so loses at least"),
        ];
        page.table(&columns, self.found.others.iter().take(SHOWN).map(row).collect());
    }

    fn sentence(&self) -> String {
        let counts = &self.found.counts;
        let proof = match self.found.stop {
            stop if stop.is_complete() => format!(
                "proved fastest of the search space ({} expansions of {} shapes, {} plans simulated)",
                counts.n_expanded, counts.n_shapes, counts.n_judged
            ),
            stop => {
                let gap = self.best.step.seconds() / self.found.bound.seconds() - 1.0;
                format!(
                    "stopped early ({}): bound {}, gap {:.1} %",
                    stop.name(),
                    self.found.bound,
                    100.0 * gap
                )
            }
        };
        let found = self.elapsed.map_or_else(String::new, |elapsed| {
            format!("found in {:.3} s, ", elapsed.as_secs_f64())
        });
        format!(
            "step time {}, {:.0} tokens/s, {:.1} % of peak in model FLOPs, {} devices; {found}{proof}",
            self.best.step,
            self.tokens_per_s(),
            100.0 * self.utilisation(),
            self.best.n_devices(),
        )
    }

    /// What `plan --json` prints.
    pub fn document(&self, plan: PlanDocument) -> TrainingReportDocument {
        let stage = |(stage, rank): (&Chosen, &RankReport)| TrainingStageDocument {
            n_blocks: stage.blocks,
            n_recomputed: stage.recomputed,
            n_zero3: stage.fully_sharded,
            peak_bytes: rank.peak.bytes,
            limit_bytes: rank.limit,
        };
        let other = |family: &Family| OtherDegreesDocument {
            degrees: degrees(&family.degrees),
            bound_s: family.bound.seconds(),
        };
        let (stop, counts) = (self.found.stop, &self.found.counts);
        let counts = [
            ("shapes", counts.n_shapes),
            ("unmeasured", counts.n_unmeasured),
            ("too_large", counts.n_too_large),
            ("expanded", counts.n_expanded),
            ("nodes", counts.n_nodes),
            ("judged", counts.n_judged),
        ];
        TrainingReportDocument {
            plan,
            graph: None,
            unit: self.setting.unit().to_owned(),
            best: TrainingRunDocument {
                degrees: degrees(&self.best.degrees),
                n_devices: self.best.n_devices(),
                step_time_ns: self.best.step.0,
                step_time_s: self.best.step.seconds(),
                tokens_per_s: self.tokens_per_s(),
                model_flops_utilisation: Some(self.utilisation()).filter(|own| own.is_finite()),
                peak_bytes: self.best.peak,
                stages: self.best.stages.iter().zip(&self.ranks).map(stage).collect(),
                offloads_optimizer: Some(self.setting.offload == Offload::Optimizer),
                ..TrainingRunDocument::default()
            },
            beyond_launcher: None,
            recommended: None,
            runners_up: Vec::new(),
            front: Vec::new(),
            turns: Vec::new(),
            others: self.found.others.iter().map(other).collect(),
            other_space: None,
            runs_on: None,
            bound_s: self.found.bound.seconds(),
            is_optimum: stop.is_complete(),
            stopped_early: !stop.is_complete(),
            stop_reason: match stop.is_complete() {
                true => StopReason::ProvedOptimal.name().to_owned(),
                false => stop.name().to_owned(),
            },
            elapsed_s: self.elapsed.map(|elapsed| elapsed.as_secs_f64()),
            energy_front: Vec::new(),
            warnings: documents(&self.setting.warnings),
            counts: counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        }
    }
}

/// Degrees in one line.
pub fn degrees(d: &Parallelism) -> String {
    let kind = match d.sequence {
        SequenceParallel::Ulysses => "Ulysses",
        SequenceParallel::On | SequenceParallel::Off => "tensor",
    };
    let mut text = format!(
        "data {} x {kind} {} x pipeline {}, micro-batch {} x {}",
        d.data, d.tensor, d.pipeline, d.micro_batch, d.n_micro_batches
    );
    if let Some(vocabulary) = d.vocabulary {
        text.push_str(&format!(", vocabulary {vocabulary}"));
    }
    if d.data > 1 || d.sequence == SequenceParallel::Ulysses {
        text.push_str(&format!(", ends ZeRO {}", d.zero as u8));
    }
    text
}
