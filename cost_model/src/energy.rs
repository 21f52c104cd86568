//! What devices draw: energy of a step, the most that is drawn at once, and the least that any plan takes.
//!
//! ```text
//! joules of a device = idle (T - c - x) + transfers x + memory (c - p) + products p
//! p                  = floating-point operations / peak rate at the limit of its board, at most c
//! ```
//!
//! of a step of `T` seconds, of which it computes `c`, and sends or receives alone `x`. A kernel draws between
//! what one that waits for memory does and one at the peak rate, by its share of the peak. Facilities draw
//! `pue` times what their devices do; hosts and switches are not in it.
//!
//! Watts that no file states are shares of the data sheet's limit, between published ones: of an H100 with
//! 700 W about 300 W where a decoding step waits for memory and 600 to 680 W in large batches (ML.ENERGY
//! benchmark v3), of an H200 80 W at rest.

use ir::cluster::DeviceKind;
use ir::tensor::DType;
use ir::units::{BytesPerSecond, FlopsPerSecond, Watts};

use crate::kernels::{plain_product, power};

/// Shares of the data sheet's limit that are drawn at rest, while sending and receiving, where kernels wait
/// for memory, and in products at their peak rate.
const NOMINAL: [f64; 4] = [0.12, 0.4, 0.55, 1.0];

/// Watts of a device by what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Draw {
    /// At rest.
    pub idle: f64,
    /// While it sends and receives alone.
    pub transfers: f64,
    /// In kernels that wait for its memory.
    pub memory: f64,
    /// In products at their peak rate.
    pub products: f64,
    /// Whether any of them is a share of a data sheet's limit.
    pub is_nominal: bool,
}

impl Draw {
    /// Of a kind of device; `None` where neither it nor its limit is stated.
    #[must_use]
    pub fn of(kind: &DeviceKind) -> Option<Self> {
        let limit = kind.power.map(Watts::get);
        let full = kind.full_power.map(Watts::get).or(limit);
        let running = &kind.running;
        let stated = [running.idle, running.transfers, running.memory, running.products];
        let mut watts = [0.0; 4];
        for ((watts, stated), share) in watts.iter_mut().zip(stated).zip(NOMINAL) {
            *watts = stated.or(full.map(|full| share * full))?.min(limit.unwrap_or(f64::INFINITY));
        }
        let [idle, transfers, memory, products] = watts;
        // A share that is above what is stated beside it is none.
        let memory = if running.memory.is_none() { memory.min(products) } else { memory };
        let transfers =
            if running.transfers.is_none() { transfers.min(products) } else { transfers };
        let products = if running.products.is_none() { products.max(memory) } else { products };
        let idle = if running.idle.is_none() { idle.min(memory).min(transfers) } else { idle };
        let is_nominal = stated.iter().any(Option::is_none);
        Some(Self { idle, transfers, memory, products, is_nominal })
    }
}

/// What a device does in a step, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Duty {
    /// Of the step.
    pub step_s: f64,
    /// In which it computes.
    pub computing_s: f64,
    /// That its operations take at the peak rate.
    pub products_s: f64,
    /// In which it sends or receives alone.
    pub transfers_s: f64,
}

impl Duty {
    /// Of a device that computes, and sends or receives alone, for so long, and does so many operations.
    #[must_use]
    pub fn new(step_s: f64, [computing_s, transfers_s]: [f64; 2], flops: f64, peak: f64) -> Self {
        let computing_s = computing_s.clamp(0.0, step_s);
        let transfers_s = transfers_s.clamp(0.0, step_s - computing_s);
        let products_s = (flops / peak).clamp(0.0, computing_s);
        Self { step_s, computing_s, products_s, transfers_s }
    }

    /// Joules of a step.
    #[must_use]
    pub fn joules(&self, draw: &Draw) -> f64 {
        let idle_s = self.step_s - self.computing_s - self.transfers_s;
        draw.idle * idle_s
            + draw.transfers * self.transfers_s
            + draw.memory * (self.computing_s - self.products_s)
            + draw.products * self.products_s
    }

    /// Watts at most at any instant: those of the hungriest of what it does, as if all of that ran at its
    /// peak rate.
    #[must_use]
    pub fn most_watts(&self, draw: &Draw) -> f64 {
        let does = [
            (self.products_s, draw.products),
            (self.computing_s - self.products_s, draw.memory),
            (self.transfers_s, draw.transfers),
        ];
        let drawn = does.into_iter().filter(|(seconds, _)| *seconds > 0.0);
        drawn.fold(draw.idle, |most, (_, watts)| most.max(watts))
    }
}

