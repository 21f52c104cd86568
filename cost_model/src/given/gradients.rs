//! Step of a data-parallel run that exchanges its gradients in buckets beside the backward pass (Shi,
//! Chu and Li, MG-WFBP, INFOCOM 2019, section 4): one bucket at a time, each as soon as all of it is
//! there and the one before it has ended. The optimizer is left out.

use ir::diagnostic::Diagnostic;
use ir::instance::{Exchange, GradientInstance, GradientTensor, Lossy, LossyCost};
use ir::units::{Nanos, Work};

use super::max_load::illegal;
use crate::links::collective::gradient::{AllReduceCost, Gradient};

/// What of an instance is exchanged together, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// How those are exchanged that are sent as they are.
    pub exchange: Exchange,
    /// Tensors of each bucket, in the order of readiness.
    pub lengths: Vec<usize>,
    /// By bucket, what is sent of it where that is a part; empty where all are sent as they are.
    pub parts: Vec<Option<Part>>,
}

/// What is sent of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How.
    pub by: Lossy,
    /// Elements that one replica sends.
    pub kept: u64,
}

impl Buckets {
    /// All of them sent as they are.
    #[must_use]
    pub const fn whole(exchange: Exchange, lengths: Vec<usize>) -> Self {
        Self { exchange, lengths, parts: Vec::new() }
    }

    /// What is sent of a bucket; `None` where that is all.
    #[must_use]
    pub fn part(&self, bucket: usize) -> Option<Part> {
        self.parts.get(bucket).copied().flatten()
    }
}

/// Elements of a gradient, the last of them maybe in part.
#[must_use]
pub fn elements(instance: &GradientInstance, bytes: u64) -> u64 {
    bytes.div_ceil(instance.element_bytes.max(1))
}

/// So many elements of that many are kept at least: at least one.
#[must_use]
pub fn least_kept(density: f64, elements: u64) -> u64 {
    let exact = density * elements as f64;
    // Products that are whole but for rounding are whole.
    let least = (exact - (exact * 1e-12).min(1e-3)).ceil();
    (least as u64).clamp(1, elements.max(1))
}

/// Bytes that one replica sends of so many, of which it keeps so many elements.
#[must_use]
pub fn sent_bytes(cost: &LossyCost, bytes: u64, n_elements: u64) -> u64 {
    match cost.by {
        Lossy::TwoWay => least_kept(cost.density, bytes),
        _ => n_elements.saturating_mul(cost.sent_element_bytes),
    }
}

/// Seconds of an exchange that sends a part.
#[must_use]
pub fn part_seconds(cost: &LossyCost, bytes: u64, n_elements: u64) -> f64 {
    let sent = sent_bytes(cost, bytes, n_elements) as f64;
    cost.start_up_s + bytes as f64 * cost.per_byte_s + sent * cost.per_sent_byte_s
}

/// Elements that an exchange of tensors sends at least.
fn fewest(instance: &GradientInstance, cost: &LossyCost, tensors: &[GradientTensor]) -> u64 {
    let of = |tensor: &GradientTensor| elements(instance, tensor.bytes);
    let all = tensors.iter().map(of).sum();
    match cost.by {
        Lossy::TopK | Lossy::GlobalTopK => least_kept(cost.density, all),
        Lossy::LayerWise => tensors.iter().map(|tensor| least_kept(cost.density, of(tensor))).sum(),
        Lossy::TwoWay => all,
    }
}

/// When a bucket is exchanged, in seconds after the start of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Bytes of its gradients.
    pub bytes: f64,
    /// What one replica sends of them.
    pub sent_bytes: u64,
    /// When all of it is there.
    pub ready_s: f64,
    /// When its exchange starts.
    pub start_s: f64,
    /// When it has ended.
    pub end_s: f64,
}

/// The gradients of an instance.
#[must_use]
pub fn gradients(instance: &GradientInstance) -> Vec<Gradient> {
    let tensors = instance.tensors.iter();
    tensors.map(|tensor| Gradient { ready_s: tensor.ready_s, bytes: tensor.bytes as f64 }).collect()
}

/// What an exchange of an instance costs; `None` where it offers none of this kind.
#[must_use]
pub fn cost(instance: &GradientInstance, exchange: Exchange) -> Option<AllReduceCost> {
    let cost = instance.costs.iter().find(|cost| cost.exchange == exchange)?;
    Some(AllReduceCost { start_up_s: cost.start_up_s, per_byte_s: cost.per_byte_s })
}

