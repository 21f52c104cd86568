//! Strategies and resharding as numbers: by use a matrix of what each placement that is produced costs in each that is
//! wanted.
//!
//! Where equal layers are one copy, what a copy reads is of the op before the layers once, and of the copy before it
//! as often as is left; the last copy leaves what each of them does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::answer::Refused;
use super::graph::Tensor;
use super::price::{Table, Tables};
use super::space::Space;

/// Costs are in microseconds, so that the solver's tolerances are small parts of them.
pub(super) const UNIT_S: f64 = 1e-6;

/// An end of a use: the choice there, and by strategy the number of its placement.
#[derive(Clone)]
pub(super) struct Side {
    pub op: usize,
    pub places: Vec<u32>,
}

/// Uses of a tensor that one resharding serves.
#[derive(Clone)]
pub(super) struct Group {
    pub tensor: usize,
    /// The op that produces it.
    pub from: Side,
    /// Placements that are produced, and that any of the uses wants.
    pub n: [usize; 2],
    /// By placement produced, then wanted; infinite where there is no way.
    pub costs: Vec<f64>,
    pub uses: Vec<usize>,
}

/// A use of a tensor.
#[derive(Clone)]
pub(super) struct Use {
    pub group: usize,
    /// The op that wants it.
    pub to: Side,
    /// By placement of the group whether this use ever wants it.
    pub wants: Vec<bool>,
}

/// By group and end the numbers that placements have in a larger net.
pub(super) type Places = Vec<[Vec<u32>; 2]>;

/// Limits of a budget: by op and strategy the part of it that is used.
pub(super) type Parts = Vec<Vec<f64>>;

/// All of a program but its columns.
#[derive(Clone)]
pub(super) struct Net {
    /// By choice and strategy, of all copies.
    pub costs: Vec<Vec<f64>>,
    pub groups: Vec<Group>,
    pub uses: Vec<Use>,
    /// By op its uses, and whether it is the end that wants.
    pub sides: Vec<Vec<(usize, bool)>>,
    pub budgets: Vec<Parts>,
}

/// Which copies of equal layers a use is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Copies {
    All,
    First,
    Later,
    Last,
}

/// A use before its placements have numbers: ends by op, then by choice, and operand.
struct Link {
    tensor: usize,
    copies: Copies,
    times: u32,
    from: (usize, usize),
    to: (usize, usize),
}

impl Net {
    pub(super) fn of(space: &Space<'_>, tables: &mut Tables) -> Result<Self, Refused> {
        let mut times = vec![0.0; space.strategies.len()];
        for (op, choice) in space.graph.ops.iter().zip(&space.choice) {
            times[*choice] += f64::from(op.times);
        }
        let costs: Vec<Vec<f64>> = (space.strategies.iter().zip(times))
            .map(|(of, times)| of.iter().map(|of| times * of.seconds / UNIT_S).collect())
            .collect();
        let mut net = Self {
            sides: vec![Vec::new(); costs.len()],
            costs,
            groups: Vec::new(),
            uses: Vec::new(),
            budgets: budgets(space),
        };
        for links in equal(space, links(space)?) {
            let tensor = &space.graph.tensors[links[0].tensor];
            let of = (&tensor.dims[..], tensor.element_bytes);
            let table = tables.of((space.mesh, space.prices), of, &space.graph.without);
            let table = table.ok_or_else(|| Refused::TooLarge(tensor.name.clone()))?;
            net.add(space, table, &links);
        }
        Ok(net)
    }

