//! Values that no plan has, whatever it was made for.

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;

use super::experts::ExpertsDocument;
use super::request::RequestDocument;
use super::{PlanDocument, WorkloadDocument};

impl PlanDocument {
    /// What it decides.
    #[must_use]
    pub fn kind(&self) -> PlanKind {
        let experts = &self.experts;
        match (&self.served, &self.training) {
            (Some(_), _) => PlanKind::Inference,
            _ if self.has_buckets() => PlanKind::Gradients,
            _ if experts.serving.is_some() => PlanKind::NanoBatches,
            _ if experts.disaggregated.is_some() => PlanKind::Groups,
            _ if !self.schedule.cells.is_empty() => PlanKind::Streams,
            _ if experts.host.is_some() => PlanKind::Slots,
            _ if !experts.layers.is_empty() => PlanKind::Experts,
            (_, Some(_)) => PlanKind::Training,
            (None, None) => PlanKind::Placement,
        }
    }

    /// Refuses values that mean nothing in any plan.
    pub(super) fn check(&self) -> Result<(), Diagnostic> {
        self.workload.check()?;
        self.request.check()?;
        self.request.check_energy()?;
        self.check_losses()?;
        self.check_has_energy()?;
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
        if let Some(served) = &self.served {
            return self.check_served(served);
        }
        if self.has_buckets() {
            self.request.check_of_ops()?;
            return self.check_buckets();
        }
        if !self.experts.layers.is_empty() {
            return self.check_experts();
        }
        if self.experts != ExpertsDocument::default() {
            return Err(refused("experts", "places no layer"));
        }
        if self.has_streams() {
            return Err(refused("schedule.cells", "is of no layer"));
        }
        if let Some(training) = &self.training {
            return training.check(self);
        }
        self.request.check_of_ops()?;
        let n_micro_batches = degrees.n_micro_batches;
        let stated = self.workload.n_micro_batches();
        if n_micro_batches != stated {
            return Err(refused(
                "parallelism.n_micro_batches",
                &format!("is {n_micro_batches}, but `workload` makes {stated}"),
            ));
        }
        Ok(())
    }

    /// Refuses what only training runs state of devices that come and go.
    fn check_losses(&self) -> Result<(), Diagnostic> {
        let own = &self.communication;
        let foreign = [
            ("communication.replaced", own.replaced.is_some()),
            ("communication.moves", !own.moves.is_empty()),
            ("communication.moving_ns", own.moving_ns.is_some()),
            ("communication.spares", !own.spares.is_empty()),
            ("request.lost", !self.request.lost.is_empty()),
            ("request.spares", self.request.spares.is_some()),
        ];
        let averaged = [
            ("communication.matchings", !own.matchings.is_empty()),
            ("communication.joined_by", !own.joined_by.is_empty()),
            ("communication.uploads", !own.uploads.is_empty()),
        ];
        refuse_any(averaged, "is stated of nodes that average their models only")?;
        match self.training {
            Some(_) => Ok(()),
            None => refuse_any(foreign, "is stated of training runs only"),
        }
    }

    /// Refuses energy of plans that state none.
    fn check_has_energy(&self) -> Result<(), Diagnostic> {
        let own = &self.request;
        let foreign = [
            ("energy", self.energy.is_some()),
            ("request.least", own.least.is_some()),
            ("request.pue", own.pue.is_some()),
            ("request.power_cap_w", own.power_cap_w.is_some()),
            ("request.board_limit", own.board_limit.is_some()),
            ("request.without", !own.without.is_empty()),
        ];
        let is_asked = own.least.is_some() || own.pue.is_some() || own.power_cap_w.is_some();
        match self.training.is_some() || self.served.is_some() {
            true if is_asked && self.energy.is_none() => {
                Err(refused("energy", "is missing, and `request` asks for it"))
            }
            true => Ok(()),
            false => refuse_any(foreign, "is stated of training runs and of what serves only"),
        }
    }
}

impl PlanDocument {
    /// What only plans of ops, of training runs and of what runs inside a layer decide, and whether it is
    /// there.
    pub(super) fn decided_elsewhere(&self) -> [(&'static str, bool); 9] {
        let schedule = &self.schedule;
        [
            ("training", self.training.is_some()),
            ("placement", !self.placement.is_empty()),
            ("experts", self.experts != ExpertsDocument::default()),
            ("schedule.devices", !schedule.devices.is_empty()),
            ("schedule.channels", !schedule.channels.is_empty()),
            ("schedule.after", !schedule.after.is_empty()),
            ("schedule.grid", !schedule.grid.is_empty()),
            ("schedule.cells", !schedule.cells.is_empty()),
            ("workload.micro_batch", self.workload.micro_batch.is_some()),
        ]
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
            value.is_none_or(|own| (least..=most).contains(&own))
        };
        let is_known = |own: &str| ["energy-per-token", "cost-per-token"].contains(&own);
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

    /// Refuses what only a training run over degrees is asked.
    fn check_of_ops(&self) -> Result<(), Diagnostic> {
        let foreign = [
            ("request.devices", self.devices.is_some()),
            ("request.max_memory_bytes", self.max_memory_bytes.is_some()),
            ("request.memory_margin", self.memory_margin.is_some()),
            ("request.no_offload", self.no_offload),
            ("request.expert_skew", self.expert_skew.is_some()),
        ];
        refuse_any(foreign, "is asked of training runs only")
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
            if let Some(share) = share.filter(|own| !(0.0..1.0).contains(own)) {
                let why = format!("is {share}, but must be at least 0 and below 1");
                return Err(refused(name, &why));
            }
        }
        Ok(())
    }
}

/// Refuses the first member that is as it must not be.
pub(super) fn refuse_any(
    members: impl IntoIterator<Item = (&'static str, bool)>,
    why: &str,
) -> Result<(), Diagnostic> {
    match members.into_iter().find(|(_, is)| *is) {
        Some((member, _)) => Err(refused(member, why)),
        None => Ok(()),
    }
}

pub(super) fn refused(member: &'static str, why: &str) -> Diagnostic {
    Diagnostic::input("bad-plan", format!("member `{member}` of the plan {why}"))
        .fact("member", member)
        .hint("plan again, or correct the member")
}
