//! Matrix products in words.

use ir::op::{Kernel, Product};

use super::quantity::{Unit, number};
use super::{Explanation, Figure, moved, share};
use crate::kernels::matrix_product::{self, Parts, Tiling};
use crate::kernels::origin::Sourced;
use crate::kernels::price::evaluate::Breakdown;
use crate::kernels::price::kind::{KindCosts, ProductConstants, Products};
use crate::kernels::price::task::flops;

/// The longest product, and how many others there are.
fn longest(kernel: &Kernel) -> Option<(&Product, usize)> {
    let longest = kernel.products.iter().max_by(|a, b| flops(a).total_cmp(&flops(b)))?;
    Some((longest, kernel.products.len() - 1))
}

/// `2 x 12 x 64 x 64 x 768`.
fn work(product: &Product) -> String {
    let Product { count, m, k, n } = *product;
    let count = if count == 1 { String::new() } else { format!("{count} x ") };
    format!("2 x {count}{m} x {k} x {n}")
}

/// The sum of all products' work where there are several.
pub(super) fn all_work(kernel: &Kernel) -> String {
    match kernel.products.as_slice() {
        [one] => work(one),
        several if several.len() <= 3 => {
            let texts: Vec<String> = several.iter().map(work).collect();
            format!("({})", texts.join(" + "))
        }
        several => {
            let all: f64 = several.iter().map(flops).sum();
            format!("{} of {} products", Unit::Flops.show(all), several.len())
        }
    }
}

/// `(312 TFLOP/s x 0.82)`.
pub(super) fn reachable(peak: f64, efficiency: f64) -> String {
    format!("({} x {})", Unit::FlopsPerSecond.show(peak), number(efficiency))
}

/// `compute = plain x factor`, where the factor stands for tiles, waves and splits.
fn compute(
    explanation: &mut Explanation,
    kernel: &Kernel,
    seconds: f64,
    products: &Products,
    efficiency: f64,
) -> f64 {
    let all: f64 = kernel.products.iter().map(flops).sum();
    let plain = all / (products.facts.peak * efficiency);
    let factor = if plain > 0.0 { seconds / plain } else { 1.0 };
    let mut text = format!("{} / {}", all_work(kernel), reachable(products.facts.peak, efficiency));
    if (factor - 1.0).abs() > 1e-9 {
        text.push_str(&format!(" x {}", number(factor)));
    }
    explanation.formula("compute", seconds, Unit::Seconds, text);
    factor
}

fn peak(explanation: &mut Explanation, products: &Products, costs: &KindCosts) {
    let name = format!("rate of {} products", products.rate_of.name());
    let figure = Figure::new(name, products.facts.peak, Unit::FlopsPerSecond, &products.rate);
    explanation.figures.push(figure.checked(costs.sheet().check));
}

/// The plain form.
pub(super) fn plain(
    explanation: &mut Explanation,
    found: &Breakdown,
    kernel: &Kernel,
    products: &Products,
    costs: &KindCosts,
) {
    let ProductConstants::Plain(constants) = &products.constants.value else { return };
    let factor =
        compute(explanation, kernel, found.compute_s, products, constants.compute_efficiency);
    if (factor - 1.0).abs() > 1e-9 {
        let text = "least over tiles of 64 x 64 to 256 x 128 of waves x tile work, or one split";
        explanation.formula("tiling factor", factor, Unit::One, text.to_owned());
    }
    let bandwidth = products.facts.memory_bandwidth;
    let text = format!("{} / {}", moved(kernel), share(bandwidth, constants.memory_efficiency));
    explanation.formula("memory", found.memory_s, Unit::Seconds, text);
    let sourced = &products.constants;
    let figure = |name: &str, value, unit| Figure::new(name, value, unit, sourced);
    explanation.figures.extend([
        figure("launch", constants.launch.get(), Unit::Seconds),
        figure("compute efficiency", constants.compute_efficiency, Unit::One),
        figure("memory efficiency", constants.memory_efficiency, Unit::One),
        figure("p-norm", constants.p_norm, Unit::One),
    ]);
    if let Some(tile) = constants.tile {
        explanation.figures.extend([
            figure("extra depth of a tile", tile.k0, Unit::One),
            figure("small-tile penalty", tile.small_tile_penalty, Unit::One),
            figure("split", tile.split_k.get(), Unit::Seconds),
        ]);
    }
    peak(explanation, products, costs);
    explanation.bandwidth(costs);
}

