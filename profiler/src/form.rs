//! The forms of the cost model and how their constants are fitted.
//!
//! Products take `launch + ((flops / (peak ec))^p + (bytes / (bandwidth em))^p)^(1/p)`, where peak
//! and bandwidth are the highest measured rates; streams and links take `start + bytes / rate`.

use crate::fit::{Constant, Edge, Fit, fit};
use crate::measurement::{Sample, Task};

/// Rate that large products approach over the highest that was measured, at most: start-up and
/// memory keep every sample below the former.
const MOST_EFFICIENT: f64 = 2.0;

/// Constants of products in the order of their fit.
const PRODUCT: [Constant; 4] = [
    Constant { name: "launch", lower: 1e-9, upper: 1e-2, edge: Edge::Open },
    Constant { name: "compute-efficiency", lower: 0.02, upper: MOST_EFFICIENT, edge: Edge::Open },
    Constant { name: "memory-efficiency", lower: 0.01, upper: 1.2, edge: Edge::Open },
    Constant { name: "p-norm", lower: 1.0, upper: 8.0, edge: Edge::Closed },
];

/// Constants of `start + bytes / rate`.
const LINE: [Constant; 2] = [
    Constant { name: "start", lower: 1e-9, upper: 1e-1, edge: Edge::Open },
    Constant { name: "bandwidth", lower: 1e5, upper: 1e14, edge: Edge::Open },
];

/// Rates that the efficiencies of products refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Floating-point operations per second.
    pub(crate) peak: f64,
    /// Bytes per second.
    pub(crate) bandwidth: f64,
}

/// Time of a product in seconds; `constants` in the order launch, compute and memory efficiency, p.
pub(crate) fn product_seconds(task: &Task, rates: Rates, constants: [f64; 4]) -> f64 {
    let [launch, compute_efficiency, memory_efficiency, p] = constants;
    let compute = task.flops() / (rates.peak * compute_efficiency);
    let memory = task.bytes() / (rates.bandwidth * memory_efficiency);
    let (greater, less) = if compute >= memory { (compute, memory) } else { (memory, compute) };
    if less <= 0.0 {
        return launch + greater;
    }
    launch + greater * (1.0 + (less / greater).powf(p)).powf(1.0 / p)
}

/// Fits the constants of products.
pub(crate) fn fit_products(samples: &[&Sample], rates: Rates) -> Option<Fit> {
    let measured: Vec<f64> = samples.iter().map(|sample| sample.median_s).collect();
    let predict = |values: &[f64], row: usize| match (samples.get(row), values) {
        (Some(sample), [launch, ec, em, p]) => {
            product_seconds(&sample.task, rates, [*launch, *ec, *em, *p])
        }
        _ => f64::NAN,
    };
    let starts = [0.2, 0.5, 0.8].map(|p| vec![0.5, 0.8, 0.8, p]);
    fit(&PRODUCT, &starts, &measured, &predict)
}

/// Fits `start + bytes / rate`.
pub(crate) fn fit_line(samples: &[&Sample]) -> Option<Fit> {
    let measured: Vec<f64> = samples.iter().map(|sample| sample.median_s).collect();
    let predict = |values: &[f64], row: usize| match (samples.get(row), values) {
        (Some(sample), [start, rate]) => start + sample.task.bytes() / rate,
        _ => f64::NAN,
    };
    fit(&LINE, &[vec![0.4, 0.5], vec![0.6, 0.6], vec![0.2, 0.6]], &measured, &predict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Extents, products};
    use ir::tensor::DType;

    const RATES: Rates = Rates { peak: 2e11, bandwidth: 4e10 };

    #[test]
    fn a_product_by_hand() {
        let task = Task::Product { dtype: DType::F32, m: 100, k: 200, n: 50 };
        assert_eq!(task.flops(), 2e6);
        assert_eq!(task.bytes(), 4.0 * (20_000.0 + 10_000.0 + 5_000.0));
        // compute 2e6 / 1e11 = 20 us, memory 140,000 / 2e10 = 7 us, p = 1, launch 3 us.
        let time = product_seconds(&task, RATES, [3e-6, 0.5, 0.5, 1.0]);
        assert!((time - 30e-6).abs() < 1e-12, "{time}");
    }

    #[test]
    fn the_constants_behind_exact_times_are_found() {
        let truth = [5e-6, 0.8, 0.6, 2.0];
        let extents = Extents { least: 16, most: 2048, step: 1 };
        let samples: Vec<Sample> = products(64, DType::F32, extents, 1)
            .into_iter()
            .map(|task| Sample {
                median_s: product_seconds(&task, RATES, truth),
                task,
                dispersion: 0.0,
                n_batches: 1,
            })
            .collect();
        let fit = fit_products(&samples.iter().collect::<Vec<_>>(), RATES).unwrap();
        for (found, truth) in fit.values.iter().zip(truth) {
            assert!((found / truth - 1.0).abs() < 0.02, "{:?}", fit.values);
        }
        assert!(fit.unidentified.is_empty(), "{:?}", fit.unidentified);
        assert!(fit.r_squared > 0.9999);
    }
}
