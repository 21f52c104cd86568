//! Values that no plan has, whatever it was made for.

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;

use super::fleet::{FleetDocument, PromisesDocument, WorkerDocument};
use super::request::RequestDocument;
use super::sharding::ShardingDocument;
use super::{ModeDocument, PlanDocument, WorkloadDocument};

/// Ops and redistributions of a sharding at most.
const MOST_OPS: usize = 1 << 16;
/// Lengths of requests of a fleet at most.
const MOST_LENGTHS: usize = 256;
/// Running requests, and tokens of an iteration, of a worker at most.
const MOST_REQUESTS: u64 = 65_536;

impl PlanDocument {
    /// Refuses values that mean nothing in any plan.
    pub(super) fn check(&self) -> Result<(), Diagnostic> {
        self.workload.check()?;
        self.request.check()?;
        self.request.check_energy()?;
        let degrees = &self.parallelism;
        let named = [
            ("parallelism.data", u64::from(degrees.data)),
            ("parallelism.tensor", u64::from(degrees.tensor)),
            ("parallelism.pipeline", u64::from(degrees.pipeline)),
            ("parallelism.expert", u64::from(degrees.expert)),
            ("parallelism.context", u64::from(degrees.context)),
            ("parallelism.n_micro_batches", degrees.n_micro_batches),
        ];
        if let Some((member, _)) = named.into_iter().find(|(_, value)| *value == 0) {
            return Err(refused(member, "is 0, but must be at least 1"));
        }
        self.check_members()?;
        let request = &self.request;
        let is_asked =
            request.least.is_some() || request.pue.is_some() || request.power_cap_w.is_some();
        if is_asked && self.energy.is_none() {
            return Err(refused("energy", "is missing, and `request` asks for it"));
        }
        if let Some(fleet) = &self.fleet {
            return fleet.check();
        }
        if let Some(sharding) = &self.sharding {
            if self.workload.mode != ModeDocument::Training {
                return Err(refused("workload.mode", "is not that of a training step"));
            }
            return sharding.check();
        }
        match (&self.served, &self.training) {
            (Some(served), _) => self.check_served(served),
            (_, Some(training)) => training.check(self),
            _ => match self.kind() {
                PlanKind::Gradients => self.check_buckets(),
                PlanKind::Placement => self.check_micro_batches(),
                _ => Ok(()),
            },
        }
    }

    /// Refuses another number of micro-batches than the sizes make.
    fn check_micro_batches(&self) -> Result<(), Diagnostic> {
        let (n, stated) = (self.parallelism.n_micro_batches, self.workload.n_micro_batches());
        match n == stated {
            true => Ok(()),
            false => Err(refused(
                "parallelism.n_micro_batches",
                &format!("is {n}, but `workload` makes {stated}"),
            )),
        }
    }
}

impl FleetDocument {
    /// Refuses impossible values.
    fn check(&self) -> Result<(), Diagnostic> {
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        let PromisesDocument { ttft_s, tpot_s, latency_s, percentile } = self.promises;
        let positive = [
            ("fleet.rate", self.rate),
            ("fleet.promises.ttft_s", ttft_s),
            ("fleet.promises.tpot_s", tpot_s),
            ("fleet.promises.latency_s", latency_s),
            ("fleet.concurrency", self.concurrency.map(|n| n as f64)),
            ("fleet.promises.percentile", percentile),
            ("fleet.requests_per_s", Some(self.requests_per_s)),
        ];
        if let Some((name, _)) =
            positive.into_iter().find(|(_, value)| value.is_some_and(|value| !is_positive(value)))
        {
            return Err(refused(name, "must be a number above 0"));
        }
        let lengths_are_sound = self.lengths.iter().all(|length| {
            length.input_tokens > 0 && length.output_tokens > 0 && is_positive(length.share)
        });
        if self.lengths.iter().any(|length| length.input_tokens <= self.shared_prefix) {
            return Err(refused("fleet.shared_prefix", "must be shorter than every prompt"));
        }
        if percentile.is_some_and(|percent| percent >= 100.0) {
            return Err(refused("fleet.promises.percentile", "must be below 100"));
        }
        if self.lengths.len() > MOST_LENGTHS {
            return Err(refused("fleet.lengths", "has more than 256 entries"));
        }
        if self.lengths.is_empty() || !lengths_are_sound {
            return Err(refused("fleet.lengths", "needs tokens in and out, and shares above 0"));
        }
        if self.workers.iter().any(|of| of.replicas.is_empty() || of.stages.is_empty()) {
            return Err(refused("fleet.workers", "names workers without replicas or stages"));
        }
        let is_limit = |of: &WorkerDocument| {
            let requests = 1..=MOST_REQUESTS;
            requests.contains(&of.max_num_seqs) && requests.contains(&of.max_num_batched_tokens)
        };
        if !self.workers.iter().all(is_limit) {
            return Err(refused(
                "fleet.workers",
                "needs max_num_seqs and max_num_batched_tokens from 1 to 65536",
            ));
        }
        match self.workers.iter().all(|of| is_positive(of.requests_per_s)) {
            true => Ok(()),
            false => Err(refused("fleet.workers", "needs requests_per_s above 0")),
        }
    }
}

