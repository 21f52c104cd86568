//! Pipelines whose stages all meet a target.

use std::rc::Rc;

use cost_model::given::time_per_sample::Stage;
use ir::instance::StageInstance;
use rustc_hash::FxHashMap;

use super::choice::{Bounds, Knapsack, Steps};
use super::stages::Model;
use crate::given::ideals::lattice::Lattice;

/// What a target allows.
pub(super) enum Answer {
    /// A pipeline whose stages meet it.
    Pipeline(Vec<Stage>),
    /// No pipeline; shown, if `exact`.
    None {
        /// Whether every knapsack was answered.
        exact: bool,
    },
    /// Stopped before the end.
    Stopped,
}

/// A way to have the last layers done.
#[derive(Clone, Copy)]
struct Label {
    devices: u32,
    /// Sum of the data degrees.
    copies: u32,
    data: u32,
    degree_at: u32,
    /// The ideal without the newest stage, and its label.
    parent: (u32, u32),
}

/// Answers that are kept; all are dropped when there are more.
const MOST_KEPT: usize = 1 << 21;

/// Pairs of ideals between two looks at the clock.
pub(crate) const PAIRS_PER_LOOK: u64 = 1 << 12;

/// Branches of a knapsack that are not made more.
const MOST_BRANCHES: u32 = 1 << 21;
/// So many times the branches are tried next.
const HARDER: u32 = 8;

/// Slack for sums of seconds taken in another order.
const SLACK: f64 = 1.0 + 1e-12;

pub(super) struct Search<'a> {
    instance: &'a StageInstance,
    lattice: &'a Lattice,
    model: Model,
    n_branches: u32,
    stop: &'a dyn Fn() -> bool,
    /// Data degrees, increasing.
    data: Vec<u32>,
    /// Per ideal: layers of each kind.
    counts: Vec<Vec<u32>>,
    /// Per ideal and degree: least seconds of its layers, and number of layers that can't.
    least: Vec<Vec<(f64, u32)>>,
    /// Per ideal: least device-seconds of its layers.
    work: Vec<f64>,
    /// Per ideal and degree: the consumers' seconds of the edges that come in.
    incoming: Vec<Vec<f64>>,
    kept: FxHashMap<(u64, u64), Bounds>,
    /// By degree, copies and samples in flight.
    tables: FxHashMap<(usize, u32, u32), Rc<Steps>>,
    /// Layers of each kind in the piece at hand.
    inside: Vec<u32>,
    is_exact: bool,
    /// Whether a knapsack was left open for want of branches.
    is_short: bool,
}

