//! Which devices a stage may have: some of a node group, or sets of whole groups.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use cost_model::runs::unlike::Fleet;
use ir::id::{ChannelId, DeviceId};

/// So many devices of a group, or fewer, may be a stage; of larger ones equal parts, as many at most.
const MOST_PARTS: usize = 64;
/// Most shapes; beyond, sets of groups of two classes are left out.
pub(super) const MOST_SHAPES: usize = 512;
/// Most shapes that a first plan is made of.
pub(super) const MOST_FIRST_TRIED: usize = 64;

/// Node groups by class: any two of a class may change places in every plan.
pub(super) struct Classes {
    /// By class, its groups.
    pub(super) groups: Vec<Vec<usize>>,
    /// By class, devices of a group.
    pub(super) devices: Vec<usize>,
}

/// What the ways from the devices of a group to those of another are, with which of them share a channel;
/// of equal ones it is equal.
fn ways(fleet: &Fleet<'_>, a: usize, b: usize) -> u64 {
    let devices = |group: usize| fleet.groups.get(group).map_or(&[][..], |group| &group.devices);
    let mut channels: BTreeMap<(bool, ChannelId), usize> = BTreeMap::new();
    let mut hasher = DefaultHasher::new();
    for (from, to) in devices(a).iter().flat_map(|from| devices(b).iter().map(move |to| (from, to)))
    {
        let route = fleet.cluster.route(*from, *to);
        let mut place = |channel: (bool, ChannelId)| {
            let next = channels.len();
            *channels.entry(channel).or_insert(next)
        };
        let facts = route.map(|way| {
            let figures = [way.kind.bandwidth.get().to_bits(), way.kind.latency_ns.to_bits()];
            (figures, place((true, way.send)), place((false, way.receive)))
        });
        facts.hash(&mut hasher);
    }
    hasher.finish()
}

impl Classes {
    pub(super) fn of(fleet: &Fleet<'_>) -> Self {
        let n = fleet.groups.len();
        let ways: Vec<Vec<u64>> =
            (0..n).map(|a| (0..n).map(|b| ways(fleet, a, b)).collect()).collect();
        let is_like = |a: usize, b: usize| {
            let (one, other) = (&fleet.groups[a], &fleet.groups[b]);
            (one.kind, one.limit, one.devices.len())
                == (other.kind, other.limit, other.devices.len())
                && ways[a][a] == ways[b][b]
                && ways[a][b] == ways[b][a]
                && (0..n)
                    .filter(|c| *c != a && *c != b)
                    .all(|c| ways[a][c] == ways[b][c] && ways[c][a] == ways[c][b])
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for group in 0..n {
            // Who is like one of a class is like all of it.
            match groups.iter_mut().find(|class| is_like(group, class[0])) {
                Some(class) => class.push(group),
                None => groups.push(vec![group]),
            }
        }
        let devices = groups.iter().map(|class| fleet.groups[class[0]].devices.len()).collect();
        Self { groups, devices }
    }
}

/// What a stage lies on: some devices of a group, or whole groups of equal size of one or two classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Classes and groups of each.
    pub(super) counts: Vec<(usize, usize)>,
    /// Devices.
    pub(super) n_devices: usize,
}

impl Shape {
    /// Whether it is of one group.
    pub(super) fn is_of_one(&self) -> bool {
        matches!(self.counts[..], [(_, 1)])
    }

    /// Whether it is of whole groups, or an equal part of one.
    pub(super) fn is_even(&self, classes: &Classes) -> bool {
        let size = |(class, _): &(usize, usize)| classes.devices[*class];
        self.counts.iter().all(|count| size(count).is_multiple_of(self.n_devices.min(size(count))))
    }

    /// Whether it is of one class: of one group, twice as many as another, or the whole class.
    fn is_plain(&self, classes: &Classes) -> bool {
        let [(class, n)] = self.counts[..] else { return false };
        self.is_even(classes) && (n.is_power_of_two() || n == classes.groups[class].len())
    }

    /// Its devices: groups of its classes from one on, or some devices of the first from one on.
    pub(super) fn devices(
        &self,
        (fleet, classes): (&Fleet<'_>, &Classes),
        firsts: [usize; 2],
        start: usize,
    ) -> Vec<DeviceId> {
        let mut devices = Vec::with_capacity(self.n_devices);
        for ((class, n), first) in self.counts.iter().zip(firsts) {
            for group in classes.groups[*class].iter().skip(first).take(*n) {
                devices.extend(&fleet.groups[*group].devices);
            }
        }
        devices.into_iter().skip(start).take(self.n_devices).collect()
    }
}

/// How many devices of a group of so many a stage may have.
pub(super) fn sizes(n: usize) -> impl Iterator<Item = usize> {
    let is_part = move |size: usize| n.is_multiple_of(size) && n / size <= MOST_PARTS;
    (1..=n).filter(move |size| *size <= MOST_PARTS || is_part(*size))
}

/// All shapes: equal parts of single groups, sets of groups, other parts.
pub(super) fn shapes(classes: &Classes) -> Vec<Shape> {
    let single = |(class, n): (usize, &usize)| {
        let shape = move |n_devices| Shape { counts: vec![(class, 1)], n_devices };
        sizes(*n).map(shape).collect::<Vec<_>>()
    };
    let singles = classes.devices.iter().enumerate().flat_map(single);
    let (mut shapes, others): (Vec<Shape>, Vec<Shape>) =
        singles.partition(|shape| shape.is_even(classes));
    for (class, groups) in classes.groups.iter().enumerate() {
        for n in 2..=groups.len() {
            let n_devices = n * classes.devices[class];
            shapes.push(Shape { counts: vec![(class, n)], n_devices });
        }
    }
    for (a, of_a) in classes.groups.iter().enumerate() {
        for (b, of_b) in classes.groups.iter().enumerate().skip(a + 1) {
            if classes.devices[a] != classes.devices[b] {
                continue;
            }
            for i in 1..=of_a.len() {
                for j in 1..=of_b.len() {
                    let n_devices = (i + j) * classes.devices[a];
                    shapes.push(Shape { counts: vec![(a, i), (b, j)], n_devices });
                }
            }
        }
    }
    shapes.extend(others);
    shapes.truncate(MOST_SHAPES);
    shapes
}

/// The shapes that a first plan is made of, in order.
pub(super) fn first_tried(shapes: &[Shape], classes: &Classes) -> Vec<usize> {
    let is_plain = |at: &usize| shapes[*at].is_plain(classes);
    let plain: Vec<usize> = (0..shapes.len()).filter(is_plain).collect();
    let step = plain.len().div_ceil(MOST_FIRST_TRIED).max(1);
    plain.into_iter().step_by(step).collect()
}
