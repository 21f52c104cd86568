//! One sweep over the layers of partial schedules.

use ir::grid::Grid;

use super::bound::Heads;
use super::passes::Passes;

/// A partial schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// By kind: passes done.
    pub(super) counts: Vec<u8>,
    /// By rank: when it is free; then by way: when each result that waits for its reader is there,
    /// at least the clock of the reader's rank.
    pub(super) clocks: Vec<u64>,
    /// By rank: bytes held.
    held: Vec<i128>,
    bound: u64,
    /// Position in the layer before, and the kind that was added.
    from: (u32, u16),
}

impl State {
    pub(super) fn empty(passes: &Passes) -> Self {
        Self {
            counts: vec![0; passes.kinds.len()],
            clocks: vec![0; passes.n_ranks],
            held: vec![0; passes.n_ranks],
            bound: 0,
            from: (0, 0),
        }
    }

    /// Where the results of each way begin in the clocks, and how many wait.
    fn waiting<'a>(&'a self, passes: &'a Passes) -> impl Iterator<Item = (usize, usize)> + 'a {
        let mut at = passes.n_ranks;
        passes.ways.iter().map(move |&(reader, position)| {
            let from = passes.kinds[reader].inputs[position].from;
            let n = usize::from(self.counts[from] - self.counts[reader]);
            let begin = at;
            at += n;
            (begin, n)
        })
    }

    /// When a result that was made is at its reader.
    pub(super) fn arrival(&self, passes: &Passes, reader: usize, position: usize, k: usize) -> u64 {
        if passes.kinds[reader].inputs[position].way.is_none() {
            return self.clocks[passes.kinds[reader].rank];
        }
        let way = passes.ways.iter().position(|way| *way == (reader, position));
        let begin = way.and_then(|way| self.waiting(passes).nth(way)).map_or(0, |(begin, _)| begin);
        self.clocks[begin + k - usize::from(self.counts[reader])]
    }

    /// Whether a kind may come next.
    fn admits(&self, passes: &Passes, kind: usize) -> bool {
        let entry = &passes.kinds[kind];
        usize::from(self.counts[kind]) < passes.n_micro_batches
            && entry.inputs.iter().all(|input| self.counts[kind] < self.counts[input.from])
            && passes.room[entry.rank]
                .is_none_or(|room| self.held[entry.rank] + entry.needs <= room)
    }

    /// With one more pass, as early as it can.
    fn with(&self, passes: &Passes, kind: usize) -> Self {
        let entry = &passes.kinds[kind];
        let k = usize::from(self.counts[kind]);
        let mut start = self.clocks[entry.rank];
        for position in 0..entry.inputs.len() {
            start = start.max(self.arrival(passes, kind, position, k));
        }
        let end = start.saturating_add(entry.time);
        let mut next = Self {
            counts: self.counts.clone(),
            clocks: self.clocks[..passes.n_ranks].to_vec(),
            held: self.held.clone(),
            bound: 0,
            from: (0, u16::try_from(kind).unwrap_or(u16::MAX)),
        };
        next.counts[kind] += 1;
        next.clocks[entry.rank] = end;
        next.held[entry.rank] += entry.kept;
        for (&(reader, position), (begin, n)) in passes.ways.iter().zip(self.waiting(passes)) {
            let free = next.clocks[passes.kinds[reader].rank];
            let taken = usize::from(reader == kind);
            let left = self.clocks[begin + taken..begin + n].iter();
            next.clocks.extend(left.map(|there| (*there).max(free)));
            let input = passes.kinds[reader].inputs[position];
            if input.from == kind {
                next.clocks.push(end.saturating_add(input.way.unwrap_or(0)).max(free));
            }
        }
        next
    }

    fn key(&self) -> (&[u8], &[u64]) {
        (&self.counts, &self.clocks)
    }
}

