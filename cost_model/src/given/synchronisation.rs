//! Replicas that average every so many steps, in part: seconds of a step.
//!
//! ```text
//! CSER            bytes (1/r1 + 1/(H r2)) b + a (1 + 1/H)
//! Local AdaAlter  2 bytes / H b + a / H
//! outer steps     bytes / (H r2) b + a / H
//! all of it       bytes b + a
//! ```
//! beside what a replica computes, with `b = 2 (P - 1) / P / rate` seconds a byte and `a = 2 (P - 1) latency`
//! of a ring of `P` replicas: gradients are sent in a part of `1/r1`, models every `H` steps in one of `1/r2`.
//! CSER: Xie et al., "CSER: Communication-efficient SGD with Error Reset", NeurIPS 2020. Local AdaAlter, whose
//! second moments are sent too: Xie et al., arXiv:1911.09030. Outer steps: Douillard et al., "DiLoCo",
//! arXiv:2311.08105. Nothing of it overlaps with computing.

use ir::diagnostic::Diagnostic;
use ir::instance::{AllReplicas, AveragingInstance, Peers, SyncBy, SyncWay};
use ir::units::{Nanos, Work};

use super::max_load::illegal;

/// How often replicas average, and how much of it they send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synchronisation {
    /// How; `None` = all gradients in each step.
    pub by: Option<SyncBy>,
    /// Steps from one average of models to the next.
    pub every: u64,
    /// So many times less than all is sent of gradients.
    pub gradients: f64,
    /// And of models.
    pub models: f64,
}

/// No ratio is NaN.
impl Eq for Synchronisation {}

impl Synchronisation {
    /// All gradients in each step.
    pub const WHOLE: Self = Self { by: None, every: 1, gradients: 1.0, models: 1.0 };

    /// What is sent in a step on average, in models.
    #[must_use]
    pub fn sent_share(&self) -> f64 {
        let steps = self.every as f64;
        match self.by {
            None => 1.0,
            Some(SyncBy::Cser) => 1.0 / self.gradients + 1.0 / (steps * self.models),
            Some(SyncBy::LocalAdaAlter) => 2.0 / steps,
            Some(SyncBy::OuterSteps) => 1.0 / (steps * self.models),
        }
    }

    /// Exchanges in a step on average.
    fn exchanges(&self) -> f64 {
        let models = 1.0 / self.every as f64;
        match self.by {
            None => 1.0,
            Some(SyncBy::Cser) => 1.0 + models,
            Some(SyncBy::LocalAdaAlter | SyncBy::OuterSteps) => models,
        }
    }
}

fn replicas(instance: &AveragingInstance) -> Option<&AllReplicas> {
    match &instance.peers {
        Peers::All(all) => Some(all),
        _ => None,
    }
}

/// Seconds of a step, whether or not the instance allows it; `None` where it is of other peers.
#[must_use]
pub fn seconds(instance: &AveragingInstance, choice: &Synchronisation) -> Option<f64> {
    let all = replicas(instance)?;
    let n = instance.nodes.len() as f64;
    let bytes = instance.bytes.first().copied().unwrap_or_default() as f64;
    let byte_s = 2.0 * (n - 1.0) / n / all.bytes_per_s;
    let start_up_s = 2.0 * (n - 1.0) * all.latency_s;
    Some(all.compute_s + bytes * choice.sent_share() * byte_s + choice.exchanges() * start_up_s)
}

/// All that an instance allows.
#[must_use]
pub fn choices(instance: &AveragingInstance) -> Vec<Synchronisation> {
    let mut found = vec![Synchronisation::WHOLE];
    let Some(all) = replicas(instance) else { return found };
    for SyncWay { by, every, gradients, models } in &all.ways {
        for &every in every {
            for &gradients in gradients {
                let choice = |&models| Synchronisation { by: Some(*by), every, gradients, models };
                found.extend(models.iter().map(choice));
            }
        }
    }
    found.retain(|choice| choice.sent_share() >= all.least_sent);
    found
}

/// [`seconds`] in whole nanoseconds.
#[must_use]
pub fn step(instance: &AveragingInstance, choice: &Synchronisation) -> Option<Nanos> {
    seconds(instance, choice).map(|step_s| Nanos::rounded(step_s * 1e9, Work::Some))
}

/// A step.
///
/// # Errors
/// `no-replicas` for other peers, `not-allowed` for what is none of [`choices`].
pub fn evaluate(
    instance: &AveragingInstance,
    choice: &Synchronisation,
) -> Result<Nanos, Diagnostic> {
    let Some(step) = step(instance, choice) else {
        return Err(illegal(
            "no-replicas",
            "nodes average in pairs or through a server".to_owned(),
        ));
    };
    match choices(instance).contains(choice) {
        true => Ok(step),
        false => {
            let message = "the file, or what --allow-lossy names, allows no such period and ratios";
            Err(illegal("not-allowed", message.to_owned()))
        }
    }
}

