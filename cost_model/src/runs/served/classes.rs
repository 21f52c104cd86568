//! Devices that may change places in every pipeline.

use super::{Costs, Way};

/// Most classes that are told apart.
pub const MOST: usize = 64;

/// Devices by class, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// By class its devices.
    pub devices: Vec<Vec<usize>>,
}

/// Where a pipeline begins, and what that means for its last stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Anywhere: every way back takes as long.
    Any {
        /// Nanoseconds of it.
        back: u64,
    },
    /// On a device of a class.
    Class(usize),
}

impl First {
    /// Whether the first stage may be on a class.
    #[must_use]
    pub fn allows(self, class: usize) -> bool {
        match self {
            Self::Any { .. } => true,
            Self::Class(first) => first == class,
        }
    }

    /// Nanoseconds back from a last stage on a class; `None` where there is no way.
    #[must_use]
    pub fn back(self, classes: &Classes, costs: &Costs, last: usize) -> Option<u64> {
        match self {
            Self::Any { back } => Some(back),
            Self::Class(first) => classes.way(costs, last, first).map(|way| way.back),
        }
    }
}

impl Classes {
    /// The classes of a cluster, by what devices take, hold and reach; channels are not looked at. `None`
    /// where there are more than [`MOST`].
    #[must_use]
    pub fn of(costs: &Costs) -> Option<Self> {
        let n = costs.n_devices();
        let is_like = |a: usize, b: usize| {
            (costs.speed_of.get(a), costs.limits.get(a))
                == (costs.speed_of.get(b), costs.limits.get(b))
                && costs.way(a, b).map(plain) == costs.way(b, a).map(plain)
                && (0..n).filter(|other| *other != a && *other != b).all(|other| {
                    costs.way(a, other).map(plain) == costs.way(b, other).map(plain)
                        && costs.way(other, a).map(plain) == costs.way(other, b).map(plain)
                })
        };
        let mut devices: Vec<Vec<usize>> = Vec::new();
        for device in 0..n {
            // Who is like one of a class is like all of it.
            match devices.iter().position(|class| is_like(device, class[0])) {
                Some(class) => devices[class].push(device),
                None if devices.len() == MOST => return None,
                None => devices.push(vec![device]),
            }
        }
        Some(Self { devices })
    }

    /// The way from a device of a class to another one of a class.
    #[must_use]
    pub fn way(&self, costs: &Costs, from: usize, to: usize) -> Option<Way> {
        let (a, b) = (self.devices.get(from)?, self.devices.get(to)?);
        costs.way(*a.first()?, *b.get(usize::from(from == to))?)
    }

    /// The first device of a class.
    #[must_use]
    pub fn first(&self, class: usize) -> usize {
        self.devices.get(class).and_then(|members| members.first()).copied().unwrap_or(usize::MAX)
    }

    /// Nanoseconds of every way back, where they are all the same and there is one from each device to each
    /// other, or nothing is sent back.
    #[must_use]
    pub fn back(&self, costs: &Costs) -> Option<u64> {
        if !costs.returns() {
            return Some(0);
        }
        let n = self.devices.len();
        let pairs = (0..n).flat_map(|a| (0..n).map(move |b| (a, b)));
        let mut ways = pairs
            .filter(|(a, b)| a != b || self.devices[*a].len() > 1)
            .map(|(a, b)| self.way(costs, a, b).map(|way| way.back));
        let first = ways.next().unwrap_or(Some(0))?;
        ways.all(|back| back == Some(first)).then_some(first)
    }

    /// How often each class may be used, as so many numbers of one index; `None` past a limit.
    #[must_use]
    pub fn n_sets(&self, most: usize) -> Option<usize> {
        self.devices
            .iter()
            .try_fold(1_usize, |n, members| n.checked_mul(members.len() + 1).filter(|n| *n <= most))
    }
}

/// What of a way pipelines take time for.
const fn plain(way: Way) -> [u64; 2] {
    [way.pass, way.back]
}
