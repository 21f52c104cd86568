//! What the kernels of llama.cpp reach that read weights once for few tokens.
//!
//! ```text
//! read    max(bytes / (E bandwidth), bytes / (B units clock), weights of k-quants / (W units clock))
//! launch  a time for each node of the graph: kernels are not recorded
//! ```
//!
//! CUDA: E, B and the launch were fitted together to eight published runs (XiongjieDai,
//! GPU-Benchmarks-on-LLM-Inference, May 2024: Llama 3 8B F16 on RTX 3090, RTX 4090, RTX A6000 and L40S, 8B
//! Q4_K_M on RTX 3090 and RTX 4090, 70B Q4_K_M on two of each); B holds back devices with much bandwidth for
//! their multiprocessors. Metal: E and the launch to runs of LLaMA 7B in F16, Q8_0 and Q4_0 on M1, M1 Max, M2,
//! M2 Ultra and M3 Max (llama.cpp's discussion 4167, November 2023, recalled) and of Llama 3.1 8B Q4_K_M on an
//! M4; W follows from 19 ms for the products of LLaMA 7B in Q4_K and in Q6_K on an M2 Max of 30 cores (commit
//! that added k-quants). Processors: LLaMA 7B Q4_0, 18.27 tokens/s on an i9-13900K with DDR5-6400 (ggml-org/llama.cpp#34).

use ir::card::stored::Extent;
use ir::chip::{Architecture, Chip};
use ir::cluster::DeviceKind;

/// Share of the bandwidth of a data sheet.
const CUDA_SHARE: f64 = 0.91;
const METAL_SHARE: f64 = 0.90;
const HOST_SHARE: f64 = 0.67;
/// Bytes that a multiprocessor takes in a clock.
const BYTES_A_CLOCK: f64 = 5.7;
/// Weights of k-quants that a core of an M1 or M2 unpacks in a clock.
const WEIGHTS_A_CLOCK: f64 = 8.25;
/// Seconds of a node of the graph.
const CUDA_NODE_S: f64 = 3.8e-6;
const METAL_NODE_S: f64 = 7.1e-6;

/// Rates of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Bytes of weights, keys and values a second.
    pub bytes_per_s: f64,
    /// Weights of k-quants a second, where unpacking them is what limits.
    pub weights_per_s: Option<f64>,
    /// Seconds of a node of the graph.
    pub node_s: f64,
    /// Operations a second in 16 bits; `None` where none is stated.
    pub flops: Option<f64>,
}

impl Rates {
    /// Of a kind of device; `None` where it states no bandwidth.
    #[must_use]
    pub fn of(kind: &DeviceKind) -> Option<Self> {
        let bandwidth = kind.memory_bandwidth?.get();
        let clocks = kind.n_multiprocessors.zip(kind.clock);
        let clocks = clocks.map(|(units, clock)| f64::from(units) * clock.get());
        let peak = |dtype| kind.peak.get(&dtype).map(|rate| rate.get());
        let flops = peak(ir::tensor::DType::F16).or_else(|| peak(ir::tensor::DType::Bf16));
        if kind.chip.architecture() == Architecture::Apple {
            let weights = clocks.filter(|_| kind.chip == Chip::M1);
            return Some(Self {
                bytes_per_s: METAL_SHARE * bandwidth,
                weights_per_s: weights.map(|clocks| WEIGHTS_A_CLOCK * clocks),
                node_s: METAL_NODE_S,
                flops,
            });
        }
        let taken = clocks.map_or(f64::INFINITY, |clocks| BYTES_A_CLOCK * clocks);
        Some(Self {
            bytes_per_s: (CUDA_SHARE * bandwidth).min(taken),
            weights_per_s: None,
            node_s: CUDA_NODE_S,
            flops,
        })
    }

    /// Of a host's processor, which has its memory's bandwidth.
    #[must_use]
    pub fn of_host(bandwidth: f64) -> Self {
        Self {
            bytes_per_s: HOST_SHARE * bandwidth,
            weights_per_s: None,
            node_s: CUDA_NODE_S,
            flops: None,
        }
    }

    /// Seconds in which weights are read and multiplied by so many tokens.
    #[must_use]
    pub fn read_s(&self, weights: Extent, (is_k, tokens): (bool, f64)) -> f64 {
        let elements = weights.elements as f64;
        let unpacked = self.weights_per_s.filter(|_| is_k).map_or(0.0, |rate| elements / rate);
        let products = self.flops.map_or(0.0, |flops| 2.0 * elements * tokens / flops);
        (weights.bytes as f64 / self.bytes_per_s).max(unpacked).max(products)
    }
}

#[cfg(test)]
mod tests {
    use ir::units::{BytesPerSecond, Hertz};

    use super::*;

    fn kind(chip: Chip, bandwidth: f64, units: u32, clock: f64) -> DeviceKind {
        DeviceKind {
            chip,
            memory_bandwidth: BytesPerSecond::new(bandwidth),
            n_multiprocessors: Some(units),
            clock: Hertz::new(clock),
            ..DeviceKind::default()
        }
    }

    /// `(10^9 bytes, 2 x 10^9 weights)`.
    const WEIGHTS: Extent = Extent { elements: 2_000_000_000, bytes: 1_000_000_000 };

    fn milliseconds(kind: &DeviceKind, is_k: bool) -> f64 {
        1e3 * Rates::of(kind).unwrap().read_s(WEIGHTS, (is_k, 1.0))
    }

    #[test]
    fn the_slower_of_memory_and_cores_decides() {
        // 0.91 of 1 TB/s: 1.0989 ms; 100 multiprocessors at 1 GHz take 570 GB/s: 1.7544 ms.
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-4;
        assert!(close(milliseconds(&kind(Chip::Rtx40, 1e12, 1_000, 1e9), true), 1.0989));
        assert!(close(milliseconds(&kind(Chip::A100, 1e12, 100, 1e9), true), 1.7544));
        // On an M1 k-quants take 2 x 10^9 / (8.25 x 32 x 1.3 x 10^9) s, other types 1 / 0.36 ms.
        let m1 = kind(Chip::M1, 4e11, 32, 1.3e9);
        assert!(close(milliseconds(&m1, true), 5.8275));
        assert!(close(milliseconds(&m1, false), 2.7778));
        assert!(close(milliseconds(&kind(Chip::M3, 4e11, 32, 1.3e9), true), 2.7778));
    }

    #[test]
    fn a_device_without_bandwidth_has_no_rates() {
        assert_eq!(Rates::of(&DeviceKind::default()), None);
    }
}
