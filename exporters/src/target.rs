//! A row of the table of targets: which plans it takes, and how it writes them.

use cost_model::serving::engine::Engine;
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use ir::plan_kind::PlanKind;
use ir::units::Nanos;
use ir::workload::Mode;

use crate::format::{Export, Placed, Source};
use crate::serving::experts::ExpertsSource;
use crate::serving::fleet::FleetSource;
use crate::serving::nano_batches::NanoBatchesSource;
use crate::serving::slots::SlotsSource;
use crate::serving::stages::StagesSource;
use crate::serving::trains;
use crate::shardings::ShardingSource;
use crate::svg::pipeline::PipelineSource;
use crate::training::TrainingTarget;

/// A row of the table.
pub struct Target {
    /// What the user calls it.
    pub name: &'static str,
    /// Name of the file unless the user gives one.
    pub file_name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// The plans that it takes.
    pub takes: &'static [Takes],
}

/// How a target writes plans of a kind.
pub struct Takes {
    /// Supported versions of the consumer, the default first; empty = unversioned, `*` = the writer parses the
    /// version.
    pub versions: &'static [&'static str],
    /// What writes them.
    pub writer: Writer,
}

/// Input of the writers of one kind of plan.
pub trait Told {
    /// The kind.
    const KIND: PlanKind;

    /// The file for target `name`; `None` = the writer is for another kind of plan.
    fn written(&self, by: Writer, name: &'static str) -> Option<Result<Export, Diagnostic>>;
}

type Writes<S> = fn(&S) -> Result<Export, Diagnostic>;

/// What writes plans of a kind.
#[derive(Clone, Copy)]
pub enum Writer {
    /// Placements of ops.
    Ops(Placed),
    /// Training runs that the target can express.
    Run(&'static TrainingTarget),
    /// A picture of the step of a training run.
    Step(fn(&PipelineSource<'_>) -> Export),
    /// A picture of overlapping streams, for plans of this kind.
    Cells(PlanKind),
    /// Expert placement with replicas.
    Experts(Writes<ExpertsSource>),
    /// Offloaded experts with an expert cache.
    Slots(Writes<SlotsSource>),
    /// Nano-batches.
    NanoBatches(Writes<NanoBatchesSource>),
    /// Inference pipelines.
    Stages(fn(&StagesSource<'_>) -> Result<Export, Diagnostic>),
    /// Fleets of workers that serve.
    Fleet(fn(&FleetSource<'_>) -> Result<Export, Diagnostic>),
    /// Shardings of ops.
    Sharding(fn(&ShardingSource<'_>) -> Result<Export, Diagnostic>),
    /// Solutions of instances: devices (or stages) of nodes, and loads of the devices; `None` = the format
    /// cannot express the instance.
    Solution(fn(&Instance, &[u32], &[Nanos]) -> Option<Vec<u8>>),
    /// Gradients in buckets, of plans of this kind: the size that is best has to be searched first.
    Buckets(PlanKind),
}

impl Writer {
    /// The kind of plans.
    #[must_use]
    pub const fn kind(self) -> PlanKind {
        match self {
            Self::Ops(_) => PlanKind::Placement,
            Self::Run(_) | Self::Step(_) => PlanKind::Training,
            Self::Cells(kind) | Self::Buckets(kind) => kind,
            Self::Experts(_) => PlanKind::Experts,
            Self::Slots(_) => PlanKind::Slots,
            Self::NanoBatches(_) => PlanKind::NanoBatches,
            Self::Stages(_) => PlanKind::Inference,
            Self::Fleet(_) => PlanKind::Fleet,
            Self::Sharding(_) => PlanKind::Sharding,
            Self::Solution(_) => PlanKind::Given,
        }
    }

    /// Whether a launcher runs the file, so that `--for` can limit plans to what it can express.
    #[must_use]
    pub const fn is_executor(self) -> bool {
        match self {
            Self::Ops(placed) => placed.is_executor,
            Self::Run(row) => row.launches.is_some(),
            _ => false,
        }
    }

    /// Whether its file is a picture of time.
    #[must_use]
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Step(_) | Self::Cells(_))
    }
}

impl Takes {
    /// The version in `name@version`; the default version, or an empty string, where `target` is a bare name.
    ///
    /// # Errors
    /// `unknown-target` with the supported versions.
    pub fn version(&self, target: &str) -> Result<&'static str, Diagnostic> {
        let Some((name, version)) = target.split_once('@').filter(|_| self.versions != ["*"])
        else {
            return Ok(self.versions.first().copied().unwrap_or(""));
        };
        if let Some(known) = self.versions.iter().find(|known| **known == version) {
            return Ok(known);
        }
        let message = match self.versions.is_empty() {
            true => format!("{name} has no versions, so `@{version}` names none"),
            false => format!("no version `{version}` of {name} is known"),
        };
        let names = self.versions.iter().map(|known| format!("{name}@{known}"));
        let names: Vec<String> = [name.to_owned()].into_iter().chain(names).collect();
        Err(Diagnostic::usage("unknown-target", message)
            .hint(format!("use {}", names.join(" or "))))
    }
}

impl Target {
    /// How it writes plans of a kind.
    #[must_use]
    pub fn takes(&self, kind: PlanKind) -> Option<&'static Takes> {
        self.takes.iter().find(|takes| takes.writer.kind() == kind)
    }

    /// The writer of a launcher's file; `None` for pictures and tables.
    #[must_use]
    pub fn runs(&self) -> Option<&'static Takes> {
        let is_engine = Engine::named(self.name).is_some();
        let runs = |writer: Writer| {
            writer.is_executor() || (is_engine && matches!(writer, Writer::Fleet(_)))
        };
        self.takes.iter().find(|takes| runs(takes.writer))
    }

    /// How it writes placements of ops.
    #[must_use]
    pub fn placed(&self) -> Option<&'static Placed> {
        self.takes.iter().find_map(|takes| match &takes.writer {
            Writer::Ops(placed) => Some(placed),
            _ => None,
        })
    }
}

impl Told for Source<'_> {
    const KIND: PlanKind = PlanKind::Placement;

    fn written(&self, by: Writer, _: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Ops(placed) = by else { return None };
        Some((placed.export)(self))
    }
}

impl Told for ShardingSource<'_> {
    const KIND: PlanKind = PlanKind::Sharding;

    fn written(&self, by: Writer, _: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Sharding(write) = by else { return None };
        Some(write(self))
    }
}

impl Told for SlotsSource {
    const KIND: PlanKind = PlanKind::Slots;

    fn written(&self, by: Writer, name: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Slots(write) = by else { return None };
        Some(if self.mode == Mode::Training { Err(trains(name)) } else { write(self) })
    }
}

impl Told for ExpertsSource {
    const KIND: PlanKind = PlanKind::Experts;

    fn written(&self, by: Writer, name: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Experts(write) = by else { return None };
        Some(if self.mode == Mode::Training { Err(trains(name)) } else { write(self) })
    }
}

impl Told for NanoBatchesSource {
    const KIND: PlanKind = PlanKind::NanoBatches;

    fn written(&self, by: Writer, name: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::NanoBatches(write) = by else { return None };
        Some(self.check(name).and_then(|()| write(self)))
    }
}

impl Told for StagesSource<'_> {
    const KIND: PlanKind = PlanKind::Inference;

    fn written(&self, by: Writer, _: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Stages(write) = by else { return None };
        Some(write(self))
    }
}

impl Told for FleetSource<'_> {
    const KIND: PlanKind = PlanKind::Fleet;

    fn written(&self, by: Writer, _: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Fleet(write) = by else { return None };
        Some(write(self))
    }
}