impl WorkloadDocument {
    /// Micro-batches of a step; a micro-batch stands alone where one of the two is absent.
    fn n_micro_batches(&self) -> u64 {
        match (self.batch, self.micro_batch) {
            (Some(batch), Some(micro_batch)) => batch.checked_div(micro_batch).unwrap_or(1),
            _ => 1,
        }
    }

    fn check(&self) -> Result<(), Diagnostic> {
        let sizes = [("workload.batch", self.batch), ("workload.micro_batch", self.micro_batch)];
        if let Some((member, _)) = sizes.into_iter().find(|(_, size)| *size == Some(0)) {
            return Err(refused(member, "is 0, but must be at least 1"));
        }
        match (self.batch, self.micro_batch) {
            (Some(batch), Some(micro_batch)) if !batch.is_multiple_of(micro_batch) => Err(refused(
                "workload.micro_batch",
                &format!("is {micro_batch}, which does not divide the batch of {batch}"),
            )),
            _ => Ok(()),
        }
    }
}

impl RequestDocument {
    /// Refuses numbers that no facility, cap or board has.
    pub(super) fn check_energy(&self) -> Result<(), Diagnostic> {
        let within = |value: Option<f64>, least: f64, most: f64| {
            value.is_none_or(|value| (least..=most).contains(&value))
        };
        let is_known = |name: &str| ["energy-per-token", "cost-per-token"].contains(&name);
        if !self.least.as_deref().is_none_or(is_known) {
            return Err(refused("request.least", "must be energy-per-token or cost-per-token"));
        }
        if !within(self.pue, 1.0, 10.0) {
            return Err(refused("request.pue", "must be from 1 to 10"));
        }
        if !within(self.power_cap_w, f64::MIN_POSITIVE, 1e12) {
            return Err(refused("request.power_cap_w", "must be positive"));
        }
        if !within(self.board_limit, 0.2, 1.0) {
            return Err(refused("request.board_limit", "must be from 0.2 to 1"));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Diagnostic> {
        if let Some([least, most]) = self.devices
            && !(1..=most).contains(&least)
        {
            let why = format!("is {least} to {most}, which is no range of counts");
            return Err(refused("request.devices", &why));
        }
        let shares =
            [("request.memory_margin", self.memory_margin), ("request.kept_free", self.kept_free)];
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..1.0).contains(share)) {
                let why = format!("is {share}, but must be at least 0 and below 1");
                return Err(refused(name, &why));
            }
        }
        Ok(())
    }
}

pub(super) fn refused(member: &'static str, why: &str) -> Diagnostic {
    Diagnostic::input("bad-plan", format!("member `{member}` of the plan {why}"))
        .fact("member", member)
        .hint("plan again, or correct the member")
}

impl ShardingDocument {
    /// Refuses impossible values.
    fn check(&self) -> Result<(), Diagnostic> {
        let sizes = self.mesh.iter().map(|axis| axis.size);
        if self.mesh.is_empty() || self.mesh.len() > 3 || sizes.clone().any(|size| size == 0) {
            return Err(refused("sharding.mesh", "needs one to three axes of at least 1"));
        }
        if sizes.fold(1, u64::saturating_mul) > 1 << 20 {
            return Err(refused("sharding.mesh", "has more than 1,048,576 devices"));
        }
        if self.sequence_length == 0 {
            return Err(refused("sharding.sequence_length", "is 0, but must be at least 1"));
        }
        if self.ops.len() > MOST_OPS || self.redistributions.len() > MOST_OPS {
            return Err(refused("sharding.ops", "has more than 65,536 entries"));
        }
        Ok(())
    }
}