/// The shortest step of all that is allowed.
#[must_use]
pub fn bound(instance: &AveragingInstance) -> Nanos {
    let all = choices(instance).into_iter().filter_map(|choice| step(instance, &choice));
    all.min().unwrap_or(Nanos::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four replicas, 1 GB at 1 GB/s: a ring takes 1.5 s and six messages of 10 ms.
    fn instance(ways: Vec<SyncWay>, least_sent: f64) -> AveragingInstance {
        let all =
            AllReplicas { bytes_per_s: 1e9, latency_s: 0.01, compute_s: 2.0, ways, least_sent };
        AveragingInstance {
            name: String::new(),
            nodes: (0..4).map(|node| node.to_string()).collect(),
            bytes: vec![1_000_000_000; 4],
            kept: 1.0,
            peers: Peers::All(all),
        }
    }

    fn of(by: SyncBy, every: u64, gradients: f64, models: f64) -> Synchronisation {
        Synchronisation { by: Some(by), every, gradients, models }
    }

    #[test]
    fn steps_by_hand() {
        let instance = instance(Vec::new(), 0.0);
        for (choice, by_hand) in [
            (Synchronisation::WHOLE, 2.0 + 1.5 + 0.06),
            // 1/10 of the gradients each step, 1/5 of the models every 8.
            (of(SyncBy::Cser, 8, 10.0, 5.0), 2.0 + 1.5 * (0.1 + 0.025) + 0.06 * 1.125),
            (of(SyncBy::LocalAdaAlter, 4, 1.0, 1.0), 2.0 + 1.5 * 0.5 + 0.015),
            (of(SyncBy::OuterSteps, 100, 1.0, 4.0), 2.0 + 1.5 / 400.0 + 0.0006),
        ] {
            let step = seconds(&instance, &choice).unwrap();
            assert!((step - by_hand).abs() < 1e-12, "{choice:?}: {step}");
        }
        assert_eq!(bound(&instance).get(), 3_560_000_000);
    }

    /// More steps between averages and smaller parts never make a step longer, and none is shorter than
    /// what a replica computes, which it comes near.
    #[test]
    fn steps_fall_to_what_is_computed() {
        let instance = instance(Vec::new(), 0.0);
        let rising = [1.0, 1.5, 2.0, 8.0, 64.0, 1000.0, 1e6];
        let step = |choice| seconds(&instance, &choice).unwrap();
        for by in SyncBy::ALL {
            for pair in rising.windows(2) {
                let [less, more] = [pair[0], pair[1]];
                for other in rising {
                    for every in [1, 7, 1000] {
                        let (r1, r2) = (of(by, every, less, other), of(by, every, more, other));
                        assert!(step(r1) >= step(r2) && step(r2) >= 2.0);
                        let (r1, r2) = (of(by, every, other, less), of(by, every, other, more));
                        assert!(step(r1) >= step(r2) && step(r2) >= 2.0);
                    }
                    let [few, many] = [less.ceil() as u64, more.ceil() as u64];
                    assert!(step(of(by, few, other, other)) >= step(of(by, many, other, other)));
                }
            }
        }
        let far = seconds(&instance, &of(SyncBy::OuterSteps, 1_000_000, 1.0, 1e9)).unwrap();
        assert!((far - 2.0).abs() < 1e-6, "{far}");
    }

    #[test]
    fn what_is_sent_stays_above_what_is_asked() {
        let way = SyncWay {
            by: SyncBy::Cser,
            every: vec![1, 4, 16],
            gradients: vec![2.0, 10.0, 100.0],
            models: vec![1.0, 10.0],
        };
        let instance = instance(vec![way], 0.12);
        let all = choices(&instance);
        assert!(all.len() > 5 && all.iter().all(|choice| choice.sent_share() >= 0.12));
        let values = all.iter().map(|choice| evaluate(&instance, choice).unwrap());
        assert_eq!(values.min(), Some(bound(&instance)));
        let code = |choice| evaluate(&instance, &choice).unwrap_err().code;
        // 1/100 and 1/160.
        assert_eq!(code(of(SyncBy::Cser, 16, 100.0, 10.0)), "not-allowed");
        assert_eq!(code(of(SyncBy::OuterSteps, 1, 1.0, 1.0)), "not-allowed");
        let pairs = Peers::Server { bytes_per_s: vec![1.0; 4] };
        let other = AveragingInstance { peers: pairs, ..instance.clone() };
        assert_eq!(evaluate(&other, &Synchronisation::WHOLE).unwrap_err().code, "no-replicas");
    }
}
