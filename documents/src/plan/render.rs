//! From ids to names.

use ir::cluster::Cluster;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};
use ir::plan::{Plan, Stage};
use ir::profile::Profile;
use ir::schedule::{Action, Schedule, Task, Transfer};
use ir::workload::Workload;

use super::head::Head;
use super::request::RequestDocument;
use super::{
    ChannelTransfers, CostDocument, DeviceActions, ParallelismDocument, PlacedOp, PlanDocument,
    Reference, ScheduleDocument, StageDocument, TaskDocument, TransferDocument, WaitDocument,
};
use crate::digest;

/// What the plan was made of and for; see [`PlanDocument::from_ir`].
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The model after the workload was applied to it.
    pub graph: &'a Graph,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The constants.
    pub profile: &'a Profile,
    /// What was planned for.
    pub workload: &'a Workload,
    /// What was asked for.
    pub request: &'a RequestDocument,
    /// What was minimised, such as `step-time`.
    pub objective: &'a str,
    /// The recipe that made the plan.
    pub algorithm: &'a str,
}

impl PlanDocument {
    /// The document of a plan. `cost` is what the judge said of it.
    ///
    /// An id that the graph or the cluster does not have is written as `op7`, `device3`, ...,
    /// which no reader resolves: a broken plan stays visibly broken.
    #[must_use]
    pub fn from_ir(plan: &Plan, context: &Context<'_>, cost: Option<CostDocument>) -> Self {
        let namer = Namer { graph: context.graph, cluster: context.cluster };
        let mut document = Self::new(Head {
            model: Reference::new(&context.graph.name, digest::graph(context.graph)),
            cluster: Reference::new(&context.cluster.name, digest::cluster(context.cluster)),
            profile: Reference::new(&context.profile.name, digest::profile(context.profile)),
            workload: context.workload.into(),
            request: context.request.clone(),
            objective: context.objective.to_owned(),
            algorithm: context.algorithm.to_owned(),
        });
        document.parallelism =
            ParallelismDocument { training: None, ..plan.parallelism.clone().into() };
        let stage = |stage: &Stage| StageDocument {
            ops: stage.ops.iter().map(|op| namer.op(*op)).collect(),
            blocks: None,
            mesh: None,
        };
        document.partition.stages = plan.partition.stages.iter().map(stage).collect();
        document.placement = namer.placement(plan);
        document.schedule = namer.schedule(&plan.schedule);
        document.cost = cost;
        document
    }
}

struct Namer<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
}

impl Namer<'_> {
    fn op(&self, op: OpId) -> String {
        self.graph.ops.get(op.index()).map_or_else(|| op.to_string(), |op| op.name.clone())
    }

    fn device(&self, device: DeviceId) -> String {
        self.cluster
            .devices
            .get(device.index())
            .map_or_else(|| device.to_string(), |device| device.name.clone())
    }

    fn transfer(&self, transfer: Transfer) -> TransferDocument {
        let tensor = transfer.tensor;
        TransferDocument {
            tensor: self
                .graph
                .tensors
                .get(tensor.index())
                .map_or_else(|| tensor.to_string(), |tensor| tensor.name.clone()),
            to: self.device(transfer.to),
        }
    }

    fn task(&self, task: Task) -> TaskDocument {
        match task {
            Task::Op(op) => TaskDocument::Op(self.op(op)),
            Task::Transfer(transfer) => TaskDocument::Transfer(self.transfer(transfer)),
        }
    }

    fn placement(&self, plan: &Plan) -> Vec<PlacedOp> {
        plan.placement
            .device
            .iter()
            .enumerate()
            .filter_map(|(index, device)| {
                let device = self.device((*device)?);
                Some(PlacedOp { op: self.op(OpId::new(index)), device })
            })
            .collect()
    }

    fn schedule(&self, schedule: &Schedule) -> ScheduleDocument {
        let devices = schedule.actions.iter().enumerate().map(|(index, actions)| DeviceActions {
            device: self.device(DeviceId::new(index)),
            actions: actions.iter().map(|Action::Op(op)| self.op(*op)).collect(),
        });
        let channels = schedule.channels.iter().map(|(channel, transfers)| ChannelTransfers {
            channel: self
                .cluster
                .links
                .channels
                .get(channel.index())
                .map_or_else(|| channel.to_string(), |channel| channel.name.clone()),
            transfers: transfers.iter().map(|transfer| self.transfer(*transfer)).collect(),
        });
        let after = schedule.after.iter().map(|wait| WaitDocument {
            task: self.task(wait.task),
            after: wait.after.iter().map(|task| self.task(*task)).collect(),
        });
        ScheduleDocument {
            devices: devices.collect(),
            channels: channels.collect(),
            after: after.collect(),
            cells: Vec::new(),
            grid: Vec::new(),
        }
    }
}
