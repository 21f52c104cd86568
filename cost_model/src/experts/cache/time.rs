//! How long a step takes whose experts come over the links to the host.
//!
//! Layers run one after the other. What a layer fetches ahead goes over a device's link in the time that
//! the link had nothing to do since the step began (its slots are free then, and all layers' experts are
//! predicted at once); what is left of that, and all misses, the layer waits for:
//!
//! ```text
//! layer  max(compute, misses + max(0, ahead - idle)), the greatest of all devices
//! idle   max(0, idle - ahead) + layer - what the link carried in it
//! ```

/// Seconds of a device's link for a layer of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OverLink {
    /// Fetched before the layer begins.
    pub ahead_s: f64,
    /// Fetched when the layer needs it.
    pub missed_s: f64,
}

/// Links of devices in a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Links {
    idle_s: Vec<f64>,
}

impl Links {
    /// Of so many devices, when a step begins.
    #[must_use]
    pub fn new(n_devices: usize) -> Self {
        Self { idle_s: vec![0.0; n_devices] }
    }

    /// Seconds that the step's next layer takes beyond those that it computes for.
    pub fn exposed_s(&mut self, compute_s: f64, devices: &[OverLink]) -> f64 {
        let carried = |idle: f64, link: &OverLink| link.missed_s + (link.ahead_s - idle).max(0.0);
        let each = || self.idle_s.iter().zip(devices);
        let layer_s = each().map(|(idle, link)| carried(*idle, link)).fold(compute_s, f64::max);
        for (idle, link) in self.idle_s.iter_mut().zip(devices) {
            let busy = carried(*idle, link);
            *idle = (*idle - link.ahead_s).max(0.0) + layer_s - busy;
        }
        layer_s - compute_s
    }
}
