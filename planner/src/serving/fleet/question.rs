//! What is asked: worker types, pools of devices, promises, hand-overs, an objective.

use std::fmt;

/// Greatest number of devices of a pool or of a worker, and of workers of a type.
pub(super) const MOST_DEVICES: u64 = 1_000_000;
/// Most worker types of a question.
pub(super) const MOST_TYPES: usize = 4_096;
/// Most hand-overs of a question.
pub(super) const MOST_HAND_OVERS: usize = 1_024;
/// Most devices of a host.
pub(super) const MOST_PER_HOST: u32 = 1_024;
/// Rates are between its inverse and this, requests/s.
pub(super) const GREATEST_RATE: f64 = 1e12;
/// Greatest price of a device-hour.
pub(super) const GREATEST_PRICE: f64 = 1e6;
/// Parts of a unit of currency in which prices count; finer ones are rounded to the nearest.
pub(super) const PRICE_PARTS: f64 = 1e4;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Prompts alone.
    Prefill,
    /// Tokens after the first alone.
    Decode,
    /// Whole requests.
    Aggregated,
}

/// A kind of worker: any number of equal workers can be started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerType {
    /// What it does.
    pub role: Role,
    /// Number of the pool whose devices it takes.
    pub pool: usize,
    /// Devices of a worker. One wider than a host takes whole hosts, with all of their devices.
    pub n_devices: u32,
    /// Requests per second that a worker completes.
    pub requests_per_s: f64,
    /// Fraction of `requests_per_s` that a fleet gets, such as 0.9 for prefill workers that wait for
    /// each other; 1 for all.
    pub efficiency: f64,
    /// Seconds to the first token; does not count for `Decode`.
    pub ttft_s: f64,
    /// Seconds per further token; does not count for `Prefill`.
    pub tpot_s: f64,
}

impl WorkerType {
    /// Requests per second that count.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests_per_s * self.efficiency
    }

    /// Seconds to the first token, where this type has a part in it.
    #[must_use]
    pub fn ttft(&self) -> Option<f64> {
        (self.role != Role::Decode).then_some(self.ttft_s)
    }

    /// Seconds per further token, where this type has a part in it.
    #[must_use]
    pub fn tpot(&self) -> Option<f64> {
        (self.role != Role::Prefill).then_some(self.tpot_s)
    }
}

/// Equal hosts with devices of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Hosts; `None` = as many as wanted.
    pub hosts: Option<u32>,
    /// Devices of a host.
    pub devices_per_host: u32,
    /// Price of a device-hour.
    pub price_per_hour: Option<f64>,
}

impl Pool {
    /// Hosts that a worker takes whole; 0 for one that leaves room beside it.
    #[must_use]
    pub fn span(&self, n_devices: u32) -> u32 {
        if n_devices > self.devices_per_host {
            n_devices.div_ceil(self.devices_per_host)
        } else {
            0
        }
    }

    /// Devices that a worker takes, idle ones of whole hosts included.
    #[must_use]
    pub fn footprint(&self, n_devices: u32) -> u64 {
        match self.span(n_devices) {
            0 => u64::from(n_devices),
            hosts => u64::from(hosts) * u64::from(self.devices_per_host),
        }
    }

    /// Workers of one type that fit into all hosts; `None` = as many as wanted.
    #[must_use]
    pub fn fit(&self, n_devices: u32) -> Option<u64> {
        let hosts = u64::from(self.hosts?);
        Some(match self.span(n_devices) {
            0 => hosts * u64::from(self.devices_per_host / n_devices.max(1)),
            span => hosts / u64::from(span),
        })
    }
}

/// Who can send keys and values to whom: each of some prefill types to each of some decode types, over a
/// link that they share. Types that differ in what they understand, such as in their tensor parallel
/// degrees, are named by several hand-overs.
#[derive(Clone, Debug, PartialEq)]
pub struct HandOver {
    /// Numbers of prefill types.
    pub from: Vec<usize>,
    /// Numbers of decode types.
    pub to: Vec<usize>,
    /// Bytes per second of the link; `None` = no limit.
    pub bytes_per_s: Option<f64>,
}

