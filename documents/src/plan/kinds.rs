//! Kinds of plans: what each is known by, and the members that it states.

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;

use super::check::refused;
use super::experts::ExpertLayersDocument;
use super::{PlanDocument, StageDocument};
#[cfg(test)]
use crate::report::FoundDocument;

/// A kind of plan, and names of members that not every plan has.
struct Row {
    kind: PlanKind,
    /// What none of the rows below states.
    is: fn(&PlanDocument) -> bool,
    /// Members that its plans state.
    must: &'static str,
    /// Members that its plans may state.
    may: &'static str,
}

/// All, the first of which a plan is.
const KINDS: [Row; 11] = [
    Row {
        kind: PlanKind::Fleet,
        is: |plan| plan.fleet.is_some(),
        must: "fleet",
        may: "request.max_memory_bytes request.expert_skew",
    },
    Row {
        kind: PlanKind::Sharding,
        is: |plan| plan.sharding.is_some(),
        must: "sharding workload.batch workload.micro_batch cost",
        may: "request.max_memory_bytes request.memory_margin request.pin",
    },
    Row {
        kind: PlanKind::Inference,
        is: |plan| plan.served.is_some(),
        must: "served workload.batch partition.stages.blocks partition.stages.mesh cost",
        may: "energy request.least request.pue request.power_cap_w request.board_limit \
              request.without request.max_memory_bytes request.memory_margin",
    },
    Row {
        kind: PlanKind::Gradients,
        is: |plan| plan.communication.exchange.is_some() || !plan.communication.buckets.is_empty(),
        must: "communication.exchange communication.buckets cost",
        may: "communication.lossy workload.batch",
    },
    Row {
        kind: PlanKind::NanoBatches,
        is: |plan| plan.experts.serving.is_some(),
        must: "experts.phase experts.tokens experts.sequence_length experts.serving \
               experts.layers experts.layers[].nano_batches workload.batch schedule.cells cost",
        may: "request.expert_skew",
    },
    Row {
        kind: PlanKind::Groups,
        is: |plan| plan.experts.disaggregated.is_some(),
        must: "experts.phase experts.tokens experts.sequence_length experts.disaggregated \
               experts.layers experts.layers[].piece_seconds workload.batch schedule.cells cost",
        may: "experts.layers[].slots experts.layers[].visits experts.layers[].devices_of_expert \
              request.expert_skew",
    },
    Row {
        kind: PlanKind::Streams,
        is: |plan| !plan.schedule.cells.is_empty(),
        must: "experts.phase experts.tokens experts.sequence_length experts.layers \
               experts.layers[].r_fwd experts.layers[].r_bwd experts.layers[].gradient_bytes \
               experts.layers[].others_gradient_bytes workload.batch schedule.cells cost",
        may: "request.expert_skew",
    },
    Row {
        kind: PlanKind::Slots,
        is: |plan| plan.experts.host.is_some(),
        must: "experts.phase experts.tokens experts.groups experts.host experts.layers \
               experts.layers[].cache workload.batch",
        may: "experts.sequence_length experts.layers[].slots experts.layers[].visits \
              experts.layers[].devices_of_expert experts.layers[].resident \
              experts.layers[].prefetch request.expert_skew",
    },
    Row {
        kind: PlanKind::Experts,
        is: |plan| !plan.experts.layers.is_empty(),
        must: "experts.phase experts.tokens experts.groups experts.layers workload.batch",
        // What a placement lacks is named where its rules are looked at.
        may: "experts.sequence_length experts.layers[].slots experts.layers[].visits \
              experts.layers[].devices_of_expert experts.layers[].bound_method \
              request.expert_skew",
    },
    Row {
        kind: PlanKind::Training,
        is: |plan| plan.training.is_some(),
        must: "training parallelism.training",
        may: "partition.stages.blocks partition.stages.mesh schedule.grid communication.lossy \
              communication.edges communication.replaced communication.moves \
              communication.moving_ns communication.spares workload.batch workload.micro_batch \
              cost energy request.lost request.spares request.least request.pue \
              request.power_cap_w request.board_limit request.without request.devices \
              request.max_memory_bytes request.memory_margin request.no_offload \
              request.expert_skew",
    },
    Row {
        kind: PlanKind::Placement,
        is: |_| true,
        must: "",
        may: "placement schedule.devices schedule.channels schedule.after workload.batch \
              workload.micro_batch cost",
    },
];

