//! Instances with given costs: the methods that solve them, how one is run, and models of ops
//! written as such instances.

pub mod as_instance;
pub(crate) mod blocks_anneal;
pub mod bucket_cap;
pub(crate) mod columns;
pub mod gossip_matchings;
pub mod gradient_buckets;
pub mod ideals;
pub(crate) mod labels;
pub mod latency;
pub mod lpt;
pub mod max_load;
pub(crate) mod mg_wfbp;
pub mod milp;
pub mod runner;
pub mod straight;
pub(crate) mod sync_period;
pub mod time_per_sample;
pub mod unrelated_machines;
pub(crate) mod upload_shares;
