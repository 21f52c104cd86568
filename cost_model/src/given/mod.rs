//! Judges of instances whose costs are all given (`ir::instance`): what a split is worth, whether
//! it is legal, and what no split is below. None of them knows how a split was found.

pub mod averaging;
pub mod gradients;
pub mod latency;
pub mod max_load;
pub mod split;
pub mod straight;
pub mod synchronisation;
pub mod tasks;
pub mod time_per_sample;

use ir::diagnostic::Diagnostic;
use ir::instance::{
    AveragingInstance, GradientInstance, LayerProfile, LoadInstance, StageInstance, TaskInstance,
};
use ir::units::Nanos;

use averaging::Matching;
use gradients::Buckets;
use max_load::Devices;
use synchronisation::Synchronisation;
use time_per_sample::Stage;

/// What an instance is solved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Greatest load of any split.
    MaxLoad,
    /// Greatest load of a contiguous split.
    ContiguousMaxLoad,
    /// Latency of one sample.
    Latency,
    /// Slowest stage with data and tensor degrees.
    TimePerSample,
    /// Slowest stage of a straight pipeline.
    SlowestStage,
    /// Step of a data-parallel run that exchanges gradients in buckets.
    StepTime,
    /// When the last of all tasks ends.
    Makespan,
    /// Slowest of all rounds in which nodes average in pairs.
    SlowestRound,
    /// When the last client has sent its share to the server.
    UploadTime,
    /// Step of replicas that average every so many steps.
    AveragedStep,
}

/// How solutions of one form are judged.
#[derive(Clone, Copy)]
pub enum Judge {
    /// Devices of nodes.
    Load {
        /// Value of a legal split.
        evaluate: fn(&LoadInstance, &Devices) -> Result<Nanos, Diagnostic>,
        /// A value that no legal split is below.
        bound: fn(&LoadInstance) -> Nanos,
    },
    /// Stages with degrees.
    Stages {
        /// Value of a legal pipeline.
        evaluate: fn(&StageInstance, &[Stage]) -> Result<Nanos, Diagnostic>,
        /// A value that no legal pipeline is below.
        bound: fn(&StageInstance) -> Nanos,
    },
    /// Stages of layers on so many devices.
    Straight {
        /// Value of a legal pipeline.
        evaluate: fn(&LayerProfile, &[u32], usize) -> Result<Nanos, Diagnostic>,
        /// A value that no legal pipeline is below.
        bound: fn(&LayerProfile, usize) -> Nanos,
    },
    /// Buckets of gradients.
    Buckets {
        /// Value of legal buckets.
        evaluate: fn(&GradientInstance, &Buckets) -> Result<Nanos, Diagnostic>,
        /// A value that no legal buckets are below.
        bound: fn(&GradientInstance) -> Nanos,
    },
    /// Devices of tasks.
    Tasks {
        /// When the last one ends.
        evaluate: fn(&TaskInstance, &Devices) -> Result<Nanos, Diagnostic>,
        /// A time that no split ends before.
        bound: fn(&TaskInstance) -> Nanos,
    },
    /// Pairs of nodes by round.
    Rounds {
        /// The slowest round.
        evaluate: fn(&AveragingInstance, &[Matching]) -> Result<Nanos, Diagnostic>,
        /// A round that none is below.
        bound: fn(&AveragingInstance) -> Nanos,
    },
    /// Bytes of clients.
    Uploads {
        /// When the last one ends.
        evaluate: fn(&AveragingInstance, &[u64]) -> Result<Nanos, Diagnostic>,
        /// A time that none ends before.
        bound: fn(&AveragingInstance) -> Nanos,
    },
    /// How often replicas average.
    Synchronisation {
        /// A step.
        evaluate: fn(&AveragingInstance, &Synchronisation) -> Result<Nanos, Diagnostic>,
        /// A step that none is below.
        bound: fn(&AveragingInstance) -> Nanos,
    },
}

/// An objective of instances with given costs.
pub struct Row {
    /// Which one.
    pub goal: Goal,
    /// Its name on the command line and in documents.
    pub name: &'static str,
    /// How it is judged.
    pub judge: Judge,
}

static ROWS: [Row; 10] = [
    Row {
        goal: Goal::MaxLoad,
        name: "max-load",
        // greatest load of a device, transfers at both ends included
        judge: Judge::Load {
            evaluate: |instance, devices| {
                max_load::evaluate(instance, devices, max_load::Contiguity::Free)
            },
            bound: max_load::bound,
        },
    },
    Row {
        goal: Goal::ContiguousMaxLoad,
        name: "contiguous-max-load",
        // max-load where no path leaves a device and comes back
        judge: Judge::Load {
            evaluate: |instance, devices| {
                max_load::evaluate(instance, devices, max_load::Contiguity::Contiguous)
            },
            bound: max_load::bound,
        },
    },
    Row {
        goal: Goal::Latency,
        name: "latency",
        // time of one sample, one block of nodes per accelerator
        judge: Judge::Load { evaluate: latency::evaluate, bound: latency::bound },
    },
    Row {
        goal: Goal::TimePerSample,
        name: "time-per-sample",
        // slowest stage of a pipeline with data and tensor degrees
        judge: Judge::Stages { evaluate: time_per_sample::evaluate, bound: time_per_sample::bound },
    },
    Row {
        goal: Goal::SlowestStage,
        name: "slowest-stage",
        // slowest stage of a straight pipeline, activations not counted
        judge: Judge::Straight { evaluate: straight::evaluate, bound: straight::bound },
    },
    Row {
        goal: Goal::StepTime,
        name: "step-time",
        // forward pass, then backward pass and exchange of gradients beside it
        judge: Judge::Buckets { evaluate: gradients::evaluate, bound: gradients::bound },
    },
    Row {
        goal: Goal::Makespan,
        name: "makespan",
        // when the last device ends
        judge: Judge::Tasks { evaluate: tasks::evaluate, bound: tasks::bound },
    },
    Row {
        goal: Goal::SlowestRound,
        name: "slowest-round",
        // slowest pair of all rounds of a window that joins all nodes
        judge: Judge::Rounds { evaluate: averaging::evaluate, bound: averaging::bound },
    },
    Row {
        goal: Goal::UploadTime,
        name: "upload-time",
        // when the last client has sent its share
        judge: Judge::Uploads {
            evaluate: averaging::evaluate_uploads,
            bound: averaging::bound_uploads,
        },
    },
    Row {
        goal: Goal::AveragedStep,
        name: "averaged-step",
        // what a replica computes, and its share of exchanges
        judge: Judge::Synchronisation {
            evaluate: synchronisation::evaluate,
            bound: synchronisation::bound,
        },
    },
];

/// All objectives of instances with given costs.
#[must_use]
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// The row of a goal.
#[must_use]
pub fn row(goal: Goal) -> &'static Row {
    match goal {
        Goal::MaxLoad => &ROWS[0],
        Goal::ContiguousMaxLoad => &ROWS[1],
        Goal::Latency => &ROWS[2],
        Goal::TimePerSample => &ROWS[3],
        Goal::SlowestStage => &ROWS[4],
        Goal::StepTime => &ROWS[5],
        Goal::Makespan => &ROWS[6],
        Goal::SlowestRound => &ROWS[7],
        Goal::UploadTime => &ROWS[8],
        Goal::AveragedStep => &ROWS[9],
    }
}
