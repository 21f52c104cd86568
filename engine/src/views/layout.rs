//! Where the boxes of one group stand: layers from top to bottom in the order of the dataflow
//! (Sugiyama, Tagawa and Toda 1981).
//!
//! 1. Edges against the order of the nodes are turned round; a node's layer is its longest path
//!    from a source, and sources go down to their first readers.
//! 2. Edges over several layers get a bend in each; very long ones, and those past a budget, go
//!    around everything on the right.
//! 3. Layers are sorted by barycentres down and up, and the order with the fewest crossings stays.
//! 4. Each layer is moved towards its neighbours as far as its boxes allow: least squares with
//!    minimal distances, by pooling (Kruskal 1964).

/// Sweeps over the layers.
const SWEEPS: usize = 6;
/// Passes that move boxes.
const MOVES: usize = 6;
/// An edge over more layers goes around.
const LONGEST_SPAN: usize = 48;
/// So many bends there are at least, and per node.
const BENDS: (usize, usize) = (4_000, 3);
/// Between boxes of a layer, between layers, and between edges that go around.
const GAPS: (f64, f64, f64) = (24.0, 40.0, 6.0);
/// Width of a bend.
const BEND: f64 = 4.0;
/// By how much bends pull more than boxes, so that long edges are straight.
const STRAIGHT: f64 = 4.0;

/// Where everything stands; coordinates are from the left and from the top.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Laid {
    /// By node: left and top.
    pub(super) nodes: Vec<[i64; 2]>,
    /// By edge: points from its first node to its second.
    pub(super) edges: Vec<Vec<[i64; 2]>>,
    /// Width and height of all.
    pub(super) size: [i64; 2],
}

/// Lays out nodes of these widths and heights, in the order of the dataflow as far as it has one.
/// Edges that name no node get no points.
pub(super) fn lay_out(sizes: &[[i64; 2]], edges: &[(usize, usize)]) -> Laid {
    let mut net = Net::new(sizes, edges);
    net.sort_layers();
    net.place();
    net.told(sizes, edges)
}

/// Boxes and bends in layers.
struct Net {
    /// By box or bend: its layer, width and place.
    layer: Vec<usize>,
    width: Vec<f64>,
    x: Vec<f64>,
    /// Boxes are below it.
    n_boxes: usize,
    /// By box or bend: those in the layer above and below that it has an edge to.
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    layers: Vec<Vec<usize>>,
    /// By layer: its top, and one more for the bottom.
    tops: Vec<f64>,
    /// By edge: its bends from top to bottom; `None` where it goes around.
    bends: Vec<Option<Vec<usize>>>,
}

impl Net {
    fn new(sizes: &[[i64; 2]], edges: &[(usize, usize)]) -> Self {
        let n = sizes.len();
        let turned: Vec<Option<(usize, usize)>> = edges
            .iter()
            .map(|(from, to)| {
                (from != to && *from.max(to) < n).then_some((*from.min(to), *from.max(to)))
            })
            .collect();
        let layer = layers(n, turned.iter().flatten().copied());
        let n_layers = layer.iter().max().map_or(0, |last| last + 1);
        let mut heights = vec![0.0f64; n_layers];
        for (layer, [_, height]) in layer.iter().zip(sizes) {
            heights[*layer] = heights[*layer].max(*height as f64);
        }
        let mut tops = vec![0.0];
        for height in heights {
            tops.push(tops[tops.len() - 1] + height + GAPS.1);
        }
        let mut net = Self {
            width: sizes.iter().map(|[width, _]| *width as f64).collect(),
            x: Vec::new(),
            n_boxes: n,
            above: vec![Vec::new(); n],
            below: vec![Vec::new(); n],
            layers: Vec::new(),
            tops,
            bends: vec![None; edges.len()],
            layer,
        };
        net.bend(&turned);
        net.layers = vec![Vec::new(); n_layers];
        for (at, layer) in net.layer.iter().enumerate() {
            net.layers[*layer].push(at);
        }
        net
    }