    /// Adds the uses of a group.
    fn add(&mut self, space: &Space<'_>, table: &Table, links: &[Link]) {
        let codes = |(op, operand): (usize, usize)| -> Vec<usize> {
            space.strategies[op].iter().map(|of| table.number(&of.placements[operand])).collect()
        };
        let wanted: Vec<Vec<usize>> = links.iter().map(|link| codes(link.to)).collect();
        let produced = codes(links[0].from);
        let [from, to] = [produced.clone(), wanted.concat()].map(distinct);
        let number = |all: &[usize], of: &[usize]| -> Vec<u32> {
            of.iter().map(|code| all.partition_point(|other| other < code) as u32).collect()
        };
        let Link { tensor, copies, times, .. } = links[0];
        let cost = |from: usize, to: usize| match copies {
            Copies::Last if from == to => 0.0,
            Copies::Last => f64::INFINITY,
            _ => {
                let seconds = table.seconds(from, to);
                f64::from(times) * space.graph.tensors[tensor].exposed * seconds / UNIT_S
            }
        };
        let group = self.groups.len();
        let numbers: Vec<usize> = (self.uses.len()..self.uses.len() + links.len()).collect();
        for ((link, wanted), at) in links.iter().zip(&wanted).zip(&numbers) {
            let places = number(&to, wanted);
            let mut wants = vec![false; to.len()];
            places.iter().for_each(|place| wants[*place as usize] = true);
            self.sides[link.from.0].push((*at, false));
            self.sides[link.to.0].push((*at, true));
            self.uses.push(Use { group, to: Side { op: link.to.0, places }, wants });
        }
        self.groups.push(Group {
            tensor,
            from: Side { op: links[0].from.0, places: number(&from, &produced) },
            n: [from.len(), to.len()],
            costs: from.iter().flat_map(|q| to.iter().map(|p| cost(*q, *p))).collect(),
            uses: numbers,
        });
    }

    /// Columns of the whole program: strategies, flows that have a way, and resharding that costs something and may
    /// serve several uses.
    pub(super) fn n_columns(&self) -> usize {
        let mut n_uses: BTreeMap<usize, usize> = BTreeMap::new();
        for group in &self.groups {
            *n_uses.entry(group.tensor).or_default() += group.uses.len();
        }
        let of_group = |group: &Group| {
            let row = group.n[1];
            let flows = |at: &usize| {
                let wants = &self.uses[*at].wants;
                let all = group.costs.iter().enumerate();
                all.filter(|(at, cost)| cost.is_finite() && wants[at % row]).count()
            };
            let cost = |cost: &&f64| cost.is_finite() && **cost > 0.0;
            let is_shared = n_uses[&group.tensor] > 1;
            let shared = if is_shared { group.costs.iter().filter(cost).count() } else { 0 };
            group.uses.iter().map(flows).sum::<usize>() + shared
        };
        self.n_strategies() + self.groups.iter().map(of_group).sum::<usize>()
    }

    pub(super) fn n_strategies(&self) -> usize {
        self.costs.iter().map(Vec::len).sum()
    }