/// The form of eleven constants.
pub(super) fn tiled(
    explanation: &mut Explanation,
    kernel: &Kernel,
    products: &Products,
    parts: &Parts,
    costs: &KindCosts,
) {
    let ProductConstants::Tiled(constants) = &products.constants.value else { return };
    let factor =
        compute(explanation, kernel, parts.compute_s, products, constants.compute_efficiency);
    if let (Some(tiling), Some((product, others))) = (parts.tiling, longest(kernel)) {
        let text = cut(product, others, &tiling, products, constants);
        explanation.formula("tiling factor", factor, Unit::One, text);
    }
    let bandwidth = products.facts.memory_bandwidth;
    let mut text = format!("{} / {}", moved(kernel), share(bandwidth, constants.memory_efficiency));
    let cached = parts.miss + (1.0 - parts.miss) / constants.cache_gain;
    if (cached - 1.0).abs() > 1e-9 {
        text.push_str(&format!(" x {} in cache", number(cached)));
    }
    if (parts.narrow - 1.0).abs() > 1e-9 {
        text.push_str(&format!(" x {} for few columns", number(parts.narrow)));
    }
    explanation.formula("memory", parts.memory_s, Unit::Seconds, text);
    figures(explanation, &products.constants, constants);
    peak(explanation, products, costs);
    explanation.bandwidth(costs);
    let s = f64::from(products.facts.n_multiprocessors);
    explanation.sheet("multiprocessors", s, Unit::One, costs);
    if let Some(cache) = products.facts.last_level_cache.filter(|_| constants.cache_gain > 1.0) {
        explanation.sheet("last-level cache", cache, Unit::Bytes, costs);
    }
}

/// What the factor of tiles, waves and splits is made of.
fn cut(
    product: &Product,
    others: usize,
    tiling: &Tiling,
    products: &Products,
    constants: &matrix_product::Constants,
) -> String {
    let (tm, tn) = tiling.tile;
    let s = products.facts.n_multiprocessors;
    let penalty = 1.0 + constants.small_tile_penalty * (128.0 * 128.0 / (tm * tn) - 1.0) / 4.0;
    let depth = product.k as f64 / tiling.split;
    let mut text = format!(
        "{} waves x {s} x 2 x {tm} x {tn} x ({} + {}) x {} / ({})",
        number(tiling.waves),
        number(depth),
        number(constants.k0),
        number(penalty),
        work(product)
    );
    if tiling.split > 1.0 {
        let extra = constants.split_k + constants.split_step * tiling.split.log2();
        text.push_str(&format!(
            ", split {} ways: {} and partial sums on top",
            tiling.split,
            Unit::Seconds.show(extra)
        ));
    }
    if others > 0 {
        text.push_str(&format!("; the longest, {others} more"));
    }
    text
}

fn figures(
    explanation: &mut Explanation,
    sourced: &Sourced<ProductConstants>,
    constants: &matrix_product::Constants,
) {
    let figure = |name: &str, value, unit| Figure::new(name, value, unit, sourced);
    explanation.figures.extend([
        figure("launch", constants.launch, Unit::Seconds),
        figure("compute efficiency", constants.compute_efficiency, Unit::One),
        figure("memory efficiency", constants.memory_efficiency, Unit::One),
        figure("p-norm", constants.p_norm, Unit::One),
        figure("extra depth of a tile", constants.k0, Unit::One),
        figure("small-tile penalty", constants.small_tile_penalty, Unit::One),
        figure("share of the last wave", constants.whole_waves, Unit::One),
        figure("split", constants.split_k, Unit::Seconds),
        figure("doubling of a split", constants.split_step, Unit::Seconds),
        figure("cache gain", constants.cache_gain, Unit::One),
        figure("gain of few columns", constants.narrow_gain, Unit::One),
    ]);
}
