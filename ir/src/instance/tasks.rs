//! Tasks of known sizes on devices of known speeds (from earlier tasks): Tang et al., "FedML
//! Parrot: A Scalable Federated Learning System via Heterogeneity-aware Scheduling on Sequential and
//! Hierarchical Training", arXiv:2303.01778.

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Name.
    pub name: String,
    /// Its size, such as samples; above 0.
    pub size: f64,
}

/// What a device took for a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskRun {
    /// Position of the device.
    pub device: usize,
    /// Size of the task, above 0.
    pub size: f64,
    /// Seconds.
    pub seconds: f64,
}

/// An instance: which device runs which tasks, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInstance {
    /// Name of its file.
    pub name: String,
    /// Names of devices, at least one.
    pub devices: Vec<String>,
    /// Tasks, at least one.
    pub tasks: Vec<Task>,
    /// What is known of the devices.
    pub history: Vec<TaskRun>,
}