/// Watts that a device of a kind draws at least while it computes, its board limited as far as it can be;
/// `None` where neither they nor its limit are stated.
#[must_use]
pub fn least_watts(kind: &DeviceKind) -> Option<f64> {
    let full = kind.full_power.or(kind.power);
    let least = full.and_then(|full| Watts::new(LEAST_LIMIT * full.get()));
    let limit =
        |power: Watts| least.map_or(power, |least| if least < power { least } else { power });
    let limited = DeviceKind { power: kind.power.map(limit), full_power: full, ..kind.clone() };
    let draw = Draw::of(&limited)?;
    Some(draw.memory.min(draw.products))
}

/// Shares of what it may draw that a board may be limited to in the plans that are looked at.
pub const LIMITS: [f64; 7] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
/// The least share that a board can be limited to.
pub const LEAST_LIMIT: f64 = 0.2;
/// Intervals of limits that [`least_joules`] looks at.
const INTERVALS: u32 = 160;

/// A kind whose boards are limited to a share of what its data sheet lets them draw: products slow down by
/// [`power::lowered`], and where the limit is below what memory draws, memory in proportion to what it draws
/// above rest. `None` where no limit is stated.
#[must_use]
pub fn limited(kind: &DeviceKind, limit: Watts) -> Option<DeviceKind> {
    let full = kind.full_power.or(kind.power)?;
    let mut device = DeviceKind { power: Some(limit), ..kind.clone() };
    device.full_power = (limit != full).then_some(full);
    let (before, after) = (left(kind)?, left(&device)?);
    for rate in device.peak.values_mut() {
        *rate = FlopsPerSecond::new(rate.get() * after[0] / before[0])?;
    }
    if let Some(rate) = &mut device.memory_bandwidth {
        *rate = BytesPerSecond::new(rate.get() * after[1] / before[1])?;
    }
    Some(device)
}

/// What the limit of its boards leaves of the rates of products and of memory.
fn left(kind: &DeviceKind) -> Option<[f64; 2]> {
    let limit = kind.power?.get();
    let unlimited =
        DeviceKind { power: kind.full_power.or(kind.power), full_power: None, ..kind.clone() };
    let draw = Draw::of(&unlimited)?;
    let memory = ((limit - draw.idle) / (draw.memory - draw.idle).max(f64::MIN_POSITIVE)).min(1.0);
    Some([power::lowered(kind), memory.max(0.01)])
}

/// A kind at the rates that the limit of its boards leaves, where its own are those of the data sheet.
#[must_use]
pub fn at_limit(kind: &DeviceKind) -> DeviceKind {
    let full =
        DeviceKind { power: kind.full_power.or(kind.power), full_power: None, ..kind.clone() };
    kind.power.and_then(|limit| limited(&full, limit)).unwrap_or_else(|| kind.clone())
}

/// Joules that so many operations, and bytes that are read from memory, take on a kind at least, however
/// they are spread over its devices, at any limit of its boards from [`LEAST_LIMIT`] up and its own; `None`
/// where a figure is missing. Between two limits it takes the rates of the upper and the watts of the lower.
#[must_use]
pub fn least_joules(kind: &DeviceKind, dtype: DType, work: [f64; 2]) -> Option<f64> {
    let full = kind.full_power.or(kind.power);
    let share = |at: u32| LEAST_LIMIT + (1.0 - LEAST_LIMIT) * f64::from(at) / f64::from(INTERVALS);
    let limits = (0..=INTERVALS).map(share).filter_map(|share| Watts::new(share * full?.get()));
    let kinds: Vec<DeviceKind> = limits.filter_map(|limit| limited(kind, limit)).collect();
    let between = kinds.windows(2).filter_map(|pair| {
        let [lower, upper] = pair else { return None };
        joules_at(upper, &Draw::of(lower)?, dtype, work)
    });
    between.chain(joules_at(kind, &Draw::of(kind)?, dtype, work)).reduce(f64::min)
}

fn joules_at(
    kind: &DeviceKind,
    draw: &Draw,
    dtype: DType,
    [flops, bytes]: [f64; 2],
) -> Option<f64> {
    let (_, peak) = plain_product::peak(kind, dtype)?;
    let memory_s = bytes / kind.memory_bandwidth?.get();
    let products_s = flops / peak.get();
    // No device computes for less than either, nor draws less than memory does meanwhile.
    let computing_s = memory_s.max(products_s);
    Some(draw.memory * (computing_s - products_s) + draw.products * products_s)
}

#[cfg(test)]
mod tests {
    use ir::cluster::Running;

    use super::*;

    fn kind(watts: f64, running: Running) -> DeviceKind {
        DeviceKind { power: Watts::new(watts), running, ..DeviceKind::default() }
    }

