//! Checks a certificate with nothing but the instance and whole numbers.
//!
//! Shares no code with the search: groups, nets, least loads and prices are worked out anew. Least
//! loads are flows of its own, and greatest worths come from a dynamic program over what is known
//! of open nets, without a solver.

mod exhaust;
mod flow;
mod prices;
mod program;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ir::instance::LoadInstance;

use self::flow::Network;
use super::certificate::{Certificate, Reason, Round};

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It names a node that is not there, or not the first of its group.
    Malformed,
    /// A group does not have to follow the one that it is said to follow.
    Follower(u32),
    /// Two groups can be apart.
    Pair(u32, u32),
    /// An accelerator can hold the group.
    OffAccelerators(u32),
    /// All groups have a device.
    NoDevice,
    /// Some placement keeps the limit.
    Exhausted,
    /// The prices refute nothing.
    Prices,
    /// Checking would take too much memory.
    TooLarge,
    /// Checking was stopped.
    Stopped,
}

/// A group of nodes.
#[derive(Clone, Debug, Default)]
struct Group {
    accelerator: Option<u64>,
    cpu: u64,
    bytes: u64,
}

/// Groups and nets of an instance.
struct Checker<'a> {
    instance: &'a LoadInstance,
    limit: u64,
    /// Any node of the group of each node; its own if it stands for the group.
    root: Vec<usize>,
    /// Groups that no accelerator holds by an earlier round.
    off: BTreeSet<usize>,
    groups: BTreeMap<usize, Group>,
    nets: Vec<(BTreeSet<usize>, u64)>,
    order: Vec<usize>,
    stop: &'a dyn Fn() -> bool,
}

/// Whether the certificate proves that every plan has a load above its limit.
///
/// # Errors
/// The first flaw.
pub fn check(instance: &LoadInstance, certificate: &Certificate) -> Result<(), Flaw> {
    check_until(instance, certificate, &|| false)
}

/// [`check`] until `stop` says so, which is asked every few milliseconds.
///
/// # Errors
/// The first flaw; [`Flaw::Stopped`].
pub fn check_until(
    instance: &LoadInstance,
    certificate: &Certificate,
    stop: &dyn Fn() -> bool,
) -> Result<(), Flaw> {
    let n = instance.nodes.len();
    let mut root: Vec<usize> = (0..n).collect();
    let mut of_colour: HashMap<u32, usize> = HashMap::new();
    for (node, entry) in instance.nodes.iter().enumerate() {
        if let Some(colour) = entry.colour {
            root[node] = *of_colour.entry(colour).or_insert(node);
        }
    }
    let order = certificate.order.iter().map(|node| *node as usize).collect();
    let (limit, off) = (certificate.limit_ns, BTreeSet::new());
    let (groups, nets) = (BTreeMap::new(), Vec::new());
    let mut checker = Checker { instance, limit, root, off, groups, nets, order, stop };
    // Sums of all that a device can hold stay far from overflow.
    if limit > u64::MAX / 8 {
        return Err(Flaw::Malformed);
    }
    checker.regroup();
    checker.follow_all(&certificate.followers)?;
    for round in &certificate.rounds {
        checker.round(round)?;
    }
    match &certificate.reason {
        Reason::NoDevice => {
            let has_none = |(root, group): (&usize, &Group)| {
                !checker.may_hold(*root) && !checker.has_core(group)
            };
            checker.groups.iter().any(has_none).then_some(()).ok_or(Flaw::NoDevice)
        }
        Reason::Exhausted => exhaust::refute(&checker),
        Reason::Prices { price, byte_price } => prices::refute(&checker, price, *byte_price),
    }
}

