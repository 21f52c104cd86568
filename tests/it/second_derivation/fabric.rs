//! Where the ranks of a run lie, and how long they talk: bytes through each network card and each
//! tier of links (`docs/conventions.md`, Collectives of training runs).

use std::collections::BTreeMap;

use serde_json::Value;

/// A start-up in seconds and bytes per second.
#[derive(Clone, Copy)]
pub(super) struct Way {
    start_up: f64,
    rate: f64,
}

impl Way {
    fn send(self, bytes: f64) -> f64 {
        self.start_up + bytes / self.rate
    }

    /// A ring of `n` passes each of `n` parts on `2 (n - 1)` times, so that all have the sum.
    fn ring(self, n: usize, bytes: f64) -> f64 {
        let steps = 2.0 * (n as f64 - 1.0);
        steps * self.send(bytes / n as f64)
    }

    /// The same among the devices of a host, where the whole has one start-up (C2).
    fn ring_inside(self, n: usize, bytes: f64) -> f64 {
        let steps = 2.0 * (n as f64 - 1.0);
        if n == 1 { 0.0 } else { self.start_up + steps * bytes / n as f64 / self.rate }
    }
}

/// Tensor, context, data and pipeline coordinate of a device.
type Place = [usize; 4];

/// Devices that take part in one collective.
type Group = Vec<usize>;

/// A run on hosts of equal devices.
pub(super) struct Fabric {
    per_host: usize,
    cards: usize,
    inside: Way,
    network: Way,
    /// By device.
    places: Vec<Place>,
    /// Ranks that split a block, and an expert.
    split: [usize; 2],
    /// Expert ranks inside a replica, and along data.
    experts: [usize; 2],
}

impl Fabric {
    /// Of a cluster file as written in [`super::cases`], and the `parallelism` of a plan.
    pub(super) fn new(cluster: &Value, parallelism: &Value) -> Self {
        let host = &cluster["nodes"][0];
        let way = |of: &Value| Way {
            start_up: of["latency_s"].as_f64().unwrap(),
            rate: of["bytes_per_s"].as_f64().unwrap(),
        };
        let count = |of: &Value| of.as_u64().unwrap() as usize;
        let degree = |name: &str| count(&parallelism[name]);
        let [t, c, d, p] = ["tensor", "context", "data", "pipeline"].map(degree);
        let data_inside = parallelism["training"]["mesh"] == "data-inside";
        let place = |device: usize| {
            let outer = device / t / c;
            let [d, p] = if data_inside { [outer % d, outer / d] } else { [outer / p, outer % p] };
            [device % t, device / t % c, d, p]
        };
        // Ranks of a replica first that hold an expert each, as far as their number divides, then replicas.
        let e = degree("expert");
        let of_expert = parallelism["training"]["expert_tensor"].as_u64().map_or(t, |n| n as usize);
        let whole = t * c / of_expert;
        let inside = (1..=whole).rev().find(|n| whole % n == 0 && e % n == 0).unwrap();
        Self {
            per_host: count(&host["devices"]),
            cards: count(&host["nics"]),
            inside: way(&cluster["link_kinds"][0]),
            network: way(&cluster["network"]),
            places: (0..t * c * d * p).map(place).collect(),
            split: [t, of_expert],
            experts: [inside, e / inside],
        }
    }

    fn host(&self, device: usize) -> usize {
        device / self.per_host
    }

    /// Its network card, numbered through all hosts.
    fn card(&self, device: usize) -> usize {
        device % self.per_host * self.cards / self.per_host + self.host(device) * self.cards
    }

    /// Which part of an expert a device of a replica has, and which of them it is that hold experts.
    fn seat(&self, [t, c, ..]: Place) -> [usize; 2] {
        let [tensor, of_expert] = self.split;
        let inside = c * tensor + t;
        [inside % of_expert, inside / of_expert]
    }