    /// The net of some strategies of each op, by number, with the numbers that its placements have here.
    pub(super) fn only(&self, chosen: &[Vec<usize>]) -> (Self, Places) {
        let costs = self.costs.iter().zip(chosen).map(|(of, chosen)| gathered(of, chosen));
        let of_budget = |parts: &Parts| {
            let of_op = |(of, chosen): (&Vec<f64>, &Vec<usize>)| match of.is_empty() {
                true => Vec::new(),
                false => gathered(of, chosen),
            };
            parts.iter().zip(chosen).map(of_op).collect()
        };
        let mut net = Self {
            costs: costs.collect(),
            groups: Vec::new(),
            uses: Vec::new(),
            sides: self.sides.clone(),
            budgets: self.budgets.iter().map(of_budget).collect(),
        };
        let mut places = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            let from = gathered(&group.from.places, &chosen[group.from.op]);
            let of_use = |at: &usize| {
                let to = &self.uses[*at].to;
                gathered(&to.places, &chosen[to.op])
            };
            let to: Vec<Vec<u32>> = group.uses.iter().map(of_use).collect();
            let all = [from.clone(), to.concat()].map(distinct);
            let costs = all[0].iter().flat_map(|q| {
                let row = &group.costs[*q as usize * group.n[1]..];
                all[1].iter().map(|p| row[*p as usize])
            });
            let numbered = |end: usize, of: &[u32]| -> Vec<u32> {
                of.iter().map(|place| all[end].partition_point(|at| at < place) as u32).collect()
            };
            net.groups.push(Group {
                tensor: group.tensor,
                from: Side { op: group.from.op, places: numbered(0, &from) },
                n: [all[0].len(), all[1].len()],
                costs: costs.collect(),
                uses: group.uses.clone(),
            });
            for (at, to) in group.uses.iter().zip(&to) {
                let places = numbered(1, to);
                let mut wants = vec![false; all[1].len()];
                places.iter().for_each(|place| wants[*place as usize] = true);
                let to = Side { op: self.uses[*at].to.op, places };
                net.uses.push(Use { group: number, to, wants });
            }
            places.push(all);
        }
        (net, places)
    }

    /// Whether a choice is within all limits.
    pub(super) fn is_within(&self, chosen: &[usize]) -> bool {
        self.budgets.iter().all(|parts| part(parts, chosen) <= 1.0 + 1e-9)
    }

    /// The ends of a use.
    pub(super) fn ends(&self, at: usize) -> [&Side; 2] {
        [&self.groups[self.uses[at].group].from, &self.uses[at].to]
    }

    /// Ops that share a resharding with one.
    pub(super) fn beside(&self, op: usize) -> impl Iterator<Item = usize> {
        self.sides[op].iter().flat_map(|(at, _)| {
            let group = &self.groups[self.uses[*at].group];
            let to = group.uses.iter().map(|of| self.uses[*of].to.op);
            to.chain([group.from.op])
        })
    }

    /// By op the strategies of some for which each use has a way from or to one of the op at its other end.
    pub(super) fn possible(&self, mut possible: Vec<Vec<bool>>) -> Vec<Vec<bool>> {
        loop {
            let mut n = 0;
            for at in 0..self.uses.len() {
                n += self.impossible(at, &mut possible);
            }
            if n == 0 {
                return possible;
            }
        }
    }

    /// Strikes out strategies for which a use has no way, and counts them.
    fn impossible(&self, at: usize, possible: &mut [Vec<bool>]) -> usize {
        let group = &self.groups[self.uses[at].group];
        let ends = self.ends(at);
        let [from, to] = [0, 1].map(|end| {
            let mut all = vec![false; group.n[end]];
            let places = ends[end].places.iter().zip(&possible[ends[end].op]);
            places.filter(|(_, is)| **is).for_each(|(place, _)| all[*place as usize] = true);
            all
        });
        let mut left = [vec![false; group.n[0]], vec![false; group.n[1]]];
        for (q, row) in group.costs.chunks(group.n[1].max(1)).enumerate().filter(|(q, _)| from[*q])
        {
            for p in (0..row.len()).filter(|p| to[*p] && row[*p].is_finite()) {
                (left[0][q], left[1][p]) = (true, true);
            }
        }
        let mut n = 0;
        for (side, left) in ends.into_iter().zip(&left) {
            for (place, is) in side.places.iter().zip(&mut possible[side.op]) {
                n += usize::from(*is && !left[*place as usize]);
                *is &= left[*place as usize];
            }
        }
        n
    }

    /// What a choice of strategies costs; infinite where a tensor reaches no use.
    pub(super) fn cost(&self, chosen: &[usize]) -> f64 {
        let ops: f64 = self.costs.iter().zip(chosen).map(|(of, at)| of[*at]).sum();
        let of_group = |group: &Group| {
            let q = group.from.places[chosen[group.from.op]] as usize;
            let mut bought = Vec::new();
            for at in &group.uses {
                let to = &self.uses[*at].to;
                let p = to.places[chosen[to.op]] as usize;
                if !bought.contains(&p) {
                    bought.push(p);
                }
            }
            bought.into_iter().map(|p| group.costs[q * group.n[1] + p]).sum::<f64>()
        };
        ops + self.groups.iter().map(of_group).sum::<f64>()
    }
}

/// The part of a budget that a choice uses.
pub(super) fn part(parts: &Parts, chosen: &[usize]) -> f64 {
    parts.iter().zip(chosen).filter_map(|(parts, at)| parts.get(*at)).sum()
}

/// Numbers of what is so.
pub(super) fn numbers(is: &[bool]) -> Vec<usize> {
    (0..is.len()).filter(|at| is[*at]).collect()
}

fn distinct<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

fn gathered<T: Copy>(of: &[T], chosen: &[usize]) -> Vec<T> {
    chosen.iter().map(|at| of[*at]).collect()
}

