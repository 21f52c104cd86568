//! Which devices the stage before a part of a plan may have.

use std::rc::Rc;

use ir::plan::StageMesh;

use super::{MeshPlace, Part, Searched};

/// Which devices the next stage may have.
pub(super) struct Next {
    pub(super) shape: usize,
    /// The first of them in its group.
    start: usize,
    /// First groups of its classes.
    firsts: [usize; 2],
    /// By group, devices that are used then.
    used: Rc<Vec<usize>>,
}

/// A stage that may come before a part of a plan, whatever its blocks.
pub(super) struct Meshed {
    pub(super) place: MeshPlace,
    pub(super) mesh: Rc<StageMesh>,
    /// By group, devices that are used with it.
    pub(super) used: Rc<Vec<usize>>,
}

impl Searched<'_> {
    /// Shapes that may come before a part, with the devices of each, and what is used then.
    pub(super) fn next_shapes(&self, part: &Part) -> Vec<Next> {
        let mut found = Vec::new();
        let groups = &self.classes.groups;
        // Groups of a class are begun in their order: those that are not are interchangeable.
        let is_begun = |group: &&usize| part.used[**group] > 0;
        let begun: Vec<usize> =
            groups.iter().map(|of_class| of_class.iter().take_while(is_begun).count()).collect();
        let last = part.stages().next().map(|stage| stage.place);
        for (class, n_begun) in begun.iter().enumerate() {
            for (first, group) in groups[class].iter().enumerate().take(*n_begun) {
                let start = part.used[*group];
                for n in 1..=self.classes.devices[class] - start {
                    let Some(shape) = self.singles.get(&(class, n)).copied() else { continue };
                    let is_next = last.is_some_and(|place| (place.0, place.2[0]) == (shape, first));
                    if is_next || !self.is_even {
                        let mut used = part.used.to_vec();
                        used[*group] += n;
                        let used = Rc::new(used);
                        found.push(Next { shape, start, firsts: [first, 0], used });
                    }
                }
            }
        }
        for at in self.tried.iter().copied() {
            let shape = &self.shapes[at];
            let is_free = |(class, n): &(usize, usize)| begun[*class] + n <= groups[*class].len();
            if shape.counts.iter().all(is_free) && (!self.is_even || shape.is_even(self.classes)) {
                let mut used = part.used.to_vec();
                for (class, n) in &shape.counts {
                    let fresh = groups[*class].iter().skip(begun[*class]).take(*n);
                    let n_devices = self.classes.devices[*class].min(shape.n_devices);
                    fresh.for_each(|group| used[*group] = n_devices);
                }
                let mut firsts = shape.counts.iter().map(|(class, _)| begun[*class]);
                let firsts = [firsts.next(), firsts.next()].map(Option::unwrap_or_default);
                found.push(Next { shape: at, start: 0, firsts, used: Rc::new(used) });
            }
        }
        found
    }

    pub(super) fn shape_tensors(&self, shape: usize) -> Vec<u32> {
        let shape = &self.shapes[shape];
        self.tensors(shape.n_devices.min(self.classes.devices[shape.counts[0].0]))
    }

    /// A shape with its devices before a part; `None` where it can't lie there.
    pub(super) fn meshed(
        &mut self,
        Next { shape, start, firsts, used }: &Next,
        (tensor, run): (u32, usize),
    ) -> Option<Meshed> {
        let mesh_shape = &self.shapes[*shape];
        let place = (*shape, *start, *firsts, tensor, run);
        let mesh = match self.meshes.get(&place) {
            Some(known) => known.clone(),
            None => {
                let devices = mesh_shape.devices((self.fleet, self.classes), *firsts, *start);
                let of = &self.runs[run];
                let key = (*shape, tensor, of.degrees.micro_batch, of.fleet);
                let samples = self.prices.samples(key, &of.degrees);
                let edge_ratio = self.fleet.edge_ratio;
                let mesh = samples
                    .map(|samples| Rc::new(StageMesh { devices, tensor, samples, edge_ratio }));
                self.meshes.insert(place, mesh.clone());
                mesh
            }
        }?;
        Some(Meshed { place, mesh, used: Rc::clone(used) })
    }

    /// Seconds between a stage and the next one, there and back; `None` where there is no way.
    pub(super) fn way_s(
        &mut self,
        (place, mesh): (MeshPlace, &StageMesh),
        part: &Part,
    ) -> Option<f64> {
        let Some(next) = part.stages().next() else { return Some(0.0) };
        let fleet = self.fleet;
        let found = || {
            let way = fleet.boundary(mesh, &next.mesh, part.left);
            way.map_or(f64::INFINITY, |way| 2.0 * way.link.time(way.activation, 1).seconds())
        };
        // Samples of stages on two classes hang on their blocks.
        let is_known = |mesh_place: &MeshPlace| self.shapes[mesh_place.0].counts.len() == 1;
        let at = if fleet.is_uniform() { 0 } else { part.left };
        let way_s = match is_known(&place) && is_known(&next.place) {
            true => *self.ways.entry((place, next.place, at)).or_insert_with(found),
            false => found(),
        };
        way_s.is_finite().then_some(way_s)
    }
}
