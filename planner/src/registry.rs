//! The one table that knows all algorithms.

use cost_model::objective;
use cost_model::problem::Problem;
use ir::diagnostic::Diagnostic;

use crate::algorithm::{Field, Guarantee, Kind, OptionRow, Options, Row};
use crate::instance::{Method, PORTFOLIO};
use crate::partition::ideals::{self, orders as orders_of_instances};
use crate::partition::{blocks_anneal, labels, straight};
use crate::placement::{
    as_instance, auto, brute_force, columns, contiguous, heft, heft_lookahead, local_search, m_etf,
    m_sct, m_topo, milp, multilevel, orders, refine_load, single,
};
use crate::transform::{blocks, chains, coplace, fuse, repeat};

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
    /// Makes it ready to plan a model; `None` if it can't.
    pub build: Option<Build>,
    /// How it solves instances with given costs; `None` if it can't.
    pub method: Option<Method>,
}

/// Makes a row ready to plan a model.
pub type Build = fn(&Options) -> Result<Row, Diagnostic>;

impl Entry {
    /// Names of the objectives that it serves: of models first, then of instances.
    #[must_use]
    pub fn objectives(&self) -> Vec<&'static str> {
        let models = self.build.map_or(&[][..], |_| objective::rows());
        let goals = self.method.as_ref().map_or(&[][..], |method| method.goals);
        let goals = goals.iter().map(|goal| cost_model::instance::row(*goal).name);
        let mut names: Vec<&str> = models.iter().map(|row| row.name).collect();
        for name in goals {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Where it can be used: `models`, `instances` or both.
    #[must_use]
    pub fn runs_on(&self) -> Vec<&'static str> {
        let models = self.build.map(|_| "models");
        let instances = self.method.as_ref().map(|_| "instances");
        models.into_iter().chain(instances).collect()
    }
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
        build: Some(auto::build),
        method: Some(PORTFOLIO),
    },
    Entry {
        name: "single",
        kind: Kind::Decide,
        decides: &[Field::Placement],
        guarantee: heuristic,
        options: &[],
        paper: "none: the baseline",
        summary: "puts everything on the one device where it is fastest",
        build: Some(single::build),
        method: None,
    },
    Entry {
        name: "m-topo",
        kind: Kind::Decide,
        decides: &[Field::Placement],
        guarantee: heuristic,
        options: m_topo::OPTIONS,
        paper: "Jeon et al., Baechi: fast device placement of machine learning graphs, SoCC 2020",
        summary: "fills one device after the other in topological order up to an even share of memory",
        build: Some(m_topo::build),
        method: None,
    },
    Entry {
        name: "orders",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: orders::OPTIONS,
        paper: "Tarnawski et al., NeurIPS 2020, section 5.1, linearisation",
        summary: "contiguous pieces of a few linear orders, under the least load for all devices",
        build: Some(orders::build),
        method: Some(orders_of_instances::METHOD),
    },
    Entry {
        name: "m-etf",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: m_etf::OPTIONS,
        paper: "Hwang et al., SIAM J. Comput. 18(2), 1989 (ETF); Jeon et al., SoCC 2020 (memory)",
        summary: "list scheduling: the op that can start earliest goes first, to where it can",
        build: Some(m_etf::build),
        method: None,
    },
    Entry {
        name: "m-sct",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: m_sct::OPTIONS,
        paper: "Hanen and Munier, ETFA 1995 (SCT); Jeon et al., SoCC 2020 (memory)",
        summary: "m-etf that keeps a device free for the favourite child of its last op",
        build: Some(m_sct::build),
        method: None,
    },
    Entry {
        name: "heft",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Topcuoglu, Hariri and Wu, IEEE TPDS 13(3), 2002",
        summary: "ops by their longest way to the end, each into the gap where it ends first",
        build: Some(heft::build),
        method: None,
    },
    Entry {
        name: "heft-lookahead",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Bittencourt, Sakellariou and Madeira, PDP 2010",
        summary: "heft that puts an op where the last of its children can end first",
        build: Some(heft_lookahead::build),
        method: None,
    },
    Entry {
        name: "contiguous",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Pinar and Aykanat, JPDC 64(8), 2004 (cuts of a line)",
        summary: "cuts linear orders into even pieces, one per device, by time and by memory",
        build: Some(contiguous::build),
        method: None,
    },
    Entry {
        name: "multilevel",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998",
        summary: "merges what is dear to separate, places the clusters, refines them level by level",
        build: Some(multilevel::build),
        method: None,
    },
    Entry {
        name: "brute-force",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: brute_force::guarantee,
        options: brute_force::OPTIONS,
        paper: "none: the oracle",
        summary: "tries every placement, order and wait of up to 8 ops on 3 devices",
        build: Some(brute_force::build),
        method: None,
    },
    Entry {
        name: "refine-load",
        kind: Kind::Improve,
        decides: PLACES,
        guarantee: heuristic,
        options: refine_load::OPTIONS,
        paper: "none; moves and swaps as Fiduccia and Mattheyses, DAC 1982",
        summary: "lowers the greatest load by what the busiest device gives away",
        build: Some(refine_load::build),
        method: None,
    },
    Entry {
        name: "local-search",
        kind: Kind::Improve,
        decides: PLACES,
        guarantee: heuristic,
        options: local_search::OPTIONS,
        paper: "Kirkpatrick, Gelatt and Vecchi, Science 220, 1983 (annealing)",
        summary: "moves ops and blocks of them and changes orders until the plan gets no better",
        build: Some(local_search::build),
        method: None,
    },
    Entry {
        name: "fuse",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: fuse::OPTIONS,
        paper: "Jeon et al., SoCC 2020, co-adjusting: op fusion",
        summary: "plans an op and its only consumer (or only producer) as one",
        build: Some(fuse::build),
        method: None,
    },
    Entry {
        name: "coplace",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: coplace::OPTIONS,
        paper: "Jeon et al., SoCC 2020, co-adjusting: co-placement",
        summary: "puts ops that belong together into one colocation group",
        build: Some(coplace::build),
        method: None,
    },
    Entry {
        name: "blocks",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: blocks::OPTIONS,
        paper: "none: what executors that move modules can do",
        summary: "keeps all ops of one block of the model on one device",
        build: Some(blocks::build),
        method: None,
    },
    Entry {
        name: "columns",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Gilmore and Gomory, Operations Research 9(6), 1961; Barnhart et al., 1998",
        summary: "any split, by device subsets that are priced as they are needed, with a proof",
        build: Some(as_instance::columns),
        method: Some(columns::METHOD),
    },
    Entry {
        name: "ideals",
        kind: Kind::Decide,
        decides: PLACES,
        guarantee: heuristic,
        options: &[],
        paper: "Tarnawski et al., NeurIPS 2020, section 5.1",
        summary: "the best contiguous split, by a program over ideals",
        build: Some(as_instance::ideals),
        method: Some(ideals::METHOD),
    },
    Entry {
        name: "blocks-anneal",
        kind: Kind::Decide,
        decides: &[Field::Partition, Field::Placement],
        guarantee: heuristic,
        options: &[],
        paper: "Tarnawski et al., NeurIPS 2020, section 4; Kirkpatrick et al., Science 220, 1983",
        summary: "shortest chains of blocks, then moves of nodes between devices",
        build: None,
        method: Some(blocks_anneal::METHOD),
    },
    Entry {
        name: "milp",
        kind: Kind::Decide,
        decides: &[Field::Partition, Field::Placement],
        guarantee: heuristic,
        options: &[],
        paper: "Tarnawski et al., NeurIPS 2020, sections 3 to 5; Huangfu and Hall, HiGHS, 2018",
        summary: "integer programs from the best heuristic's plan, with HiGHS's bound",
        build: None,
        method: Some(milp::METHOD),
    },
    Entry {
        name: "labels",
        kind: Kind::Decide,
        decides: &[Field::Parallelism, Field::Partition],
        guarantee: heuristic,
        options: &[],
        paper: "Tarnawski et al., Piper, NeurIPS 2021",
        summary: "the best pipeline, by devices and copies over ideals for bisected targets",
        build: None,
        method: Some(labels::METHOD),
    },
    Entry {
        name: "straight",
        kind: Kind::Decide,
        decides: &[Field::Partition],
        guarantee: heuristic,
        options: &[],
        paper: "Narayanan et al., PipeDream, SOSP 2019, section 3.1",
        summary: "the best straight pipeline, by a program over ideals",
        build: None,
        method: Some(straight::METHOD),
    },
    Entry {
        name: "chains",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: chains::OPTIONS,
        paper: "Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998 (coarsening)",
        summary: "keeps ops that only follow one another on one device",
        build: Some(chains::build),
        method: None,
    },
    Entry {
        name: "repeat",
        kind: Kind::Transform,
        decides: &[],
        guarantee: heuristic,
        options: repeat::OPTIONS,
        paper: "none: repeated layers are cut once",
        summary: "finds repeated blocks by structure, and cuts all of them alike into few pieces",
        build: Some(repeat::build),
        method: None,
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
            assert!(entry.build.is_some() || entry.method.is_some(), "{}", entry.name);
            assert!(entry.build.is_some() || entry.kind == Kind::Decide, "{}", entry.name);
            let kind = match entry.build.map(|build| build(&Options::default())) {
                Some(Ok(Row::Transform(_))) => Kind::Transform,
                None | Some(Ok(Row::Decide(_))) => Kind::Decide,
                Some(Ok(Row::Improve(_))) => Kind::Improve,
                Some(Err(error)) => panic!("{}: {error}", entry.name),
            };
            assert_eq!(kind, entry.kind, "{}", entry.name);
            assert_eq!(entry.decides.is_empty(), entry.kind == Kind::Transform, "{}", entry.name);
        }
    }
}