    /// Ranks that split an expert: seconds of an all-reduce.
    pub(super) fn of_expert(&self, bytes: f64) -> f64 {
        let groups = self.groups(|at @ [_, _, d, p]| [self.seat(at)[1], 0, d, p]);
        self.worst(&groups, |group| {
            assert_eq!(self.by_host(group).len(), 1);
            self.inside.ring_inside(group.len(), bytes)
        })
    }

    /// What leaves a host passes the links inside it too.
    fn out(&self, rate: f64) -> Way {
        Way { rate: rate.min(self.inside.rate), ..self.network }
    }

    /// What a device has of its card while all devices of the host use theirs.
    fn share(&self, device: usize) -> f64 {
        let card = self.card(device);
        let users = (0..self.places.len()).filter(|other| self.card(*other) == card).count();
        self.network.rate / users as f64
    }

    /// Devices with the same key, in order.
    fn groups(&self, key: impl Fn(Place) -> Place) -> Vec<Group> {
        let mut groups: BTreeMap<Place, Group> = BTreeMap::new();
        for (device, place) in self.places.iter().enumerate() {
            groups.entry(key(*place)).or_default().push(device);
        }
        groups.into_values().collect()
    }

    /// Members of a group by host.
    fn by_host(&self, group: &[usize]) -> Vec<Group> {
        let mut hosts: BTreeMap<usize, Group> = BTreeMap::new();
        for device in group {
            hosts.entry(self.host(*device)).or_default().push(*device);
        }
        hosts.into_values().collect()
    }

    fn leaves(&self, groups: &[Group]) -> bool {
        groups.iter().any(|group| self.by_host(group).len() > 1)
    }

    /// The slowest of groups that work at once.
    fn worst(&self, groups: &[Group], seconds: impl Fn(&Group) -> f64) -> f64 {
        groups.iter().map(seconds).fold(0.0, f64::max)
    }

    /// Ranks that split the products of a block: seconds of an all-reduce, and whether it leaves
    /// hosts. It runs inside hosts first, then each device's part across them (C2).
    pub(super) fn tensor(&self, bytes: f64) -> (f64, bool) {
        let groups = self.groups(|[_, c, d, p]| [0, c, d, p]);
        let seconds = self.worst(&groups, |group| {
            let hosts = self.by_host(group);
            let fewest = hosts.iter().map(Vec::len).min().unwrap();
            let most = hosts.iter().map(Vec::len).max().unwrap();
            let across = self.out(self.share(group[0])).ring(hosts.len(), bytes / fewest as f64);
            self.inside.ring_inside(most, bytes) + if hosts.len() > 1 { across } else { 0.0 }
        });
        (seconds, self.leaves(&groups))
    }

    /// Ranks that split a sequence: seconds in which each sends `bytes` to all others, one after
    /// the other around the ring (C3).
    pub(super) fn context(&self, bytes: f64) -> (f64, bool) {
        let groups = self.groups(|[t, _, d, p]| [t, 0, d, p]);
        let n = groups[0].len();
        let flows = groups.iter().flat_map(|group| (0..n).map(|i| [group[i], group[(i + 1) % n]]));
        let flows: Vec<[usize; 2]> = flows.collect();
        let crossing = |[from, to]: &[usize; 2]| self.host(*from) != self.host(*to);
        let through = |end: usize, device: usize| {
            let same = |flow: &&[usize; 2]| self.card(flow[end]) == self.card(device);
            flows.iter().filter(|flow| crossing(flow)).filter(same).count()
        };
        let step = flows.iter().map(|flow| match crossing(flow) {
            false => self.inside.send(bytes),
            true => {
                let users = through(0, flow[0]).max(through(1, flow[1]));
                self.out(self.network.rate / users as f64).send(bytes)
            }
        });
        ((n as f64 - 1.0) * step.fold(0.0, f64::max), self.leaves(&groups))
    }

