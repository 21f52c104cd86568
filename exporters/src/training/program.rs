//! What starts the processes of a target, and where they run.

use super::target::TrainingSource;

/// What starts the processes of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// `torchrun`; the words of the target's file go to the program.
    Torchrun,
    /// `accelerate launch` with a file of its own.
    Accelerate,
    /// The program itself, on one host: it reads the target's file by hydra and starts the others.
    Hydra,
}

/// What a target's processes are started as.
pub(crate) struct Program {
    /// What starts them.
    pub start: Start,
    /// Members of the target's file that are files of the folder, in JSON.
    pub members: &'static [&'static str],
    /// Words behind those of what starts them; those that a user must give are variables of the shell.
    pub words: &'static str,
    /// Variables that the plan rests on.
    pub environment: fn(&TrainingSource<'_>) -> Vec<(&'static str, String)>,
    /// What only the user knows.
    pub yours: &'static str,
}

/// Where a rank runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its host, by the name of the cluster.
    pub host: &'a str,
    /// Its device.
    pub device: &'a str,
    /// The number of the device on its host.
    pub slot: u32,
    /// Its kind.
    pub kind: &'a str,
}

/// Ranks that one agent starts: neighbours on one host.
pub(crate) struct Agent<'a> {
    pub host: &'a str,
    /// The devices of its ranks, by their numbers on the host.
    pub slots: Vec<u32>,
}

/// A schedule that torch reads from a file.
pub(crate) const SCHEDULE: &str = "schedule.csv";

/// Who starts which ranks, in their order.
pub(crate) fn agents<'a>(places: &[Place<'a>]) -> Vec<Agent<'a>> {
    let agent = |run: &[Place<'a>]| {
        let slots = run.iter().map(|place| place.slot).collect();
        Some(Agent { host: run.first()?.host, slots })
    };
    places.chunk_by(|a, b| a.host == b.host).filter_map(agent).collect()
}