/// Refuses a part that a bucket can't send.
fn check_part(
    instance: &GradientInstance,
    part: Part,
    tensors: &[GradientTensor],
) -> Result<LossyCost, Diagnostic> {
    let name = part.by.name();
    let Some(cost) = instance.lossy.iter().find(|cost| cost.by == part.by) else {
        let message = format!("`{name}` is no way of exchange that is allowed");
        return Err(illegal("not-allowed", message));
    };
    if let Some(tensor) = tensors.iter().find(|tensor| tensor.bytes < cost.threshold_bytes) {
        let message = format!(
            "`{}` has {} bytes, and `{name}` is for tensors of {} and more",
            tensor.name, tensor.bytes, cost.threshold_bytes
        );
        return Err(illegal("below-threshold", message));
    }
    let all: u64 = tensors.iter().map(|tensor| elements(instance, tensor.bytes)).sum();
    let least = fewest(instance, cost, tensors);
    let most = if part.by == Lossy::LayerWise { all } else { least };
    if !(least..=most).contains(&part.kept) {
        let message = format!(
            "`{name}` sends {least} to {most} of {all} elements, and {} are stated",
            part.kept
        );
        return Err(illegal("bad-density", message));
    }
    Ok(*cost)
}

/// When each bucket is exchanged.
///
/// # Errors
/// `no-such-exchange`, `empty-bucket`, `tensors-missing`, `not-allowed`, `below-threshold`,
/// `bad-density`.
pub fn spans(instance: &GradientInstance, buckets: &Buckets) -> Result<Vec<Span>, Diagnostic> {
    let Some(cost) = cost(instance, buckets.exchange) else {
        let message = format!("the instance states no cost of `{}`", buckets.exchange.name());
        return Err(illegal("no-such-exchange", message));
    };
    if buckets.lengths.contains(&0) {
        return Err(illegal("empty-bucket", "a bucket has no tensor".to_owned()));
    }
    let n = buckets.lengths.iter().fold(0_usize, |n, length| n.saturating_add(*length));
    if n != instance.tensors.len() {
        let message =
            format!("{n} tensors are in buckets, and there are {}", instance.tensors.len());
        return Err(illegal("tensors-missing", message));
    }
    let (mut left, mut end_s) = (instance.tensors.as_slice(), 0.0_f64);
    let mut spans = Vec::with_capacity(buckets.lengths.len());
    for (at, n) in buckets.lengths.iter().enumerate() {
        let (tensors, rest) = left.split_at(*n);
        left = rest;
        let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
        let ready_s = tensors.iter().fold(0.0, |ready: f64, tensor| ready.max(tensor.ready_s));
        let start_s = end_s.max(ready_s);
        let (sent_bytes, took_s) = match buckets.part(at) {
            None => (bytes, cost.seconds(bytes as f64)),
            Some(part) => {
                let lossy = check_part(instance, part, tensors)?;
                (sent_bytes(&lossy, bytes, part.kept), part_seconds(&lossy, bytes, part.kept))
            }
        };
        end_s = start_s + took_s;
        spans.push(Span { bytes: bytes as f64, sent_bytes, ready_s, start_s, end_s });
    }
    Ok(spans)
}

/// Seconds of the step.
///
/// # Errors
/// As [`spans`].
pub fn seconds(instance: &GradientInstance, buckets: &Buckets) -> Result<f64, Diagnostic> {
    let last_s = spans(instance, buckets)?.last().map_or(0.0, |span| span.end_s);
    Ok(instance.forward_s + instance.backward_s.max(last_s))
}

/// The step in whole nanoseconds.
///
/// # Errors
/// As [`spans`].
pub fn evaluate(instance: &GradientInstance, buckets: &Buckets) -> Result<Nanos, Diagnostic> {
    seconds(instance, buckets).map(nanos)
}

fn nanos(seconds: f64) -> Nanos {
    Nanos::rounded(seconds * 1e9, Work::None)
}

/// How many times as long the step takes where the exchange follows the backward pass, and how many
/// times that may be at most: `1 + min(t_b, t_c) / (t_f + max(t_b, t_c))` with passes of `t_f` and `t_b`
/// and an exchange of `t_c` seconds (Shi et al., ECAI 2020).
///
/// # Errors
/// As [`spans`].
pub fn overlap(instance: &GradientInstance, buckets: &Buckets) -> Result<(f64, f64), Diagnostic> {
    let exchange_s: f64 =
        spans(instance, buckets)?.iter().map(|span| span.end_s - span.start_s).sum();
    let (forward_s, backward_s) = (instance.forward_s, instance.backward_s);
    let step_s = seconds(instance, buckets)?;
    let over = |some: f64, all: f64| if all > 0.0 { some / all } else { 0.0 };
    let gain = over(forward_s + backward_s + exchange_s, step_s);
    let most = over(backward_s.min(exchange_s), forward_s + backward_s.max(exchange_s));
    Ok((gain, 1.0 + most))
}

/// What sums in another order may differ by, as a share.
const ROUNDING: f64 = 1e-9;