/// What lies between two ideals.
struct Piece {
    from: usize,
    to: usize,
    /// Per degree: seconds of its borders.
    border: Vec<f64>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        instance: &'a StageInstance,
        lattice: &'a Lattice,
        n_branches: u32,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        let model = Model::new(instance);
        let most = instance.n_devices as u64;
        let divides = |data: &u32| instance.n_micro_batches.is_multiple_of(u64::from(*data));
        let most = most.min(instance.n_micro_batches) as u32;
        let mut search = Self {
            instance,
            lattice,
            n_branches,
            stop,
            data: (1..=most).filter(divides).collect(),
            counts: Vec::new(),
            least: Vec::new(),
            work: Vec::new(),
            incoming: Vec::new(),
            kept: FxHashMap::default(),
            tables: FxHashMap::default(),
            inside: Vec::new(),
            is_exact: model.is_exact,
            is_short: false,
            model,
        };
        for ideal in 0..lattice.n_ideals() {
            search.add(ideal);
        }
        search
    }

    fn add(&mut self, ideal: usize) {
        let set = self.lattice.set(ideal);
        let n_degrees = self.model.degrees.len();
        let mut counts = vec![0; self.model.kinds.len()];
        let mut least = vec![(0.0, 0); n_degrees];
        let mut work = 0.0;
        for node in Lattice::classes(set) {
            let kind = self.model.kind_of[node] as usize;
            counts[kind] += 1;
            let choices = &self.model.kinds[kind].choices;
            let fastest = choices.iter().map(|choices| {
                choices.iter().map(|choice| choice.time).fold(f64::INFINITY, f64::min)
            });
            let mut cheapest = f64::INFINITY;
            for (at, fastest) in fastest.enumerate() {
                if fastest.is_finite() {
                    least[at].0 += fastest;
                } else {
                    least[at].1 += 1;
                }
                cheapest = cheapest.min(fastest * f64::from(self.model.degrees[at]));
            }
            work += if cheapest.is_finite() { cheapest } else { 0.0 };
        }
        let mut incoming = vec![0.0; n_degrees];
        for ((from, to, _), seconds) in self.instance.edges.iter().zip(&self.model.edge_seconds) {
            if has(set, *to) && !has(set, *from) {
                for (sum, (_, consumer)) in incoming.iter_mut().zip(seconds) {
                    *sum += consumer;
                }
            }
        }
        self.counts.push(counts);
        self.least.push(least);
        self.work.push(work);
        self.incoming.push(incoming);
    }

    /// More branches for each knapsack; `false` where they would prove nothing more, or are too many.
    pub(super) fn tries_harder(&mut self) -> bool {
        let may = self.is_short && self.model.is_exact && self.n_branches < MOST_BRANCHES;
        if may {
            self.n_branches = self.n_branches.saturating_mul(HARDER);
            self.is_short = false;
        }
        may
    }

    /// A pipeline whose stages all take at most `target` seconds.
    pub(super) fn at(&mut self, target: f64) -> Answer {
        self.is_exact = self.model.is_exact;
        let n_ideals = self.lattice.n_ideals();
        let mut labels: Vec<Vec<Label>> = vec![Vec::new(); n_ideals];
        labels[0].push(Label { devices: 0, copies: 0, data: 0, degree_at: 0, parent: (0, 0) });
        let mut seen = vec![u32::MAX; n_ideals];
        let mut open: Vec<u32> = Vec::new();
        let mut n_pairs = 0u64;
        for from in 0..n_ideals - 1 {
            if labels[from].is_empty() {
                continue;
            }
            let from_labels = std::mem::take(&mut labels[from]);
            let fewest = from_labels.iter().map(|label| label.devices).min().unwrap_or(0);
            let crossing = self.crossing(from);
            open.clear();
            open.push(from as u32);
            while let Some(at) = open.pop() {
                n_pairs += 1;
                if n_pairs.is_multiple_of(PAIRS_PER_LOOK) && (self.stop)() {
                    return Answer::Stopped;
                }
                let to = at as usize;
                if to != from {
                    if !self.may_fit(from, to, fewest, target) {
                        continue;
                    }
                    let piece = Piece { from, to, border: self.border(from, to, &crossing) };
                    self.extend(&piece, &from_labels, target, &mut labels[to]);
                }
                for &next in self.lattice.larger(to) {
                    if std::mem::replace(&mut seen[next as usize], from as u32) != from as u32 {
                        open.push(next);
                    }
                }
            }
            labels[from] = from_labels;
        }
        match labels[n_ideals - 1].first() {
            Some(label) => Answer::Pipeline(self.pipeline(&labels, *label, target)),
            None => Answer::None { exact: self.is_exact },
        }
    }

    /// Whether any stage that holds the piece could meet the target on the devices that are left.
    fn may_fit(&self, from: usize, to: usize, fewest: u32, target: f64) -> bool {
        let devices = (self.instance.n_devices as u32).saturating_sub(fewest);
        self.model.degrees.iter().enumerate().any(|(at, degree)| {
            let most = devices / degree;
            self.seconds(from, to, at)
                .is_some_and(|seconds| most > 0 && seconds <= f64::from(most) * target * SLACK)
        })
    }

    /// Least seconds of the layers between two ideals; `None` if one can't run.
    fn seconds(&self, from: usize, to: usize, degree_at: usize) -> Option<f64> {
        let (low, high) = (self.least[from][degree_at], self.least[to][degree_at]);
        (low.1 == high.1).then_some(high.0 - low.0)
    }

    /// Edges that come into an ideal.
    fn crossing(&self, ideal: usize) -> Vec<u32> {
        let set = self.lattice.set(ideal);
        let edges = (0..).zip(&self.instance.edges);
        let crossing = edges.filter(|(_, (from, to, _))| has(set, *to) && !has(set, *from));
        crossing.map(|(edge, _)| edge).collect()
    }

    fn border(&self, from: usize, to: usize, crossing: &[u32]) -> Vec<f64> {
        let set = self.lattice.set(to);
        debug_assert!(from < to);
        let mut border = self.incoming[to].clone();
        for &edge in crossing {
            let inside = has(set, self.instance.edges[edge as usize].0);
            for (sum, (producer, consumer)) in
                border.iter_mut().zip(&self.model.edge_seconds[edge as usize])
            {
                *sum += if inside { *producer } else { -*consumer };
            }
        }
        border
    }

    fn extend(&mut self, piece: &Piece, labels: &[Label], target: f64, into: &mut Vec<Label>) {
        let n_devices = self.instance.n_devices as f64;
        let left = (self.work[self.lattice.n_ideals() - 1] - self.work[piece.to]) / target;
        for degree_at in 0..self.model.degrees.len() {
            let degree = self.model.degrees[degree_at];
            let Some(least) = self.seconds(piece.from, piece.to, degree_at) else { continue };
            let seconds = least + piece.border[degree_at];
            let fewest = (seconds / target / SLACK).max(1.0);
            let first = self.data.partition_point(|data| f64::from(*data) < fewest * (1.0 - 1e-9));
            // Samples in flight that each number of copies is known to hold, and not to hold.
            let copied = self.data[first..].to_vec();
            let mut known = vec![(0, u32::MAX); copied.len()];
            for (number, label) in (0..).zip(labels) {
                for (&data, (holds, fails)) in copied.iter().zip(&mut known) {
                    let devices = u64::from(label.devices) + u64::from(data) * u64::from(degree);
                    let copies = u64::from(label.copies) + u64::from(data);
                    // More copies only take more of both.
                    if devices as f64 + left > n_devices * SLACK
                        || copies > self.instance.n_micro_batches
                        || is_beaten(into, devices as u32, copies as u32)
                    {
                        break;
                    }
                    let in_flight = 1 + label.copies.div_ceil(data);
                    if in_flight > *holds && in_flight < *fails {
                        // More samples in flight only take more memory.
                        match self.meets(piece, degree_at, data, in_flight, target) {
                            true => *holds = in_flight,
                            false => *fails = in_flight,
                        }
                    }
                    if in_flight <= *holds {
                        let (devices, copies) = (devices as u32, copies as u32);
                        let parent = (piece.from as u32, number);
                        let degree_at = degree_at as u32;
                        insert(into, Label { devices, copies, data, degree_at, parent });
                        break;
                    }
                }
            }
        }
    }

    /// Whether a stage meets the target.
    fn meets(
        &mut self,
        piece: &Piece,
        degree_at: usize,
        data: u32,
        in_flight: u32,
        target: f64,
    ) -> bool {
        let budget = self.budget(piece, degree_at, data, target);
        let key = (
            (piece.from as u64) << 32 | piece.to as u64,
            (degree_at as u64) << 56 | u64::from(data) << 28 | u64::from(in_flight),
        );
        let known = self.kept.get(&key).copied();
        if let Some(bounds) = known.filter(|bounds| bounds.low > budget || bounds.high <= budget) {
            return bounds.high.is_finite() && bounds.high <= budget;
        }
        let memory = self.instance.device_memory.as_f64();
        let steps = self.steps(degree_at, data, in_flight);
        self.count(piece);
        let mut knapsack = Knapsack::new(&steps, &self.inside, memory);
        let mut bounds = known.unwrap_or_else(|| knapsack.bounds());
        if bounds.low <= budget && bounds.high > budget && bounds.low.is_finite() {
            match knapsack.within(budget, self.n_branches) {
                Some(Some(seconds)) => bounds.high = seconds,
                Some(None) if steps.is_exact => bounds.low = budget * (1.0 + 1e-15),
                Some(None) => self.is_exact = false,
                None => (self.is_exact, self.is_short) = (false, true),
            }
        }
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(key, bounds);
        bounds.high.is_finite() && bounds.high <= budget
    }

    /// Seconds that the layers of a stage may take, all copies together.
    fn budget(&self, piece: &Piece, degree_at: usize, data: u32, target: f64) -> f64 {
        (f64::from(data) * target - piece.border[degree_at]) * SLACK
    }

    fn steps(&mut self, degree_at: usize, data: u32, in_flight: u32) -> Rc<Steps> {
        let kinds = &self.model.kinds;
        let steps = self.tables.entry((degree_at, data, in_flight));
        Rc::clone(steps.or_insert_with(|| Rc::new(Steps::new(kinds, degree_at, data, in_flight))))
    }

    /// Layers of each kind in a piece.
    fn count(&mut self, piece: &Piece) {
        let counts = self.counts[piece.to].iter().zip(&self.counts[piece.from]);
        self.inside.clear();
        self.inside.extend(counts.map(|(high, low)| high - low));
    }

    /// Stages from the first to the last.
    fn pipeline(&mut self, labels: &[Vec<Label>], mut label: Label, target: f64) -> Vec<Stage> {
        let mut stages = Vec::new();
        let mut to = self.lattice.n_ideals() - 1;
        while to != 0 {
            let (from, number) = (label.parent.0 as usize, label.parent.1 as usize);
            let parent = labels[from][number];
            stages.push(self.stage(from, to, &label, parent.copies, target));
            (to, label) = (from, parent);
        }
        stages
    }

    fn stage(&mut self, from: usize, to: usize, label: &Label, later: u32, target: f64) -> Stage {
        let degree_at = label.degree_at as usize;
        let in_flight = 1 + later.div_ceil(label.data);
        let border = self.border(from, to, &self.crossing(from));
        let piece = Piece { from, to, border };
        let budget = self.budget(&piece, degree_at, label.data, target);
        let steps = self.steps(degree_at, label.data, in_flight);
        self.count(&piece);
        let memory = self.instance.device_memory.as_f64();
        let mut knapsack = Knapsack::new(&steps, &self.inside, memory);
        // It was found before, within as many branches.
        let _ = knapsack.within(budget, self.n_branches);
        // Layers of a kind take the choices in turn.
        let mut left: Vec<Vec<u32>> = vec![Vec::new(); self.model.kinds.len()];
        for (kind, position, count) in knapsack.choices() {
            left[kind].extend(std::iter::repeat_n(position, count as usize));
        }
        let low = self.lattice.set(from);
        let inside = Lattice::classes(self.lattice.set(to)).filter(|node| !has(low, *node as u32));
        let nodes = inside.map(|node| {
            let choices = &mut left[self.model.kind_of[node] as usize];
            (node as u32, choices.pop().unwrap_or(0))
        });
        let nodes = nodes.collect();
        Stage { nodes, data: label.data, tensor: self.model.degrees[degree_at] }
    }
}

/// Whether a label has neither more devices nor more copies. Labels have ever more devices and ever
/// fewer copies.
fn is_beaten(labels: &[Label], devices: u32, copies: u32) -> bool {
    let end = labels.partition_point(|label| label.devices <= devices);
    end.checked_sub(1).is_some_and(|last| labels[last].copies <= copies)
}

/// Takes a label that is not beaten in place of those that it beats.
fn insert(labels: &mut Vec<Label>, label: Label) {
    let first = labels.partition_point(|other| other.devices < label.devices);
    let beaten = labels[first..].partition_point(|other| other.copies >= label.copies);
    labels.splice(first..first + beaten, [label]);
}

fn has(set: &[u64], class: u32) -> bool {
    set[class as usize / 64] & (1 << (class % 64)) != 0
}