/// Links by what one resharding serves. Copies that have their strategies in common are one, as often as there are
/// copies.
fn equal(space: &Space<'_>, links: Vec<Link>) -> Vec<Vec<Link>> {
    let mut groups: BTreeMap<(usize, Copies, u32), Vec<Link>> = BTreeMap::new();
    for mut link in links {
        [&mut link.from, &mut link.to].into_iter().for_each(|end| end.0 = space.choice[end.0]);
        let group = groups.entry((link.tensor, link.copies, link.times)).or_default();
        if group.iter().all(|other| other.to != link.to) {
            group.push(link);
        }
    }
    if space.graph.tied.is_empty() {
        return groups.into_values().collect();
    }
    let mut all: Vec<Vec<Link>> = Vec::new();
    let mut numbers = BTreeMap::new();
    for group in groups.into_values() {
        let Link { tensor, copies, times, from, .. } = group[0];
        let Tensor { dims, element_bytes, exposed, .. } = &space.graph.tensors[tensor];
        let mut to: Vec<(usize, usize)> = group.iter().map(|link| link.to).collect();
        to.sort_unstable();
        let of = (dims, element_bytes.to_bits(), exposed.to_bits());
        match numbers.entry((copies, from, to, of)) {
            Entry::Vacant(entry) => {
                entry.insert(all.len());
                all.push(group);
            }
            Entry::Occupied(entry) => {
                let same = &mut all[*entry.get()];
                same.iter_mut().for_each(|link| link.times = link.times.saturating_add(times));
            }
        }
    }
    all
}

/// All uses: of inputs, of pins, and of the last of equal layers.
fn links(space: &Space<'_>) -> Result<Vec<Link>, Refused> {
    let graph = space.graph;
    let mut uses = Vec::new();
    for (number, op) in graph.ops.iter().enumerate() {
        let inputs = op.inputs.iter().enumerate();
        uses.extend(inputs.map(|(operand, tensor)| (*tensor, op.times, (number, operand))));
    }
    for pin in &graph.pins {
        let like = space.produced_by(pin.like)?;
        uses.push((pin.tensor, graph.ops[like.0].times, like));
    }
    let mut links = Vec::new();
    for (tensor, times, to) in uses {
        let Some(chain) = graph.chains.iter().find(|chain| chain.tensor == tensor) else {
            let from = space.produced_by(tensor)?;
            links.push(Link { tensor, copies: Copies::All, times, from, to });
            continue;
        };
        let [enters, leaves] = [chain.enters, chain.leaves].map(|of| space.produced_by(of));
        let first = times / chain.times.max(1);
        links.push(Link { tensor, copies: Copies::First, times: first, from: enters?, to });
        if chain.times > 1 {
            let (copies, times) = (Copies::Later, times - first);
            links.push(Link { tensor, copies, times, from: leaves?, to });
        }
    }
    for chain in &graph.chains {
        let [from, to] = [chain.leaves, chain.ends].map(|of| space.produced_by(of));
        let (tensor, copies) = (chain.leaves, Copies::Last);
        links.push(Link { tensor, copies, times: 1, from: from?, to: to? });
    }
    Ok(links)
}

/// By budget, op and strategy the part of it that is used; no strategies of ops that use none.
fn budgets(space: &Space<'_>) -> Vec<Parts> {
    let of_budget = |budget: &super::graph::Budget| {
        let mut parts: Parts = vec![Vec::new(); space.strategies.len()];
        let produced = budget.tensors.iter().filter_map(|(tensor, each)| {
            let (op, operand) = space.producer[*tensor]?;
            Some((op, operand, f64::from(space.graph.ops[op].times) * each))
        });
        for (op, operand, each) in produced.chain(budget.operands.iter().copied()) {
            let of = &space.graph.ops[op];
            let tensor = of.inputs.iter().chain(&of.outputs).nth(operand);
            let Some(dims) = tensor.map(|tensor| &space.graph.tensors[*tensor].dims) else {
                continue;
            };
            let choice = space.choice[op];
            parts[choice].resize(space.strategies[choice].len(), 0.0);
            for (part, strategy) in parts[choice].iter_mut().zip(&space.strategies[choice]) {
                let local = space.mesh.local(dims, &strategy.placements[operand]);
                let local = local.unwrap_or(f64::INFINITY);
                *part += local * each / budget.most_bytes;
            }
        }
        parts
    };
    space.graph.budgets.iter().map(of_budget).collect()
}
