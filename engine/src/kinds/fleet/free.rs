//! Devices of a cluster that starts of a script take: those that `CUDA_VISIBLE_DEVICES` names, or any.

use cost_model::serving::worker::Shape;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::launch::ServerStart;

use super::setting::Setting;

/// Devices of a worker behind the number of the pool, or of the host, that they are of.
pub(super) type Taken = (usize, Vec<DeviceId>);

/// Devices that no start has taken.
pub(super) struct Free<'s> {
    setting: &'s Setting,
    /// By pool and host.
    pools: Vec<Vec<Vec<DeviceId>>>,
    /// By host all devices, free or not, in its order.
    hosts: Vec<Vec<DeviceId>>,
    /// Whether a start was put on another host because the devices that it names are taken on one.
    is_spread: bool,
}

impl<'s> Free<'s> {
    pub(super) fn new(setting: &'s Setting) -> Self {
        let cluster = &setting.run.cluster;
        let mut hosts: Vec<(_, Vec<DeviceId>)> = Vec::new();
        for id in cluster.device_ids() {
            let node = cluster.devices[id.index()].node;
            match hosts.iter_mut().find(|(of, _)| *of == node) {
                Some((_, devices)) => devices.push(id),
                None => hosts.push((node, vec![id])),
            }
        }
        Self {
            setting,
            pools: setting.pools.iter().map(|pool| pool.hosts.clone()).collect(),
            hosts: hosts.into_iter().map(|(_, devices)| devices).collect(),
            is_spread: false,
        }
    }

    /// Devices of the `n` workers of a start, one of `n_starts`.
    ///
    /// # Errors
    /// `not-placed`.
    pub(super) fn take(
        &mut self,
        start: &ServerStart,
        (shape, n): (&Shape, u32),
        n_starts: usize,
    ) -> Result<Vec<Taken>, Diagnostic> {
        let each = usize::try_from(shape.devices()).unwrap_or(usize::MAX);
        let Some(names) = &start.settings.devices else {
            let one = |_| self.any(each).ok_or_else(|| self.too_few(n_starts));
            return (0..n).map(one).collect();
        };
        let all = each.saturating_mul(n as usize);
        let n_hosts = start.n_hosts.map_or_else(|| all.div_ceil(names.len()), |n| n as usize);
        if n_hosts > all {
            let message = format!("a start of {all} devices on {n_hosts} hosts");
            return Err(Diagnostic::input("not-placed", message).hint("correct `--nnodes`"));
        }
        let of_host = all.div_ceil(n_hosts.max(1));
        self.check(names, of_host)?;
        let named = &names[..of_host];
        let mut devices = Vec::new();
        for host in 0..n_hosts {
            let (at, of) = self.named(named).ok_or_else(|| taken(named))?;
            self.is_spread |= host == 0 && at > 0;
            devices.extend(of);
        }
        // The last host has fewer where they do not divide.
        devices.truncate(all);
        let of = |worker: &[DeviceId]| (self.pool(worker[0]), worker.to_vec());
        Ok(devices.chunks(each.max(1)).map(of).collect())
    }

    /// Refuses names that a host has not, that are repeated, or that are fewer than a start needs.
    fn check(&self, names: &[u32], needed: usize) -> Result<(), Diagnostic> {
        let most = self.hosts.iter().map(Vec::len).max().unwrap_or(0);
        let is_beyond = |name: &&u32| **name as usize >= most;
        let is_again = |(at, name): (usize, &u32)| names[..at].contains(name).then_some(*name);
        let message =
            match (names.iter().find(is_beyond), names.iter().enumerate().find_map(is_again)) {
                (Some(name), _) => {
                    format!("`CUDA_VISIBLE_DEVICES` names device {name} of hosts of {most} devices")
                }
                (None, Some(name)) => format!("`CUDA_VISIBLE_DEVICES` names device {name} twice"),
                (None, None) if names.len() < needed => format!(
                    "a start needs {needed} devices on a host, and `CUDA_VISIBLE_DEVICES` names {}",
                    names.len()
                ),
                _ => return Ok(()),
            };
        Err(Diagnostic::input("not-placed", message)
            .hint("correct `CUDA_VISIBLE_DEVICES` or the degrees of the start"))
    }

    /// The devices of these numbers on the first host that has all of them free and of one kind, and how many
    /// hosts are before it.
    fn named(&mut self, names: &[u32]) -> Option<Taken> {
        let of = |host: &Vec<DeviceId>| -> Option<Vec<DeviceId>> {
            names.iter().map(|name| host.get(*name as usize).copied()).collect()
        };
        let candidates: Vec<Vec<DeviceId>> = self.hosts.iter().filter_map(of).collect();
        let is_free = |devices: &Vec<DeviceId>| {
            let mut parts = self.pools.iter().flatten();
            parts.any(|part| devices.iter().all(|id| part.contains(id)))
        };
        let at = candidates.iter().position(is_free)?;
        let devices = candidates.into_iter().nth(at)?;
        for part in self.pools.iter_mut().flatten() {
            part.retain(|id| !devices.contains(id));
        }
        Some((at, devices))
    }

    /// The pool of a device.
    fn pool(&self, id: DeviceId) -> usize {
        let mut pools = self.setting.pools.iter();
        pools.position(|pool| pool.hosts.iter().flatten().any(|of| *of == id)).unwrap_or(0)
    }

    /// Devices of a worker that names none: of one host, or whole hosts of one pool.
    fn any(&mut self, n: usize) -> Option<Taken> {
        let pools = self.pools.iter_mut().zip(&self.setting.pools);
        pools.enumerate().find_map(|(pool, (hosts, of))| {
            if let Some(host) = hosts.iter_mut().find(|host| host.len() >= n) {
                return Some((pool, host.drain(..n).collect()));
            }
            let each =
                of.hosts.iter().map(Vec::len).max().filter(|each| n.is_multiple_of(*each))?;
            let is_free = |at: &usize| hosts[*at].len() == each;
            let whole: Vec<usize> = (0..hosts.len()).filter(is_free).take(n / each).collect();
            let taken = |at: usize| std::mem::take(&mut hosts[at]);
            (whole.len() == n / each).then(|| (pool, whole.into_iter().flat_map(taken).collect()))
        })
    }

    fn too_few(&self, n_starts: usize) -> Diagnostic {
        let has = self.setting.n_devices();
        let message =
            format!("the {n_starts} starts of the script need more than the {has} devices");
        Diagnostic::input("not-placed", message)
            .hint("add --cluster with the devices that it runs on and --allow-mismatch")
    }

    /// Which starts are taken to be on other hosts.
    pub(super) fn spread(&self) -> Option<Diagnostic> {
        let message =
            "starts with the same `CUDA_VISIBLE_DEVICES` are taken to run on different hosts";
        self.is_spread.then(|| {
            Diagnostic::warning("hosts-assumed", message)
                .hint("on one host, each start needs devices of its own")
        })
    }
}

fn taken(names: &[u32]) -> Diagnostic {
    let names: Vec<String> = names.iter().take(16).map(u32::to_string).collect();
    let message = format!(
        "no host has devices {} free: other starts of the script take them",
        names.join(", ")
    );
    Diagnostic::input("not-placed", message)
        .hint("give each start devices of its own, or add hosts")
}