/// Whether a member is there.
enum Is {
    Of(fn(&PlanDocument) -> bool),
    /// Of each stage.
    Stages(fn(&StageDocument) -> bool),
    /// Of each entry of layers.
    Layers(fn(&ExpertLayersDocument) -> bool),
}

use Is::{Layers, Of, Stages};

/// Members that not every plan has.
const MEMBERS: [(&str, Is); 62] = [
    ("placement", Of(|plan| !plan.placement.is_empty())),
    ("training", Of(|plan| plan.training.is_some())),
    ("served", Of(|plan| plan.served.is_some())),
    ("sharding", Of(|plan| plan.sharding.is_some())),
    ("fleet", Of(|plan| plan.fleet.is_some())),
    ("parallelism.training", Of(|plan| plan.parallelism.training.is_some())),
    ("experts.phase", Of(|plan| plan.experts.phase.is_some())),
    ("experts.sequence_length", Of(|plan| plan.experts.sequence_length.is_some())),
    ("experts.tokens", Of(|plan| plan.experts.tokens.is_some())),
    ("experts.groups", Of(|plan| plan.experts.groups.is_some())),
    ("experts.host", Of(|plan| plan.experts.host.is_some())),
    ("experts.disaggregated", Of(|plan| plan.experts.disaggregated.is_some())),
    ("experts.serving", Of(|plan| plan.experts.serving.is_some())),
    ("experts.layers", Of(|plan| !plan.experts.layers.is_empty())),
    ("schedule.devices", Of(|plan| !plan.schedule.devices.is_empty())),
    ("schedule.channels", Of(|plan| !plan.schedule.channels.is_empty())),
    ("schedule.after", Of(|plan| !plan.schedule.after.is_empty())),
    ("schedule.grid", Of(|plan| !plan.schedule.grid.is_empty())),
    ("schedule.cells", Of(|plan| !plan.schedule.cells.is_empty())),
    ("communication.exchange", Of(|plan| plan.communication.exchange.is_some())),
    ("communication.buckets", Of(|plan| !plan.communication.buckets.is_empty())),
    ("communication.lossy", Of(|plan| !plan.communication.lossy.is_empty())),
    ("communication.edges", Of(|plan| !plan.communication.edges.is_empty())),
    ("communication.matchings", Of(|plan| !plan.communication.matchings.is_empty())),
    ("communication.joined_by", Of(|plan| !plan.communication.joined_by.is_empty())),
    ("communication.uploads", Of(|plan| !plan.communication.uploads.is_empty())),
    ("communication.sync", Of(|plan| plan.communication.sync.is_some())),
    ("communication.replaced", Of(|plan| plan.communication.replaced.is_some())),
    ("communication.moves", Of(|plan| !plan.communication.moves.is_empty())),
    ("communication.moving_ns", Of(|plan| plan.communication.moving_ns.is_some())),
    ("communication.spares", Of(|plan| !plan.communication.spares.is_empty())),
    ("workload.batch", Of(|plan| plan.workload.batch.is_some())),
    ("workload.micro_batch", Of(|plan| plan.workload.micro_batch.is_some())),
    ("cost", Of(|plan| plan.cost.is_some())),
    ("energy", Of(|plan| plan.energy.is_some())),
    ("request.lost", Of(|plan| !plan.request.lost.is_empty())),
    ("request.spares", Of(|plan| plan.request.spares.is_some())),
    ("request.least", Of(|plan| plan.request.least.is_some())),
    ("request.pue", Of(|plan| plan.request.pue.is_some())),
    ("request.power_cap_w", Of(|plan| plan.request.power_cap_w.is_some())),
    ("request.board_limit", Of(|plan| plan.request.board_limit.is_some())),
    ("request.without", Of(|plan| !plan.request.without.is_empty())),
    ("request.devices", Of(|plan| plan.request.devices.is_some())),
    ("request.max_memory_bytes", Of(|plan| plan.request.max_memory_bytes.is_some())),
    ("request.memory_margin", Of(|plan| plan.request.memory_margin.is_some())),
    ("request.expert_skew", Of(|plan| plan.request.expert_skew.is_some())),
    ("request.no_offload", Of(|plan| plan.request.no_offload)),
    ("partition.stages.blocks", Stages(|stage| stage.blocks.is_some())),
    ("partition.stages.mesh", Stages(|stage| stage.mesh.is_some())),
    ("experts.layers[].slots", Layers(|layer| layer.slots > 0)),
    ("experts.layers[].visits", Layers(|layer| !layer.visits.is_empty())),
    ("experts.layers[].devices_of_expert", Layers(|layer| !layer.devices_of_expert.is_empty())),
    ("experts.layers[].bound_method", Layers(|layer| !layer.bound_method.is_empty())),
    ("experts.layers[].r_fwd", Layers(|layer| layer.r_fwd.is_some())),
    ("experts.layers[].r_bwd", Layers(|layer| layer.r_bwd.is_some())),
    ("experts.layers[].gradient_bytes", Layers(|layer| layer.gradient_bytes.is_some())),
    (
        "experts.layers[].others_gradient_bytes",
        Layers(|layer| layer.others_gradient_bytes.is_some()),
    ),
    ("experts.layers[].resident", Layers(|layer| !layer.resident.is_empty())),
    ("experts.layers[].prefetch", Layers(|layer| !layer.prefetch.is_empty())),
    ("experts.layers[].cache", Layers(|layer| layer.cache.is_some())),
    ("experts.layers[].piece_seconds", Layers(|layer| layer.piece_seconds.is_some())),
    ("experts.layers[].nano_batches", Layers(|layer| layer.nano_batches.is_some())),
];

