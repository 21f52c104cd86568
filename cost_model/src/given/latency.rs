//! Time of one sample that goes through alone (Tarnawski et al., NeurIPS 2020, section 4;
//! `docs/conventions.md`, latency).
//!
//! Each accelerator runs its nodes as one block: it waits for all that the block reads, takes the
//! inputs in, computes, and gives the outputs out, one after another. CPU nodes run each on a core
//! of its own and pay no transfer.

use ir::diagnostic::Diagnostic;
use ir::instance::LoadInstance;
use ir::units::Nanos;

use super::max_load::{self, Contiguity, Devices, illegal};

/// When the last node of a legal split is done. Every device from `n_accelerators` on stands for
/// the CPU, whose cores don't run out.
///
/// # Errors
/// Those of [`max_load::check`] without contiguity, and `block-cycle` where a block would wait for
/// itself.
pub fn evaluate(instance: &LoadInstance, devices: &Devices) -> Result<Nanos, Diagnostic> {
    max_load::check(instance, devices, Contiguity::Free)?;
    Blocks::new(instance).evaluate(devices).ok_or_else(|| {
        illegal("block-cycle", "a block of an accelerator would wait for itself".to_owned())
    })
}

/// A latency that no split is below: the longest path, each node where it is fastest, without any
/// transfer.
#[must_use]
pub fn bound(instance: &LoadInstance) -> Nanos {
    let mut done = vec![0u64; instance.nodes.len()];
    let mut ready = vec![0u64; instance.nodes.len()];
    let blocks = Blocks::new(instance);
    for node in max_load::order(instance) {
        let times = &instance.nodes[node];
        let on_accelerator = times.accelerator.filter(|_| instance.n_accelerators > 0);
        done[node] = ready[node] + on_accelerator.map_or(times.cpu, |a| a.min(times.cpu)).get();
        for &consumer in &blocks.consumers[node] {
            let ready = &mut ready[consumer as usize];
            *ready = (*ready).max(done[node]);
        }
    }
    Nanos(done.into_iter().max().unwrap_or(0))
}

/// The evaluation of many splits of one instance, one after another.
pub struct Blocks<'a> {
    instance: &'a LoadInstance,
    producers: Vec<Vec<u32>>,
    consumers: Vec<Vec<u32>>,
}

impl<'a> Blocks<'a> {
    /// Reads the edges once.
    #[must_use]
    pub fn new(instance: &'a LoadInstance) -> Self {
        let mut producers = vec![Vec::new(); instance.nodes.len()];
        let mut consumers = vec![Vec::new(); instance.nodes.len()];
        for &(from, to) in &instance.edges {
            producers[to as usize].push(from);
            consumers[from as usize].push(to);
        }
        Self { instance, producers, consumers }
    }

    /// Latency of a split, whatever memory it takes; `None` where a block waits for itself.
    ///
    /// # Panics
    /// If `devices` is shorter than the instance.
    #[must_use]
    pub fn evaluate(&self, devices: &Devices) -> Option<Nanos> {
        let n_blocks = self.instance.n_accelerators;
        let n_nodes = self.instance.nodes.len();
        // Tasks: blocks, then nodes (those on accelerators stay unused).
        let task = |node: u32| match devices[node as usize] as usize {
            device if device < n_blocks => device,
            _ => n_blocks + node as usize,
        };
        let mut missing = vec![0u32; n_blocks + n_nodes];
        let mut work = vec![0u64; n_blocks + n_nodes];
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); n_blocks];
        for (node, times) in (0..).zip(&self.instance.nodes) {
            let here = task(node);
            let crossing =
                self.consumers[node as usize].iter().filter(|to| task(**to) != here).count();
            for &to in self.consumers[node as usize].iter().filter(|to| task(**to) != here) {
                missing[task(to)] += 1;
            }
            if here < n_blocks {
                members[here].push(node);
                work[here] += times.accelerator.unwrap_or(times.cpu).get();
                work[here] += if crossing > 0 { times.transfer.get() } else { 0 };
            } else {
                work[here] = times.cpu.get();
            }
        }
        self.add_inputs(devices, &members, &mut work);
        self.finish(&task, missing, &work, &members)
    }

    /// Each outside source of a block once.
    fn add_inputs(&self, devices: &Devices, members: &[Vec<u32>], work: &mut [u64]) {
        let mut paid = vec![u32::MAX; self.instance.nodes.len()];
        for (block, members) in (0u32..).zip(members) {
            for source in members.iter().flat_map(|node| &self.producers[*node as usize]) {
                let outside = devices[*source as usize] != block;
                if outside && std::mem::replace(&mut paid[*source as usize], block) != block {
                    work[block as usize] += self.instance.nodes[*source as usize].transfer.get();
                }
            }
        }
    }

    fn finish(
        &self,
        task: &impl Fn(u32) -> usize,
        mut missing: Vec<u32>,
        work: &[u64],
        members: &[Vec<u32>],
    ) -> Option<Nanos> {
        let n_blocks = members.len();
        let n_nodes = self.instance.nodes.len() as u32;
        let mut start = vec![0u64; work.len()];
        let is_task = |index: usize| match members.get(index) {
            Some(members) => !members.is_empty(),
            None => task((index - n_blocks) as u32) == index,
        };
        let n_tasks = (0..n_blocks + n_nodes as usize).filter(|index| is_task(*index)).count();
        let mut open: Vec<usize> =
            (0..work.len()).filter(|index| is_task(*index) && missing[*index] == 0).collect();
        let (mut n_done, mut last) = (0, 0);
        while let Some(index) = open.pop() {
            n_done += 1;
            let end = start[index] + work[index];
            last = last.max(end);
            let single = [index.wrapping_sub(n_blocks) as u32];
            let nodes = members.get(index).map_or(&single[..], Vec::as_slice);
            for &to in nodes.iter().flat_map(|node| &self.consumers[*node as usize]) {
                let next = task(to);
                if next != index {
                    start[next] = start[next].max(end);
                    missing[next] -= 1;
                    if missing[next] == 0 {
                        open.push(next);
                    }
                }
            }
        }
        (n_done == n_tasks).then_some(Nanos(last))
    }
}