    #[test]
    fn joules_by_hand() {
        let running = Running {
            idle: Some(50.0),
            transfers: Some(100.0),
            memory: Some(200.0),
            products: Some(300.0),
            price_per_hour: None,
        };
        let draw = Draw::of(&kind(350.0, running)).unwrap();
        assert!(!draw.is_nominal);
        // 10 s, of which it computes 6, 2 of them at the peak, and sends 1: 3 x 50 + 100 + 4 x 200 + 2 x 300.
        let duty = Duty::new(10.0, [6.0, 1.0], 2e12, 1e12);
        assert_eq!(duty.joules(&draw), 1650.0);
        assert_eq!(duty.most_watts(&draw), 300.0);
        assert_eq!(Duty::new(10.0, [6.0, 1.0], 0.0, 1e12).most_watts(&draw), 200.0);
        assert_eq!(Duty::new(10.0, [0.0, 1.0], 0.0, 1e12).most_watts(&draw), 100.0);
        assert_eq!(Duty::new(10.0, [0.0; 2], 0.0, 1e12).most_watts(&draw), 50.0);
        // A board that is limited to 250 W.
        let limited = DeviceKind {
            power: Watts::new(250.0),
            full_power: Watts::new(350.0),
            ..kind(350.0, running)
        };
        assert_eq!(Draw::of(&limited).unwrap().products, 250.0);
    }

    #[test]
    fn shares_of_the_limit_stand_in_for_what_is_not_stated() {
        let draw = Draw::of(&kind(700.0, Running::default())).unwrap();
        assert!(draw.is_nominal);
        let watts = [draw.idle, draw.transfers, draw.memory, draw.products];
        let near = watts.iter().zip([84.0, 280.0, 385.0, 700.0]).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near, "{watts:?}");
        assert_eq!(Draw::of(&DeviceKind::default()), None);
        let low = Running { products: Some(60.0), ..Running::default() };
        let draw = Draw::of(&kind(700.0, low)).unwrap();
        assert_eq!([draw.idle, draw.transfers, draw.memory, draw.products], [60.0; 4]);
    }

    #[test]
    fn a_limit_of_a_board_costs_rates() {
        let mut kind = kind(350.0, Running::default());
        kind.peak.insert(DType::Bf16, FlopsPerSecond::new(100e12).unwrap());
        kind.memory_bandwidth = BytesPerSecond::new(1e12);
        let rates = |device: &DeviceKind| {
            [
                device.peak[&DType::Bf16].get() / 100e12,
                device.memory_bandwidth.unwrap().get() / 1e12,
            ]
        };
        // 70 %: ((0.7 - 0.15) / 0.85)^(1 / 1.72) of products; memory draws 55 % and keeps its rate.
        let capped = limited(&kind, Watts::new(245.0).unwrap()).unwrap();
        assert!(
            (rates(&capped)[0] - 0.7764).abs() < 1e-3 && rates(&capped)[1] == 1.0,
            "{:?}",
            rates(&capped)
        );
        // 40 %: (0.4 - 0.12) / (0.55 - 0.12) of memory.
        let low = limited(&capped, Watts::new(140.0).unwrap()).unwrap();
        assert!((rates(&low)[1] - 0.6512).abs() < 1e-3, "{:?}", rates(&low));
        let stated =
            DeviceKind { power: Watts::new(140.0), full_power: kind.power, ..kind.clone() };
        assert!((rates(&at_limit(&stated))[1] - rates(&low)[1]).abs() < 1e-12);
        assert_eq!(at_limit(&kind), kind);
        // As it was.
        let again = limited(&low, Watts::new(350.0).unwrap()).unwrap();
        assert!((rates(&again)[0] - 1.0).abs() < 1e-9 && again.full_power.is_none());
    }

    #[test]
    fn nothing_takes_less_than_the_least() {
        let mut kind = kind(400.0, Running::default());
        kind.peak.insert(DType::Bf16, ir::units::FlopsPerSecond::new(100e12).unwrap());
        kind.memory_bandwidth = ir::units::BytesPerSecond::new(1e12);
        let draw = Draw::of(&kind).unwrap();
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1_u64 << 24) as f64
        };
        for _ in 0..2000 {
            let work: Vec<[f64; 2]> = (0..4).map(|_| [1e14 * random(), 1e12 * random()]).collect();
            let step_s = 8.0 + random();
            let spent: f64 = work
                .iter()
                .map(|[flops, bytes]| {
                    let least_s = (flops / 100e12).max(bytes / 1e12);
                    Duty::new(step_s, [least_s * (1.0 + random()), random()], *flops, 100e12)
                        .joules(&draw)
                })
                .sum();
            let sum = work.iter().fold([0.0; 2], |sum, part| [sum[0] + part[0], sum[1] + part[1]]);
            let least = joules_at(&kind, &draw, DType::Bf16, sum).unwrap();
            assert!(spent >= least * (1.0 - 1e-12), "{spent} {least}");
            let any = least_joules(&kind, DType::Bf16, sum).unwrap();
            let share = LEAST_LIMIT + (1.0 - LEAST_LIMIT) * random();
            let capped = limited(&kind, Watts::new(400.0 * share).unwrap()).unwrap();
            let at = joules_at(&capped, &Draw::of(&capped).unwrap(), DType::Bf16, sum).unwrap();
            assert!(any <= at && any <= least, "{any} {at} at {share}, {least}");
        }
    }
}
