//! Copies of experts on devices, the greatest load of a device as small as can be, with a bound.
//!
//! # Decides
//! The devices of every copy of every expert, layer by layer.
//!
//! # Idea
//! From the placement of `eplb`, the fullest device gives load away: one copy, then two, for as many
//! of another device, as long as both stay below it. Where no exchange helps, an expert of the fullest
//! device gets a further copy in the place of one of an expert that has several, or some copies change
//! places at random; what is no better after all exchanges is taken back. With groups, groups of two
//! hosts change places as well. Layers of few experts are solved by an integer program (`exact`), whose
//! word is taken only where the bound is not met.
//!
//! # Paper
//! None; exchanges as in Finn and Horowitz, BIT 19, 1979, on bins of as many things each. The problem is
//! that of DeepSeek-AI, arXiv:2412.19437, section 3.4.
//!
//! # Guarantee
//! Never above `eplb`, layer by layer. A lower bound always ([`cost_model::experts::bound`]); optimal
//! where the integer program ends: up to [`exact::MOST_COLUMNS`] columns.
//!
//! # Complexity
//! An exchange looks at slots^2 x devices pairs, or slots^4 x devices / 4; as much work for a layer as
//! [`WORK`] says, or its part of the node budget.
//!
//! # Limits
//! All devices alike. Visits are split equally over copies. Layers are placed one by one: a traffic
//! between them is not seen, nor is that of tokens.
//!
//! # Example
//! Visits 4, 2, 1, 1 on two devices of three slots: {0, 1, 2} and {0, 0, 3} hold 13/3 and 11/3 of 8 with
//! three copies of the first expert, but two of it and two of the second one hold {0, 1, 2} and {0, 1, 3},
//! 4 each: the mean, so none is better.

mod bins;
pub mod exact;
mod search;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cost_model::experts::Shape;

use super::Placed;
use crate::run::Control;

/// Exchanges that are looked at for a layer, where no budget is stated: about a tenth of a second.
const WORK: u64 = 25_000_000;

/// Places each layer, several at once.
pub fn solve(layers: &[Vec<f64>], shape: &Shape, control: &Control) -> Vec<Placed> {
    let work = control.nodes_left().map_or(WORK, |left| left / layers.len().max(1) as u64);
    let work = work.min(WORK);
    let nodes = work.min(exact::MOST_NODES / layers.len().max(1) as u64);
    let placed: Vec<Mutex<Option<Placed>>> = layers.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let place = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(shares), Some(cell)) = (layers.get(at), placed.get(at)) else { return };
            let found = search::place(shares, shape, (at as u64, work, nodes), control);
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..control.threads().min(layers.len()) {
            // Where the system has no thread to give, this one does the work.
            drop(std::thread::Builder::new().spawn_scoped(scope, place));
        }
        place();
    });
    let inner =
        |cell: Mutex<Option<Placed>>| cell.into_inner().unwrap_or_else(PoisonError::into_inner);
    placed.into_iter().filter_map(inner).collect()
}
