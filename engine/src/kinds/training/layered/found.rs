//! What a search on measured layers answers.

use std::time::Duration;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::judge::report::RankReport;
use cost_model::runs::oracle::{StageFigures, figures};
use documents::plan::PlanDocument;
use documents::report::training::{
    OtherDegreesDocument, TrainingReportDocument, TrainingRunDocument, TrainingStageDocument,
};
use ir::card::SequenceParallel;
use ir::diagnostic::Diagnostic;
use ir::plan::{Parallelism, Plan};
use ir::units::Bytes;
use planner::training::per_layer::table::Chosen;
use planner::training::per_layer::{Family, Found, Judged};

use super::super::answer::margin;
use super::super::document::searched;
use super::super::screen::ON_HOSTS;
use super::{stage_text, terms};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::screen::Screen;
use crate::inputs::run::setting::Setting;
use crate::request::PlanRequest;

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
        let report = setting.confirmed(&plan, best.step)?;
        Ok(Self { setting, best, found, plan, figures, ranks: report.ranks, elapsed })
    }

    /// What a person reads first.
    pub fn screen(&self, written: Vec<String>, request: &PlanRequest) -> Screen {
        let (setting, best, counts) = (self.setting, self.best, &self.found.counts);
        let layers = setting.layers.as_ref().map_or("", |layers| layers.name.as_str());
        let mut screen = Screen::new(setting.title());
        screen.fact("plan", format!("{}; layers measured in `{layers}`", short(&best.degrees)));
        screen.fact("", (setting.offload == Offload::Optimizer).then(|| ON_HOSTS.to_owned()));
        screen.fact("step", setting.step_fact(None, best.step, best.n_devices()));
        screen.fact("memory", setting.memory_fact(None, Bytes(best.peak)));
        let space = format!("{} parallelism settings on measured layers", counts.n_shapes);
        let gap = 100.0 * (best.step.seconds() / self.found.bound.seconds() - 1.0);
        let proof = match self.found.stop {
            stop if stop.is_complete() => format!("fastest of {space}"),
            stop => format!(
                "not finished ({}): at most {gap:.1} % slower than the fastest of {space}",
                stop.words()
            ),
        };
        screen.fact("proof", format!("{proof} ({} plans simulated)", counts.n_judged));
        screen.fact("based on", NO_INTERVAL.to_owned());
        screen.fact("", self.left_out().join("; "));
        let (columns, rows) = self.others();
        screen.table(&columns, rows);
        screen.warnings = setting.warnings.clone();
        (screen.written, screen.on, screen.is_whole) = (written, request.on(), request.all);
        screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
        screen
    }

    /// What was not searched, and why.
    fn left_out(&self) -> Vec<String> {
        let counts = &self.found.counts;
        let unmeasured = self.found.lacking.as_ref().map(|lacking| {
            let (n, all) = (counts.n_unmeasured, counts.n_shapes);
            format!("{n} of {all} settings are left out: {}", lacking.message)
        });
        let too_large = (counts.n_too_large > 0).then(|| {
            let (n, all) = (counts.n_too_large, counts.n_shapes);
            format!("{n} of {all} settings are left out: too many micro-batches")
        });
        unmeasured.into_iter().chain(too_large).collect()
    }

    /// Prints what the first screen has no room for: where the memory of each rank goes.
    pub fn print(&self, page: &Page) {
        let pipeline = self.best.degrees.pipeline;
        let row = |(index, (rank, figures)): (usize, (&RankReport, &StageFigures))| {
            let left = u64::from(pipeline) - index as u64;
            let in_flight = self.best.degrees.n_micro_batches.min(left) as f64;
            let stage = &self.plan.partition.stages[index];
            let mut row = vec![index.to_string(), stage_text(stage)];
            row.extend(terms(figures, in_flight).map(|(_, bytes)| bytes.to_string()));
            row.extend([Bytes(rank.peak.bytes).to_string(), margin(rank)]);
            row
        };
        let columns = Column::row(
            "#rank | blocks | #states | #activations | #ends | #working room | #peak | \
             #margin",
        );
        let rows = self.ranks.iter().zip(&self.figures).enumerate().map(row).collect();
        page.table(&columns, rows);
    }

    /// Other degrees, with what none of their plans is below.
    fn others(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        let row = |family: &Family| {
            let loss = 100.0 * (family.bound.seconds() / self.best.step.seconds() - 1.0);
            let loss =
                if loss < 1.0 { "may tie".to_owned() } else { format!("{loss:+.1} % or more") };
            vec![short(&family.degrees), family.bound.to_string(), loss]
        };
        let columns = Column::row("instead | #step at least | ");
        (columns, self.found.others.iter().take(SHOWN).map(row).collect())
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
        let counts = &self.found.counts;
        let counts = [
            ("shapes", counts.n_shapes),
            ("unmeasured", counts.n_unmeasured),
            ("too_large", counts.n_too_large),
            ("expanded", counts.n_expanded),
            ("nodes", counts.n_nodes),
            ("judged", counts.n_judged),
        ];
        let figures = (self.best.step, self.best.peak);
        let degrees_of = degrees(&self.best.degrees);
        let best = TrainingRunDocument {
            stages: self.best.stages.iter().zip(&self.ranks).map(stage).collect(),
            offloads_optimizer: Some(self.setting.offload == Offload::Optimizer),
            ..self.setting.figures(degrees_of, self.best.n_devices(), figures)
        };
        let elapsed_s = self.elapsed.map(|elapsed| elapsed.as_secs_f64());
        TrainingReportDocument {
            others: self.found.others.iter().map(other).collect(),
            ..searched(
                self.setting,
                (plan, best),
                (self.found.bound, self.found.stop),
                (&counts, elapsed_s),
            )
        }
    }
}

/// Degrees in few words.
fn short(degrees: &Parallelism) -> String {
    let tensor = if degrees.sequence == SequenceParallel::Ulysses { "Ulysses" } else { "TP" };
    let mut text = format!(
        "DP {}, {tensor} {}, PP {}, micro-batch {} x {}",
        degrees.data,
        degrees.tensor,
        degrees.pipeline,
        degrees.micro_batch,
        degrees.n_micro_batches
    );
    if let Some(vocabulary) = degrees.vocabulary.filter(|ranks| *ranks > 1) {
        text += &format!(", vocabulary TP {vocabulary}");
    }
    text
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
