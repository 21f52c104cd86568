//! Why no plan has all loads at most a limit, in a form that others can check.
//!
//! Groups of nodes go by any of their nodes, so that a reader needs nothing but the instance.

use super::column_generation::{PRICE_UNIT, Proof};
use super::model::Model;

/// A proof that every plan has a device with a load above `limit_ns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The limit T, ns.
    pub limit_ns: u64,
    /// (a, b), in order: the group of a costs nothing and may follow that of b.
    pub followers: Vec<(u32, u32)>,
    /// What all plans of loads at most T have in common; each round speaks of the groups that the
    /// rounds before left.
    pub rounds: Vec<Round>,
    /// Groups in an order along which few nets are open. Helps checking, proves nothing.
    pub order: Vec<u32>,
    /// What refutes T for the groups that are left.
    pub reason: Reason,
}

/// Findings that all hold for the groups before the round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Ordered pairs (a, b): the group of b is where the group of a is.
    pub pairs: Vec<(u32, u32)>,
    /// Groups that no accelerator can hold.
    pub off_accelerators: Vec<u32>,
}

/// What refutes a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A group can't run on any device within the limit.
    NoDevice,
    /// All placements of the few groups that are left were tried.
    Exhausted,
    /// The accelerators and the CPU cores together can't take the worth of all groups.
    Prices {
        /// Worth of groups, in 2^-32.
        price: Vec<(u32, i64)>,
        /// Worth of holding all bytes of an accelerator on the CPU cores, in 2^-32.
        byte_price: i64,
    },
}

impl Reason {
    pub(super) fn prices(model: &Model, proof: &Proof) -> Self {
        let whole = |price: f64| (price * PRICE_UNIT) as i64;
        let pairs = model.first_nodes().into_iter().zip(&proof.price);
        Self::Prices {
            price: pairs.map(|(node, price)| (node, whole(*price))).collect(),
            byte_price: whole(proof.byte_price),
        }
    }
}
