//! The one table that knows all algorithms.

use cost_model::problem::Problem;
use ir::diagnostic::Diagnostic;

use crate::algorithm::{Field, Guarantee, Kind, OptionRow, Options, Row};
use crate::placement::{
    auto, brute_force, contiguous, heft, heft_lookahead, local_search, m_etf, m_sct, m_topo,
    multilevel, single,
};
use crate::transform::{blocks, coplace, fuse};

/// A row: everything that the command line, the service and the documentation say about it.
pub struct Entry {
    /// Name in recipes, kebab-case.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Fields of the plan that it decides (or may decide anew).
    pub decides: &'static [Field],
    /// What it promises on a problem.
    pub guarantee: fn(&Problem) -> Guarantee,
    /// Its options.
    pub options: &'static [OptionRow],
    /// Source of the method.
    pub paper: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Makes it ready to run.
    pub build: fn(&Options) -> Result<Row, Diagnostic>,
}

const PLACES: &[Field] = &[Field::Placement, Field::Schedule];

const fn heuristic(_: &Problem) -> Guarantee {
    Guarantee::Heuristic
}

static ENTRIES: &[Entry] = &[
    Entry {
        name: "auto",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: auto::OPTIONS,
        paper: "none: a portfolio of the other rows",
        summary: "runs the other rows within the time limit and keeps the best plan",
        build: auto::build,
    },
    Entry {
        name: "single",
        kind: Kind::Decide,
        decides: &[Field::Placement],
        guarantee: heuristic,
        options: &[],
        paper: "none: the baseline",
        summary: "puts everything on the one device where it is fastest",
        build: single::build,
    },
    Entry {
        name: "m-topo",
        kind: Kind::Decide,
        decides: &[Field::Placement],
        guarantee: heuristic,
        options: m_topo::OPTIONS,
        paper: "Jeon et al., Baechi: fast device placement of machine learning graphs, SoCC 2020",
        summary: "fills one device after the other in topological order up to an even share of memory",
        build: m_topo::build,
    },
    Entry {
        name: "m-etf",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: m_etf::OPTIONS,
        paper: "Hwang et al., SIAM J. Comput. 18(2), 1989 (ETF); Jeon et al., SoCC 2020 (memory)",
        summary: "list scheduling: the op that can start earliest goes first, to where it can",
        build: m_etf::build,
    },
    Entry {
        name: "m-sct",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: m_sct::OPTIONS,
        paper: "Hanen and Munier, ETFA 1995 (SCT); Jeon et al., SoCC 2020 (memory)",
        summary: "m-etf that keeps a device free for the favourite child of its last op",
        build: m_sct::build,
    },
    Entry {
        name: "heft",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Topcuoglu, Hariri and Wu, IEEE TPDS 13(3), 2002",
        summary: "ops by their longest way to the end, each into the gap where it ends first",
        build: heft::build,
    },
    Entry {
        name: "heft-lookahead",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Bittencourt, Sakellariou and Madeira, PDP 2010",
        summary: "heft that puts an op where the last of its children can end first",
        build: heft_lookahead::build,
    },
    Entry {
        name: "contiguous",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Pinar and Aykanat, JPDC 64(8), 2004 (cuts of a line)",
        summary: "cuts linear orders into even pieces, one per device, by time and by memory",
        build: contiguous::build,
    },
    Entry {
        name: "multilevel",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998",
        summary: "merges what is dear to separate, places the clusters, refines them level by level",
        build: multilevel::build,
    },
    Entry {
        name: "brute-force",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: brute_force::guarantee,
        options: brute_force::OPTIONS,
        paper: "none: the oracle",
        summary: "tries every placement, order and wait of up to 8 ops on 3 devices",
        build: brute_force::build,
    },
    Entry {
        name: "local-search",
        kind: Kind::Improve,
        decides: PLACES,
        guarantee: heuristic,
        options: local_search::OPTIONS,
        paper: "Kirkpatrick, Gelatt and Vecchi, Science 220, 1983 (annealing)",
        summary: "moves ops and blocks of them and changes orders until the plan gets no better",
        build: local_search::build,
    },
    Entry {
        name: "fuse",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: fuse::OPTIONS,
        paper: "Jeon et al., SoCC 2020, co-adjusting: op fusion",
        summary: "plans an op and its only consumer (or only producer) as one",
        build: fuse::build,
    },
    Entry {
        name: "coplace",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: coplace::OPTIONS,
        paper: "Jeon et al., SoCC 2020, co-adjusting: co-placement",
        summary: "puts ops that belong together into one colocation group",
        build: coplace::build,
    },
    Entry {
        name: "blocks",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: blocks::OPTIONS,
        paper: "none: what executors that move modules can do",
        summary: "keeps all ops of one block of the model on one device",
        build: blocks::build,
    },
];

/// All rows, in the order of listings.
#[must_use]
pub fn entries() -> &'static [Entry] {
    ENTRIES
}

/// The row with this name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_build() {
        for (position, entry) in entries().iter().enumerate() {
            assert!(entries()[..position].iter().all(|other| other.name != entry.name));
            let row = (entry.build)(&Options::default());
            let kind = match row {
                Ok(Row::Transform(_)) => Kind::Transform,
                Ok(Row::Decide(_)) => Kind::Decide,
                Ok(Row::Improve(_)) => Kind::Improve,
                Err(error) => panic!("{}: {error}", entry.name),
            };
            assert_eq!(kind, entry.kind, "{}", entry.name);
            assert_eq!(entry.decides.is_empty(), entry.kind == Kind::Transform, "{}", entry.name);
        }
    }
}
