//! Where the durations of a problem come from.

use std::collections::BTreeSet;
use std::sync::Arc;

use ir::cluster::{Check, RouteKind};
use ir::id::{DeviceId, OpId};

use crate::kernels::origin::Origin;
use crate::ops::problem::Problem;

/// Origins of all durations; without entries everything counts as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// `kind * n_ops + op`.
    pub(crate) ops: Vec<Origin>,
    /// Links whose figures a profile measured.
    pub(crate) measured_links: BTreeSet<String>,
    /// Whether figures of links that nobody stated or measured count as nominal.
    pub(crate) knows_links: bool,
}

impl Origins {
    /// Where the figures of a way come from.
    #[must_use]
    pub fn route(&self, route: &RouteKind) -> Origin {
        if self.measured_links.contains(&route.name) {
            Origin::Measured
        } else if route.check == Check::Given || !self.knows_links {
            Origin::Given
        } else {
            Origin::Nominal
        }
    }
}

impl Problem {
    /// The same problem with origins of its durations.
    #[must_use]
    pub fn with_origins(mut self, origins: Origins) -> Self {
        self.origins = Arc::new(origins);
        self
    }

    /// Where its durations come from.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Where the duration of an op on a device comes from.
    #[must_use]
    pub fn op_origin(&self, op: OpId, device: DeviceId) -> Origin {
        let kind = self.cluster.devices[device.index()].kind.index();
        let position = kind * self.n_ops() + op.index();
        self.origins.ops.get(position).copied().unwrap_or(Origin::Given)
    }

    /// Where the duration of a transfer comes from.
    #[must_use]
    pub fn transfer_origin(&self, from: DeviceId, to: DeviceId) -> Origin {
        let route = self.cluster.route(from, to);
        route.map_or(Origin::Given, |route| self.origins.route(route.kind))
    }
}