/// A step that no buckets are below: both passes, and all that is there from a tensor on in one exchange
/// after it, by the fastest ways there are.
#[must_use]
pub fn bound(instance: &GradientInstance) -> Nanos {
    let after = |cost: AllReduceCost| {
        let fastest = instance.lossy.iter().fold(cost, |fastest, lossy| {
            // Kept elements are rounded up.
            let sent = match lossy.by {
                Lossy::TwoWay => lossy.density,
                _ => {
                    let elements = 1.0 / instance.element_bytes.max(1) as f64;
                    elements * lossy.density * lossy.sent_element_bytes as f64
                }
            };
            let per_byte_s = lossy.per_byte_s + sent * lossy.per_sent_byte_s;
            AllReduceCost {
                start_up_s: fastest.start_up_s.min(lossy.start_up_s),
                per_byte_s: fastest.per_byte_s.min(per_byte_s),
            }
        });
        let (mut bytes, mut end_s) = (0.0, instance.backward_s);
        for gradient in gradients(instance).iter().rev() {
            bytes += gradient.bytes;
            end_s = f64::max(end_s, gradient.ready_s + fastest.seconds(bytes));
        }
        end_s
    };
    let costs = instance.costs.iter().filter_map(|stated| cost(instance, stated.exchange));
    let least_s = costs.map(after).fold(f64::INFINITY, f64::min);
    // Without an exchange nothing is legal.
    if !least_s.is_finite() {
        return Nanos::ZERO;
    }
    let least = nanos(instance.forward_s + least_s);
    let exact = nanos(instance.forward_s + instance.backward_s);
    // Sums of passes alone are those of the judge.
    Nanos(exact.get().max((least.as_f64() * (1.0 - ROUNDING)) as u64))
}

#[cfg(test)]
mod tests {
    use ir::instance::{ExchangeCost, GradientTensor};

    use super::*;

    /// 0.3 x 13,516,426,863 is 4,054,928,058.9; 0.1 x 30 is 3 and a little more as it is rounded.
    #[test]
    fn kept_elements_are_rounded_up() {
        for (density, elements, least) in [
            (0.3, 13_516_426_863, 4_054_928_059),
            (0.1, 30, 3),
            (1.0, 10_000_000_000_000, 10_000_000_000_000),
            (1e-9, 5, 1),
        ] {
            assert_eq!(least_kept(density, elements), least);
        }
    }

    fn instance() -> GradientInstance {
        let tensor = |(ready_s, bytes): (f64, u64)| GradientTensor {
            name: format!("t{bytes}"),
            bytes,
            ready_s,
        };
        let cost = |exchange, start_up_s| ExchangeCost { exchange, start_up_s, per_byte_s: 1.0 };
        GradientInstance {
            name: String::new(),
            replicas: 2,
            samples: None,
            forward_s: 3.0,
            backward_s: 20.0,
            costs: vec![cost(Exchange::AllReduce, 2.0), cost(Exchange::ParameterServer, 0.5)],
            lossy: Vec::new(),
            element_bytes: 1,
            tensors: [(5.0, 1), (6.0, 3), (20.0, 4)].into_iter().map(tensor).collect(),
        }
    }

    fn buckets(exchange: Exchange, lengths: &[usize]) -> Buckets {
        Buckets::whole(exchange, lengths.to_vec())
    }

    #[test]
    fn steps_by_hand() {
        let instance = instance();
        let step = |exchange, lengths: &[usize]| {
            evaluate(&instance, &buckets(exchange, lengths)).map(|time| time.get() / 1_000_000_000)
        };
        // 5 to 8, 8 to 13, 20 to 26, after 3 s forward.
        assert_eq!(step(Exchange::AllReduce, &[1, 1, 1]).unwrap(), 29);
        // 20 to 30.
        assert_eq!(step(Exchange::AllReduce, &[3]).unwrap(), 33);
        // 5 to 6.5, 20 to 27.5.
        assert_eq!(step(Exchange::ParameterServer, &[1, 2]).unwrap(), 30);
        let spans = spans(&instance, &buckets(Exchange::AllReduce, &[2, 1])).unwrap();
        assert_eq!((spans[0].start_s, spans[0].end_s), (6.0, 12.0));
        assert_eq!((spans[1].ready_s, spans[1].end_s), (20.0, 26.0));
        // 3 + 20 + .5 + 4.
        assert!(
            (27_499_999_000..=27_500_000_000).contains(&bound(&instance).get()),
            "{:?}",
            bound(&instance)
        );
    }

    #[test]
    fn what_is_illegal_is_named() {
        let instance = instance();
        let code = |instance: &GradientInstance, lengths: &[usize]| {
            evaluate(instance, &buckets(Exchange::AllReduce, lengths)).unwrap_err().code
        };
        assert_eq!(code(&instance, &[1, 0, 2]), "empty-bucket");
        assert_eq!(code(&instance, &[1, 1]), "tensors-missing");
        assert_eq!(code(&instance, &[usize::MAX, 4]), "tensors-missing");
        let none = GradientInstance { costs: Vec::new(), ..instance };
        assert_eq!(code(&none, &[3]), "no-such-exchange");
        assert_eq!(bound(&none), Nanos::ZERO);
    }
}