/// What a sweep found.
pub(super) struct Swept {
    /// The shortest complete schedule below the given value.
    pub(super) grid: Option<Grid>,
    /// Nothing that the sweep dropped or did not reach is shorter; `u64::MAX` if there is none.
    pub(super) bound: u64,
    pub(super) n_states: u64,
}

impl Swept {
    /// Whether nothing was dropped but what can't be better.
    pub(super) fn is_whole(&self) -> bool {
        self.bound == u64::MAX
    }
}

/// Keeps `width` partial schedules per layer, all of them below `best`.
pub(super) fn sweep(
    passes: &Passes,
    width: usize,
    best: u64,
    most_states: u64,
    stop: &dyn Fn() -> bool,
) -> Swept {
    let mut heads = Heads::default();
    let mut swept = Swept { grid: None, bound: u64::MAX, n_states: 0 };
    let mut layer = vec![State::empty(passes)];
    let mut past: Vec<Vec<(u32, u16)>> = Vec::new();
    for _ in 0..passes.n_cells() {
        let mut next = Vec::new();
        for (position, state) in layer.iter().enumerate() {
            for kind in (0..passes.kinds.len()).filter(|kind| state.admits(passes, *kind)) {
                let mut child = state.with(passes, kind);
                child.bound = heads.bound(passes, &child).max(state.bound);
                child.from.0 = u32::try_from(position).unwrap_or(u32::MAX);
                swept.n_states += 1;
                if child.bound < best {
                    next.push(child);
                }
            }
            let is_over = swept.n_states >= most_states;
            if is_over || (position % 64 == 0 && stop()) {
                // Every schedule goes through this layer.
                let left = layer.iter().map(|state| state.bound).min().unwrap_or(u64::MAX);
                swept.bound = swept.bound.min(left);
                return swept;
            }
        }
        prune(&mut next, width, &mut swept.bound);
        past.push(next.iter().map(|state| state.from).collect());
        layer = next;
    }
    if let Some((position, _)) = layer.iter().enumerate().min_by_key(|(_, state)| state.bound) {
        swept.grid = Some(traced(passes, &past, position));
    }
    swept
}

/// Leaves out what another one dominates, then the least promising ones past the width.
fn prune(layer: &mut Vec<State>, width: usize, dropped: &mut u64) {
    // A dominating state is not greater in this order, so one look back is enough.
    layer
        .sort_unstable_by(|one, other| one.key().cmp(&other.key()).then(one.from.cmp(&other.from)));
    let mut pruned: Vec<State> = Vec::with_capacity(layer.len());
    let mut group = 0;
    for state in layer.drain(..) {
        if pruned.last().is_some_and(|last| last.counts != state.counts) {
            group = pruned.len();
        }
        let dominates =
            |other: &State| other.clocks.iter().zip(&state.clocks).all(|(one, other)| one <= other);
        if !pruned[group..].iter().any(dominates) {
            pruned.push(state);
        }
    }
    if pruned.len() > width {
        let promise = |state: &State| (state.bound, state.clocks.iter().sum::<u64>());
        pruned.sort_by(|one, other| {
            promise(one).cmp(&promise(other)).then_with(|| one.key().cmp(&other.key()))
        });
        *dropped = (*dropped).min(pruned[width].bound);
        pruned.truncate(width);
    }
    *layer = pruned;
}

/// Rows of the schedule that ends at this position of the last layer.
fn traced(passes: &Passes, past: &[Vec<(u32, u16)>], last: usize) -> Grid {
    let mut kinds = Vec::with_capacity(past.len());
    let mut position = last;
    for layer in past.iter().rev() {
        let (from, kind) = layer[position];
        kinds.push(usize::from(kind));
        position = from as usize;
    }
    let mut counts = vec![0; passes.kinds.len()];
    let mut grid = Grid { rows: vec![Vec::new(); passes.n_ranks] };
    for kind in kinds.into_iter().rev() {
        grid.rows[passes.kinds[kind].rank].push(passes.cell(kind, counts[kind]));
        counts[kind] += 1;
    }
    grid
}
