//! What parts of layers are planned on: a model with experts on equal hosts, priced as blocks of
//! training runs are.

use std::path::Path;

use cost_model::runs::forms::block::parts;
use cost_model::runs::forms::run::Sharded;
use cost_model::streams::moe_step::{Model, Reduce};
use documents::plan::request::RequestDocument;
use ir::card::stored::Held;
use ir::card::{SequenceParallel, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use planner::experts::fsmoe::MOST_PARTS;

use crate::inputs::run::setting::{STACK, Setting as Run};
use crate::inputs::run::step;
use crate::request::ProblemRequest;

/// Model and devices, and what each layer takes in how many parts.
#[derive(Clone)]
pub struct Setting {
    /// Model, devices and software.
    pub run: Run,
    /// Layers, without MTP layers.
    pub model: Model,
    /// Hosts: replicas, which share out the experts.
    pub hosts: u32,
    /// Devices of a host, which share out each expert.
    pub per_host: u32,
}

impl Setting {
    /// Reads a model, of samples of so many tokens where they are stated, on the cluster of the flags, for
    /// a step of so many samples.
    ///
    /// # Errors
    /// Those of the readers; `batch`, `no-experts`, `one-host`, `uneven-batch`, `uneven-shards`,
    /// `unlike-hosts`, `not-for-streams`.
    pub fn read(
        (path, sequence): (&Path, Option<u64>),
        flags: &ProblemRequest,
        (batch, request): (u64, RequestDocument),
    ) -> Result<Self, Diagnostic> {
        let mut run = step::read((path, sequence), flags, (batch, STACK), step::Step::Trains)?;
        run.ask(request)?;
        let per_host = u32::try_from(run.system.per_host).unwrap_or(u32::MAX).max(1);
        let n_devices = u32::try_from(run.cluster.devices.len()).unwrap_or(u32::MAX);
        let hosts = n_devices / per_host;
        check(&run, (hosts, per_host), batch)?;
        let model = priced(&run, (hosts, per_host), batch);
        Ok(Self { run, model, hosts, per_host })
    }
}

/// Refuses what can not be shared out as the paper does.
fn check(run: &Run, (hosts, per_host): (u32, u32), batch: u64) -> Result<(), Diagnostic> {
    let groups = || run.model.groups.iter().map(|group| &group.card);
    let Some(experts) = groups().find_map(|card| card.experts) else {
        let message = "the model has no experts whose tokens could go through in parts";
        return Err(Diagnostic::usage("no-experts", message)
            .hint("give a model with experts, or leave --algorithm out"));
    };
    let refused = |code, message: String, hint: &'static str| {
        Err(Diagnostic::usage(code, message)
            .fact("hosts", u64::from(hosts))
            .fact("devices_per_host", u64::from(per_host))
            .hint(hint))
    };
    if hosts < 2 {
        let message = "on one host no exchange leaves it that could hide behind experts";
        return refused("one-host", message.to_owned(), "give a cluster of several hosts");
    }
    if u64::from(hosts) > experts.n_experts {
        let message =
            format!("{} experts can't be shared out over {hosts} hosts", experts.n_experts);
        return refused(
            "too-many-hosts",
            message,
            "give a cluster of as many hosts as experts or fewer",
        );
    }
    let all = || groups().filter_map(|card| card.experts);
    if let Some(card) = all().find(|card| !card.n_experts.is_multiple_of(u64::from(hosts))) {
        let message =
            format!("{} experts can't be shared out evenly over {hosts} hosts", card.n_experts);
        return refused("uneven-experts", message, "give a cluster whose hosts divide them");
    }
    if !batch.is_multiple_of(u64::from(hosts)) {
        let message =
            format!("{batch} samples of a step can't be shared out evenly over {hosts} hosts");
        return refused("uneven-batch", message, "state a multiple of the hosts with --batch");
    }
    let uneven = |card: &&TransformerCard| !card.n_heads.is_multiple_of(u64::from(per_host));
    match groups().find(uneven) {
        Some(card) => {
            let message = format!(
                "{} heads can't be shared out evenly over {per_host} devices",
                card.n_heads
            );
            refused("uneven-shards", message, "give a cluster whose hosts have a divisor of them")
        }
        None => Ok(()),
    }
}

/// All layers at the prices of blocks.
fn priced(run: &Run, (hosts, per_host): (u32, u32), batch: u64) -> Model {
    let parallelism = Parallelism {
        data: hosts,
        tensor: per_host,
        expert: hosts,
        micro_batch: batch / u64::from(hosts),
        sequence: if per_host > 1 { SequenceParallel::On } else { SequenceParallel::Off },
        ..Parallelism::default()
    };
    let pricing = run.pricing();
    let sharded = |card| Sharded {
        card,
        parallelism: &parallelism,
        gradients: pricing.gradients,
        dtype: pricing.dtype,
        held: Held::default(),
    };
    let software = (pricing.stack, pricing.constants);
    let kinds = run
        .model
        .groups
        .iter()
        .map(|group| parts::layer(sharded(&group.card), pricing.system, software, MOST_PARTS));
    let layers = step::kinds(run).collect();
    let mut model = Model { kinds: kinds.collect(), layers, reduce: Reduce::default() };
    let all = model.gradient_bytes();
    if let Some(group) = run.model.groups.first() {
        model.reduce = parts::reduce(sharded(&group.card), pricing.system, pricing.constants, all);
    }
    model
}