/// What the best fleet has least, or most, of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Devices, for a request rate.
    FewestDevices,
    /// Price per hour, for a request rate.
    LowestPrice,
    /// Requests per second.
    Throughput,
}

impl Objective {
    /// All.
    pub const ALL: [Self; 3] = [Self::FewestDevices, Self::LowestPrice, Self::Throughput];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FewestDevices => "fewest-devices",
            Self::LowestPrice => "lowest-price",
            Self::Throughput => "throughput",
        }
    }

    /// The one with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|objective| objective.name() == name)
    }
}

/// A question about a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Pools by number.
    pub pools: Vec<Pool>,
    /// Worker types by number.
    pub types: Vec<WorkerType>,
    /// What counts.
    pub objective: Objective,
    /// Requests per second that must be served; none for [`Objective::Throughput`].
    pub requests_per_s: Option<f64>,
    /// Seconds to the first token that are promised.
    pub ttft_s: Option<f64>,
    /// Seconds per further token that are promised.
    pub tpot_s: Option<f64>,
    /// Price per hour that the fleet may have.
    pub most_price_per_hour: Option<f64>,
    /// Devices that the fleet may have, of all pools.
    pub most_devices: Option<u64>,
    /// Who hands over to whom; empty = every prefill type to every decode type, without a limit.
    pub hand_overs: Vec<HandOver>,
    /// Bytes of keys and values that a request hands over.
    pub bytes_per_request: f64,
}

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// A figure of this name, of a type or pool of this number, is no number in its range.
    Figure(&'static str, usize),
    /// A rate is asked for and none is given, or the reverse.
    Rate,
    /// A price counts, and this pool has none.
    NoPrice(usize),
    /// Nothing limits the fleet whose throughput is asked for.
    Unlimited,
    /// More of something than is looked at.
    TooMany(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure(name, at) => write!(f, "invalid {name} of number {at}"),
            Self::Rate => {
                write!(f, "a request rate goes with fewest devices and lowest price alone")
            }
            Self::NoPrice(pool) => write!(f, "pool {pool} has no price"),
            Self::Unlimited => write!(f, "throughput needs a limit of hosts, devices or price"),
            Self::TooMany(what) => write!(f, "too many {what}"),
        }
    }
}