    /// Bends the edges, short ones first.
    fn bend(&mut self, edges: &[Option<(usize, usize)>]) {
        let span = |(from, to): (usize, usize)| self.layer[to] - self.layer[from];
        let mut order: Vec<(usize, usize)> =
            edges.iter().enumerate().filter_map(|(at, edge)| Some((span((*edge)?), at))).collect();
        order.sort_unstable();
        let mut left = BENDS.0 + BENDS.1 * self.n_boxes;
        for (span, at) in order {
            let Some((from, to)) = edges[at].filter(|_| span <= LONGEST_SPAN && span <= left)
            else {
                continue;
            };
            left -= span - 1;
            let first = self.layer.len();
            let bends: Vec<usize> = (first..first + span - 1).collect();
            for (step, _) in bends.iter().enumerate() {
                self.layer.push(self.layer[from] + 1 + step);
                self.width.push(BEND);
                self.above.push(Vec::new());
                self.below.push(Vec::new());
            }
            let mut last = from;
            for next in bends.iter().copied().chain([to]) {
                self.below[last].push(next);
                self.above[next].push(last);
                last = next;
            }
            self.bends[at] = Some(bends);
        }
    }

    fn sort_layers(&mut self) {
        let mut position = vec![0usize; self.layer.len()];
        let number = |layers: &[Vec<usize>], position: &mut Vec<usize>| {
            for layer in layers {
                layer.iter().enumerate().for_each(|(place, at)| position[*at] = place);
            }
        };
        number(&self.layers, &mut position);
        let mut best = (self.crossings(&position), self.layers.clone());
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let n = self.layers.len();
            for step in 1..n {
                let layer = if down { step } else { n - 1 - step };
                let near = if down { &self.above } else { &self.below };
                let centre = |at: &usize| {
                    let near = &near[*at];
                    let sum: usize = near.iter().map(|other| position[*other]).sum();
                    match near.len() {
                        0 => position[*at] as f64,
                        n => sum as f64 / n as f64,
                    }
                };
                let mut keyed: Vec<(f64, usize)> =
                    self.layers[layer].iter().map(|at| (centre(at), *at)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                for (place, (_, at)) in keyed.iter().enumerate() {
                    position[*at] = place;
                }
                self.layers[layer] = keyed.into_iter().map(|(_, at)| at).collect();
            }
            let crossings = self.crossings(&position);
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
            if best.0 == 0 {
                break;
            }
        }
        self.layers = best.1;
    }

    /// Pairs of edges between neighbouring layers that cross.
    fn crossings(&self, position: &[usize]) -> u64 {
        let mut total = 0;
        for pair in self.layers.windows(2) {
            let mut seen = Counts(vec![0; pair[1].len() + 1]);
            let mut n = 0u64;
            let mut ends = Vec::new();
            for at in &pair[0] {
                ends.clear();
                ends.extend(self.below[*at].iter().map(|other| position[*other]));
                ends.sort_unstable();
                total += ends.iter().map(|end| n - seen.up_to(*end)).sum::<u64>();
                ends.iter().for_each(|end| seen.add(*end));
                n += ends.len() as u64;
            }
        }
        total
    }

    /// Sets `x`, the middle of each box and bend.
    fn place(&mut self) {
        self.x = vec![0.0; self.layer.len()];
        let room = |a: f64, b: f64| (a + b) / 2.0 + GAPS.0;
        for layer in &self.layers {
            let mut at = 0.0;
            for (index, node) in layer.iter().enumerate() {
                if let Some(before) = index.checked_sub(1).map(|before| layer[before]) {
                    at += room(self.width[before], self.width[*node]);
                }
                self.x[*node] = at;
            }
            layer.iter().for_each(|node| self.x[*node] -= at / 2.0);
        }
        let n = self.layers.len();
        for pass in 0..MOVES {
            for step in 0..n {
                let layer = if pass % 2 == 0 { step } else { n - 1 - step };
                self.moved(layer, pass);
            }
        }
    }