impl Is {
    /// Whether it is there anywhere, and wherever it may be.
    fn there(&self, plan: &PlanDocument) -> [bool; 2] {
        fn each<T>(all: &[T], is: fn(&T) -> bool) -> [bool; 2] {
            [all.iter().any(is), all.iter().all(is)]
        }
        match self {
            Of(is) => [is(plan); 2],
            Stages(is) => each(&plan.partition.stages, *is),
            Layers(is) => each(&plan.experts.layers, *is),
        }
    }
}

impl PlanDocument {
    fn row(&self) -> &'static Row {
        const { &KINDS }.iter().find(|row| (row.is)(self)).unwrap_or(const { &KINDS[10] })
    }

    /// What it decides.
    #[must_use]
    pub fn kind(&self) -> PlanKind {
        self.row().kind
    }

    /// Refuses members that plans of its kind do not state, and lacks of those that they do.
    pub(super) fn check_members(&self) -> Result<(), Diagnostic> {
        let row = self.row();
        let names = |list: &str, name: &str| list.split(' ').any(|member| member == name);
        for (name, is) in &MEMBERS {
            let (must, [any, all]) = (names(row.must, name), is.there(self));
            if any && !must && !names(row.may, name) {
                return Err(refused(name, &format!("is nothing that {} states", row.kind.words())));
            }
            if must && !all {
                return Err(refused(name, "is missing"));
            }
        }
        Ok(())
    }
}

/// What `plan --json` prints, by what is planned, or why there is no plan.
#[cfg(test)]
#[derive(serde::Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is wanted")]
pub(crate) enum AnswerDocument {
    Ops(Box<crate::report::ReportDocument>),
    Training(Box<crate::report::training::TrainingReportDocument>),
    Instance(Box<crate::solution::SolutionReportDocument>),
    Experts(Box<FoundDocument<super::experts::ExpertsFigures>>),
    Slots(Box<FoundDocument<super::experts::SlotsFigures>>),
    Streams(Box<FoundDocument<super::cells::StreamsFigures>>),
    Groups(Box<FoundDocument<super::disaggregated::GroupsFigures>>),
    NanoBatches(Box<FoundDocument<super::nano_batches::NanoBatchesFigures>>),
    Inference(Box<FoundDocument<super::served::InferenceFigures>>),
    Gradients(Box<FoundDocument<super::buckets::GradientsFigures>>),
    Fleet(Box<FoundDocument<super::fleet::FleetFigures>>),
    Sharding(Box<FoundDocument<super::sharding::ShardingFigures>>),
    Failure(Box<crate::report::FailureDocument>),
    /// Of `explain --why-not`.
    WhyNot(Box<crate::report::why_not::ExplainedDocument>),
}