impl Question {
    /// Whether every figure is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), Refused> {
        if self.types.len() > MOST_TYPES {
            return Err(Refused::TooMany("worker types"));
        }
        if self.hand_overs.len() > MOST_HAND_OVERS {
            return Err(Refused::TooMany("hand-overs"));
        }
        if self.requests_per_s.is_some() == (self.objective == Objective::Throughput) {
            return Err(Refused::Rate);
        }
        let is_rate = |rate: f64| (1.0 / GREATEST_RATE..=GREATEST_RATE).contains(&rate);
        if self.requests_per_s.is_some_and(|rate| !is_rate(rate)) {
            return Err(Refused::Figure("request rate", 0));
        }
        for (at, pool) in self.pools.iter().enumerate() {
            check_pool(pool, at)?;
        }
        for (at, of) in self.types.iter().enumerate() {
            let is_time = |time: f64| time.is_finite() && time >= 0.0;
            let faults = [
                ("pool", of.pool >= self.pools.len()),
                ("devices", of.n_devices == 0 || u64::from(of.n_devices) > MOST_DEVICES),
                ("requests per second", !is_rate(of.requests_per_s) || !is_rate(of.rate())),
                ("efficiency", !(of.efficiency > 0.0 && of.efficiency <= 1.0)),
                ("TTFT", of.ttft().is_some_and(|time| !is_time(time))),
                ("TPOT", of.tpot().is_some_and(|time| !is_time(time))),
            ];
            if let Some((name, _)) = faults.into_iter().find(|(_, is_wrong)| *is_wrong) {
                return Err(Refused::Figure(name, at));
            }
        }
        self.check_limits()
    }

    fn check_limits(&self) -> Result<(), Refused> {
        let limits = [
            ("promised TTFT", self.ttft_s),
            ("promised TPOT", self.tpot_s),
            ("price limit", self.most_price_per_hour),
            ("bytes per request", Some(self.bytes_per_request)),
        ];
        for (name, limit) in limits {
            if limit.is_some_and(|limit| limit.is_nan() || limit < 0.0) {
                return Err(Refused::Figure(name, 0));
            }
        }
        if self.most_price_per_hour.is_some() || self.objective == Objective::LowestPrice {
            let free = self.types.iter().find(|of| self.pools[of.pool].price_per_hour.is_none());
            if let Some(of) = free {
                return Err(Refused::NoPrice(of.pool));
            }
        }
        for (at, hand_over) in self.hand_overs.iter().enumerate() {
            let is_of = |types: &[usize], role: Role| {
                types.iter().all(|of| self.types.get(*of).is_some_and(|of| of.role == role))
            };
            let is_sound = is_of(&hand_over.from, Role::Prefill)
                && is_of(&hand_over.to, Role::Decode)
                && hand_over.bytes_per_s.is_none_or(|bytes| bytes >= 0.0);
            if !is_sound {
                return Err(Refused::Figure("hand-over", at));
            }
        }
        Ok(())
    }

    /// Which promise a type breaks, if any.
    #[must_use]
    pub fn broken(&self, of: &WorkerType) -> Option<Broken> {
        let is_late = |time: Option<f64>, promise: Option<f64>| matches!((time, promise), (Some(time), Some(promise)) if time > promise);
        match () {
            () if is_late(of.ttft(), self.ttft_s) => Some(Broken::Ttft),
            () if is_late(of.tpot(), self.tpot_s) => Some(Broken::Tpot),
            () => None,
        }
    }

    /// The hand-over of all prefill types of a pool to all decode types of a pool, over a link between them.
    #[must_use]
    pub fn between(&self, from: usize, to: usize, bytes_per_s: Option<f64>) -> HandOver {
        let of = |role: Role, pool: usize| {
            let is_of = |at: &usize| (self.types[*at].role, self.types[*at].pool) == (role, pool);
            (0..self.types.len()).filter(is_of).collect()
        };
        HandOver { from: of(Role::Prefill, from), to: of(Role::Decode, to), bytes_per_s }
    }

    /// Requests per second that a hand-over can take; `None` = no limit.
    #[must_use]
    pub fn hand_over_rate(&self, hand_over: &HandOver) -> Option<f64> {
        let bytes_per_s = hand_over.bytes_per_s?;
        (self.bytes_per_request > 0.0).then(|| bytes_per_s / self.bytes_per_request)
    }
}

fn check_pool(pool: &Pool, at: usize) -> Result<(), Refused> {
    let is_price = |price: f64| (0.0..=GREATEST_PRICE).contains(&price);
    let n_devices =
        pool.hosts.map_or(0, |hosts| u64::from(hosts) * u64::from(pool.devices_per_host));
    let faults = [
        ("devices per host", !(1..=MOST_PER_HOST).contains(&pool.devices_per_host)),
        ("hosts", n_devices > MOST_DEVICES),
        ("price", pool.price_per_hour.is_some_and(|price| !is_price(price))),
    ];
    match faults.into_iter().find(|(_, is_wrong)| *is_wrong) {
        Some((name, _)) => Err(Refused::Figure(name, at)),
        None => Ok(()),
    }
}

/// A promise that a type breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Time to the first token.
    Ttft,
    /// Time per further token.
    Tpot,
}
