//! Step of a data-parallel run that exchanges its gradients in buckets beside the backward pass (Shi,
//! Chu and Li, MG-WFBP, INFOCOM 2019, section 4): one bucket at a time, each as soon as all of it is
//! there and the one before it has ended. The optimizer is left out.

use ir::diagnostic::Diagnostic;
use ir::instance::{Exchange, GradientInstance};
use ir::units::{Nanos, Work};

use super::max_load::illegal;
use crate::links::collective::gradient::{AllReduceCost, Gradient, joined, wait_free};

/// What of an instance is exchanged together, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// How all of them are exchanged.
    pub exchange: Exchange,
    /// Tensors of each bucket, in the order of readiness.
    pub lengths: Vec<usize>,
}

/// When a bucket is exchanged, in seconds after the start of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Its bytes.
    pub bytes: f64,
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
    let own = instance.tensors.iter();
    own.map(|own| Gradient { ready_s: own.ready_s, bytes: own.bytes as f64 }).collect()
}

/// What an exchange of an instance costs; `None` where it offers none of this kind.
#[must_use]
pub fn cost(instance: &GradientInstance, exchange: Exchange) -> Option<AllReduceCost> {
    let own = instance.costs.iter().find(|own| own.exchange == exchange)?;
    Some(AllReduceCost { start_up_s: own.start_up_s, per_byte_s: own.per_byte_s })
}

/// Buckets and what they cost, where they are legal.
fn checked(
    instance: &GradientInstance,
    buckets: &Buckets,
) -> Result<(Vec<Gradient>, AllReduceCost), Diagnostic> {
    let Some(cost) = cost(instance, buckets.exchange) else {
        let message = format!("the instance states no cost of `{}`", buckets.exchange.name());
        return Err(illegal("no-such-exchange", message));
    };
    if buckets.lengths.contains(&0) {
        return Err(illegal("empty-bucket", "a bucket has no tensor".to_owned()));
    }
    let n = buckets.lengths.iter().fold(0_usize, |n, own| n.saturating_add(*own));
    if n != instance.tensors.len() {
        let message =
            format!("{n} tensors are in buckets, and there are {}", instance.tensors.len());
        return Err(illegal("tensors-missing", message));
    }
    Ok((joined(&gradients(instance), &buckets.lengths), cost))
}

/// Seconds of the step.
///
/// # Errors
/// `no-such-exchange`, `empty-bucket`, `tensors-missing`.
pub fn seconds(instance: &GradientInstance, buckets: &Buckets) -> Result<f64, Diagnostic> {
    let (groups, cost) = checked(instance, buckets)?;
    Ok(instance.forward_s + wait_free(instance.backward_s, &groups, cost))
}

/// The step in whole nanoseconds.
///
/// # Errors
/// As [`seconds`].
pub fn evaluate(instance: &GradientInstance, buckets: &Buckets) -> Result<Nanos, Diagnostic> {
    seconds(instance, buckets).map(nanos)
}

fn nanos(seconds: f64) -> Nanos {
    Nanos::rounded(seconds * 1e9, Work::None)
}

/// When each bucket is exchanged.
///
/// # Errors
/// As [`seconds`].
pub fn spans(instance: &GradientInstance, buckets: &Buckets) -> Result<Vec<Span>, Diagnostic> {
    let (groups, cost) = checked(instance, buckets)?;
    let mut end_s = 0.0_f64;
    let span = |own: &Gradient| {
        let start_s = end_s.max(own.ready_s);
        end_s = start_s + cost.seconds(own.bytes);
        Span { bytes: own.bytes, ready_s: own.ready_s, start_s, end_s }
    };
    Ok(groups.iter().map(span).collect())
}

/// What sums in another order may differ by, as a share.
const ROUNDING: f64 = 1e-9;

/// A step that no buckets are below: both passes, and all that is there from a tensor on in one exchange
/// after it.
#[must_use]
pub fn bound(instance: &GradientInstance) -> Nanos {
    let after = |cost: AllReduceCost| {
        let (mut bytes, mut end_s) = (0.0, instance.backward_s);
        for own in gradients(instance).iter().rev() {
            bytes += own.bytes;
            end_s = f64::max(end_s, own.ready_s + cost.seconds(bytes));
        }
        end_s
    };
    let costs = instance.costs.iter().filter_map(|own| cost(instance, own.exchange));
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
            tensors: [(5.0, 1), (6.0, 3), (20.0, 4)].into_iter().map(tensor).collect(),
        }
    }

    fn buckets(exchange: Exchange, lengths: &[usize]) -> Buckets {
        Buckets { exchange, lengths: lengths.to_vec() }
    }

    #[test]
    fn steps_by_hand() {
        let own = instance();
        let step = |exchange, lengths: &[usize]| {
            evaluate(&own, &buckets(exchange, lengths)).map(|own| own.get() / 1_000_000_000)
        };
        // 5 to 8, 8 to 13, 20 to 26, after 3 s forward.
        assert_eq!(step(Exchange::AllReduce, &[1, 1, 1]).unwrap(), 29);
        // 20 to 30.
        assert_eq!(step(Exchange::AllReduce, &[3]).unwrap(), 33);
        // 5 to 6.5, 20 to 27.5.
        assert_eq!(step(Exchange::ParameterServer, &[1, 2]).unwrap(), 30);
        let spans = spans(&own, &buckets(Exchange::AllReduce, &[2, 1])).unwrap();
        assert_eq!((spans[0].start_s, spans[0].end_s), (6.0, 12.0));
        assert_eq!((spans[1].ready_s, spans[1].end_s), (20.0, 26.0));
        // 3 + 20 + .5 + 4.
        assert!(
            (27_499_999_000..=27_500_000_000).contains(&bound(&own).get()),
            "{:?}",
            bound(&own)
        );
    }

    #[test]
    fn what_is_illegal_is_named() {
        let own = instance();
        let code = |own: &GradientInstance, lengths: &[usize]| {
            evaluate(own, &buckets(Exchange::AllReduce, lengths)).unwrap_err().code
        };
        assert_eq!(code(&own, &[1, 0, 2]), "empty-bucket");
        assert_eq!(code(&own, &[1, 1]), "tensors-missing");
        assert_eq!(code(&own, &[usize::MAX, 4]), "tensors-missing");
        let none = GradientInstance { costs: Vec::new(), ..own };
        assert_eq!(code(&none, &[3]), "no-such-exchange");
        assert_eq!(bound(&none), Nanos::ZERO);
    }
}