    /// Ranks that share out experts: seconds in which each sends `bytes` in equal parts to all,
    /// itself included (C4).
    pub(super) fn all_to_all(&self, bytes: f64) -> (f64, bool) {
        let [inside, by_d] = self.experts;
        let groups = self.groups(|at @ [_, _, d, p]| {
            let [part, seat] = self.seat(at);
            [part, seat / inside, d / by_d, p]
        });
        let seconds = self.worst(&groups, |group| {
            let part = bytes / group.len() as f64;
            let of = |device: usize| {
                let here = group.iter().filter(|o| self.host(**o) == self.host(device)).count();
                // NCCL's all-to-all reaches 330 of 445 GB/s inside hosts (FORMS.md, section 3).
                let way = Way { rate: self.inside.rate * 330.0 / 445.0, ..self.inside };
                let inside = way.send(part * (here as f64 - 1.0));
                let outside = part * (group.len() - here) as f64;
                let outside = match here == group.len() {
                    true => 0.0,
                    false => self.out(self.share(device)).send(outside),
                };
                if here > 1 { inside.max(outside) } else { outside }
            };
            group.iter().map(|device| of(*device)).fold(0.0, f64::max)
        });
        (seconds, self.leaves(&groups))
    }

    /// Seconds in which those that hold the same weights add up so many bytes of gradients, dense
    /// ones and those of experts (C2).
    pub(super) fn exchange(&self, dense: f64, experts: f64) -> f64 {
        let [inside, by_d] = self.experts;
        let of_experts = self.groups(|at @ [_, _, d, p]| {
            let [part, seat] = self.seat(at);
            [part, seat % inside, d % by_d, p]
        });
        self.all_reduce(&self.replicas(), dense) + self.all_reduce(&of_experts, experts)
    }

    fn replicas(&self) -> Vec<Group> {
        self.groups(|[t, _, _, p]| [t, 0, 0, p])
    }

    /// Whether the replicas' exchange leaves hosts.
    pub(super) fn exchange_leaves(&self) -> bool {
        self.leaves(&self.replicas())
    }

    fn all_reduce(&self, groups: &[Group], bytes: f64) -> f64 {
        if bytes == 0.0 {
            return 0.0;
        }
        self.worst(groups, |group| {
            let hosts = self.by_host(group);
            let shares = |host: &Group| host.iter().map(|device| self.share(*device)).sum::<f64>();
            let least = hosts.iter().map(shares).fold(f64::INFINITY, f64::min);
            match hosts.len() {
                1 => self.inside.ring_inside(group.len(), bytes),
                _ => self.out(least).ring(group.len(), bytes),
            }
        })
    }

    /// Devices of a pipeline rank.
    fn of_rank(&self, rank: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.places.len()).filter(move |device| self.places[*device][3] == rank)
    }

    /// Whether something leaves a host between two pipeline ranks.
    pub(super) fn crosses(&self, from: usize, to: usize) -> bool {
        self.of_rank(from).zip(self.of_rank(to)).any(|(a, b)| self.host(a) != self.host(b))
    }

    /// Seconds of a message of so many bytes of each device between two pipeline ranks, while all
    /// of `talking` use their cards (P4).
    pub(super) fn message(&self, [from, to]: [usize; 2], talking: &[usize], bytes: f64) -> f64 {
        if !self.crosses(from, to) {
            return self.inside.send(bytes);
        }
        let users = |device: usize| {
            let all = talking.iter().flat_map(|rank| self.of_rank(*rank));
            all.filter(|other| self.card(*other) == self.card(device)).count()
        };
        let most = self.of_rank(from).chain(self.of_rank(to)).map(users).max().unwrap();
        self.out(self.network.rate).send(bytes * most as f64)
    }

    /// Seconds in which both ends of a pipeline add up so many bytes of gradients of one tensor.
    pub(super) fn tie(&self, last: usize, bytes: f64) -> f64 {
        let ring = |way: Way| way.ring(2, bytes);
        if !self.crosses(0, last) {
            return ring(self.inside);
        }
        let users = |device: usize, rank: usize| {
            self.of_rank(rank).filter(|other| self.card(*other) == self.card(device)).count()
        };
        let most = [0, last].map(|rank| self.of_rank(rank).map(|d| users(d, rank)).max().unwrap());
        ring(self.out(self.network.rate / most[0].max(most[1]) as f64))
    }
}