impl Checker<'_> {
    fn find(&self, node: u32) -> Result<usize, Flaw> {
        let mut node = node as usize;
        while *self.root.get(node).ok_or(Flaw::Malformed)? != node {
            node = self.root[node];
        }
        Ok(node)
    }

    /// Works out groups and nets from the instance.
    fn regroup(&mut self) {
        let n = self.instance.nodes.len();
        for node in 0..n {
            let mut root = node;
            while self.root[root] != root {
                root = self.root[root];
            }
            self.root[node] = root;
        }
        self.groups.clear();
        for (node, entry) in self.instance.nodes.iter().enumerate() {
            let fresh = Group { accelerator: Some(0), cpu: 0, bytes: 0 };
            let group = self.groups.entry(self.root[node]).or_insert(fresh);
            group.accelerator = group.accelerator.zip(entry.accelerator).map(|(a, b)| a + b.get());
            group.cpu += entry.cpu.get();
            group.bytes += entry.bytes.get();
        }
        self.off = self.off.iter().map(|root| self.root[*root]).collect();
        let mut of_producer: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (producer, consumer) in &self.instance.edges {
            let (producer, consumer) = (*producer as usize, *consumer as usize);
            let members = of_producer.entry(producer).or_default();
            members.extend([self.root[producer], self.root[consumer]]);
        }
        let mut nets: BTreeMap<BTreeSet<usize>, u64> = BTreeMap::new();
        for (producer, members) in of_producer {
            let weight = self.instance.nodes[producer].transfer.get();
            if members.len() > 1 && weight > 0 {
                *nets.entry(members).or_default() += weight;
            }
        }
        self.nets = nets.into_iter().collect();
    }

    fn may_hold(&self, root: usize) -> bool {
        let group = &self.groups[&root];
        let fits = group.bytes <= self.instance.accelerator_memory.get();
        group.accelerator.is_some() && fits && !self.off.contains(&root)
    }

    fn has_core(&self, group: &Group) -> bool {
        self.instance.n_cpus > 0 && group.cpu <= self.limit
    }

    /// Goes on unless it is time to stop.
    fn go_on(&self) -> Result<(), Flaw> {
        if (self.stop)() { Err(Flaw::Stopped) } else { Ok(()) }
    }

    fn follow_all(&mut self, followers: &[(u32, u32)]) -> Result<(), Flaw> {
        let mut nets_of: HashMap<usize, Vec<usize>> = HashMap::new();
        for (net, (members, _)) in self.nets.iter().enumerate() {
            for root in members {
                nets_of.entry(*root).or_default().push(net);
            }
        }
        let total: u64 = self.groups.values().map(|group| group.bytes).sum();
        let is_roomy = total <= self.instance.accelerator_memory.get();
        for (number, (a, b)) in followers.iter().enumerate() {
            if number % 256 == 0 {
                self.go_on()?;
            }
            let (from, to) = (self.find(*a)?, self.find(*b)?);
            let group = &self.groups[&from];
            let is_light = group.bytes == 0 || is_roomy;
            let is_free = group.accelerator == Some(0) && group.cpu == 0;
            let nets = nets_of.get(&from).map_or(&[][..], Vec::as_slice);
            // A net that is left with one group is none.
            let mut nets_left = nets.iter().map(|net| &self.nets[*net].0);
            let is_tied = nets_left.all(|net| net.len() < 2 || net.contains(&to));
            if from == to || !(is_light && is_free && is_tied) {
                return Err(Flaw::Follower(*a));
            }
            let bytes = group.bytes;
            for net in nets {
                self.nets[*net].0.remove(&from);
            }
            self.root[from] = to;
            self.groups.remove(&from);
            if let Some(group) = self.groups.get_mut(&to) {
                group.bytes += bytes;
            }
        }
        self.regroup();
        Ok(())
    }

    fn round(&mut self, round: &Round) -> Result<(), Flaw> {
        let network = Network::new(self);
        for node in &round.off_accelerators {
            if !network.exceeds(self.find(*node)?, None)? {
                return Err(Flaw::OffAccelerators(*node));
            }
        }
        let mut joined = Vec::new();
        for (a, b) in &round.pairs {
            let (from, to) = (self.find(*a)?, self.find(*b)?);
            if !self.must_follow(&network, from, to)? {
                return Err(Flaw::Pair(*a, *b));
            }
            joined.push((from, to));
        }
        for node in &round.off_accelerators {
            let root = self.find(*node)?;
            self.off.insert(root);
        }
        for (from, to) in joined {
            let (from, to) = (self.find(from as u32)?, self.find(to as u32)?);
            self.root[from.max(to)] = from.min(to);
        }
        self.regroup();
        Ok(())
    }

    /// Whether every plan of loads at most the limit has b where it has a.
    fn must_follow(&self, network: &Network<'_>, a: usize, b: usize) -> Result<bool, Flaw> {
        if a == b || !network.exceeds(a, Some(b))? {
            return Ok(a == b);
        }
        if !self.has_core(&self.groups[&a]) {
            return Ok(true);
        }
        let other_core = self.instance.n_cpus > 1 && self.has_core(&self.groups[&b]);
        Ok(!other_core && network.exceeds(b, Some(a))?)
    }

    /// The layers of the dynamic program: groups in the order of the certificate.
    fn sequence(&self) -> Result<Vec<usize>, Flaw> {
        let mut seen = BTreeSet::new();
        let mut sequence = Vec::new();
        for node in &self.order {
            let root = self.find(u32::try_from(*node).or(Err(Flaw::Malformed))?)?;
            if seen.insert(root) {
                sequence.push(root);
            }
        }
        sequence.extend(self.groups.keys().filter(|root| !seen.contains(root)));
        Ok(sequence)
    }
}
