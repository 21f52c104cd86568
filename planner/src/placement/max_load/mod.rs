//! Least greatest load on equal accelerators and CPU cores, with a proof.
//!
//! # Decides
//! The device of each node of a [`ir::instance::LoadInstance`], contiguous or not.
//!
//! # Idea
//! Can all loads be at most T? First, classes that no plan of loads at most T parts are joined
//! (minimum cuts). Then a linear program over *all* device subsets of load at most T says how many
//! accelerators are needed: a subset knows that it pays for the nets that it cuts, so that the
//! answer is near the truth. Subsets are made by need: the dearest one at given prices is a path
//! with one resource through few states, because the graphs are thin. More accelerators needed than
//! there are: T is a proved bound. Otherwise subsets of the solution are fixed one after the other,
//! which gives a plan. T is chosen between bound and incumbent; chains, packings and annealing give
//! the first incumbents.
//!
//! # Paper
//! Problem: Tarnawski et al., "Efficient algorithms for device placement of DNN graph operators",
//! NeurIPS 2020 (max-load, non-contiguous). Column generation: Gilmore and Gomory, Operations
//! Research 9(6), 1961; Barnhart et al., Operations Research 46(3), 1998. Labels: Desrochers and
//! Soumis, INFOR 26(3), 1988. Flows: Dinic, 1970.
//!
//! # Guarantee
//! The bound holds, whatever the solver of the linear program says: it comes with prices that
//! [`check::check`] verifies in whole numbers. The value is optimal where it meets the bound, which
//! is so for up to 13 classes if the search is not stopped.
//!
//! # Complexity
//! States: exponential in the number of nets that are open along the best order found; 600 to
//! 14,000 on the public graphs. Labels of a pricing: states x 2,000 cells at most.
//!
//! # Limits
//! Pricing ignores an accelerator's memory (the bound stays valid; the program knows the memory of
//! all accelerators together). More than 64 nets open at once, 3 million states or 5,000 classes:
//! bounds by work alone. All accelerators are equal, and so are all CPU cores. Same seed and node
//! budget, same answer; ties go to the least class, state or column.
//!
//! # Example
//! Two nodes of 3 ns on one accelerator and 30 ns on a core, a transfer of 5 ns between them, two
//! accelerators, one core: together, 6 ns; apart, 8 ns each. At T = 5, no subset holds one node
//! without the other (8 ns), so both are joined, and 6 ns is too much: the bound is 6.

pub mod certificate;
mod chain;
pub mod check;
mod column_generation;
mod contraction;
pub mod control;
mod dive;
pub mod evaluate;
mod exhaust;
mod frame;
mod improve;
mod layers;
mod local_search;
mod master;
mod model;
mod order;
mod packing;
mod pendant;
mod pricing;
pub mod search;

#[cfg(test)]
mod tests;