    /// Moves a layer towards its neighbours: the one behind in the first passes, then both.
    fn moved(&mut self, layer: usize, pass: usize) {
        let layer = &self.layers[layer];
        let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(layer.len());
        let mut offsets = Vec::with_capacity(layer.len());
        let mut offset = 0.0;
        for (index, node) in layer.iter().enumerate() {
            if let Some(before) = index.checked_sub(1).map(|before| layer[before]) {
                offset += (self.width[before] + self.width[*node]) / 2.0 + GAPS.0;
            }
            offsets.push(offset);
            let near: [&[usize]; 2] = match (pass + 2 >= MOVES, pass.is_multiple_of(2)) {
                (true, _) => [&self.above[*node], &self.below[*node]],
                (false, true) => [&self.above[*node], &[]],
                (false, false) => [&self.below[*node], &[]],
            };
            let n = near[0].len() + near[1].len();
            let sum: f64 = near.iter().flat_map(|list| *list).map(|other| self.x[*other]).sum();
            let wanted = if n == 0 { self.x[*node] } else { sum / n as f64 };
            let pull = if *node >= self.n_boxes { STRAIGHT } else { 1.0 };
            let mut pool = (wanted - offset, pull, 1);
            // Pools that would stand before the one to their left become one with it.
            while let Some(last) = pools.last().filter(|last| last.0 > pool.0).copied() {
                let pull = last.1 + pool.1;
                pool = ((last.0 * last.1 + pool.0 * pool.1) / pull, pull, last.2 + pool.2);
                pools.pop();
            }
            pools.push(pool);
        }
        let places = pools.iter().flat_map(|(x, _, n)| std::iter::repeat_n(*x, *n));
        for ((node, offset), place) in layer.iter().zip(offsets).zip(places) {
            self.x[*node] = place + offset;
        }
    }

    fn told(&self, sizes: &[[i64; 2]], edges: &[(usize, usize)]) -> Laid {
        let half = |at: usize| self.width[at] / 2.0;
        let ends = |sign: f64| (0..self.x.len()).map(move |at| self.x[at] + sign * half(at));
        let left = ends(-1.0).fold(f64::INFINITY, f64::min).min(f64::MAX);
        let right = ends(1.0).fold(f64::NEG_INFINITY, f64::max).max(f64::MIN);
        let whole = |number: f64| number.round() as i64;
        let x = |at: usize| self.x[at] - left;
        let top = |at: usize| self.tops[self.layer[at]];
        let bottom = |at: usize| top(at) + sizes[at][1] as f64;
        let mut width = if self.x.is_empty() { 0.0 } else { right - left };
        let mut points = Vec::with_capacity(edges.len());
        for ((from, to), bends) in edges.iter().zip(&self.bends) {
            let (upper, lower) = (*from.min(to), *from.max(to));
            if upper == lower || lower >= self.n_boxes {
                points.push(Vec::new());
                continue;
            }
            let mut path = vec![[x(upper), bottom(upper)]];
            match bends {
                Some(bends) => path.extend(bends.iter().map(|at| [x(*at), top(*at)])),
                None => {
                    width += GAPS.2;
                    let beside = GAPS.1 / 4.0;
                    path.extend([[width, bottom(upper) + beside], [width, top(lower) - beside]]);
                }
            }
            path.push([x(lower), top(lower)]);
            if from > to {
                path.reverse();
            }
            points.push(path.into_iter().map(|point| point.map(whole)).collect());
        }
        let height = self.tops.last().map_or(0.0, |bottom| (bottom - GAPS.1).max(0.0));
        Laid {
            nodes: (0..self.n_boxes).map(|at| [whole(x(at) - half(at)), whole(top(at))]).collect(),
            edges: points,
            size: [whole(width), whole(height)],
        }
    }
}

/// By node: its layer. Edges go from lower to higher nodes.
fn layers(n: usize, edges: impl Iterator<Item = (usize, usize)> + Clone) -> Vec<usize> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut is_source = vec![true; n];
    for (from, to) in edges {
        after[from].push(to);
        is_source[to] = false;
    }
    let mut layer = vec![0usize; n];
    for from in 0..n {
        for to in &after[from] {
            layer[*to] = layer[*to].max(layer[from] + 1);
        }
    }
    for at in (0..n).filter(|at| is_source[*at]) {
        let first = after[at].iter().map(|to| layer[*to]).min();
        layer[at] = first.map_or(0, |first| first - 1);
    }
    layer
}

/// How many numbers are not above another (Fenwick 1994).
struct Counts(Vec<u64>);

impl Counts {
    fn add(&mut self, number: usize) {
        let mut at = number + 1;
        while at < self.0.len() {
            self.0[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    fn up_to(&self, number: usize) -> u64 {
        let mut at = number + 1;
        let mut sum = 0;
        while at > 0 {
            sum += self.0[at];
            at &= at - 1;
        }
        sum
    }
}
