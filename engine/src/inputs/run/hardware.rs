//! What the devices of a run leave of its software stack, and what memory they have for its states.

use cost_model::kernels::attention_kernel::{MOST_HEAD, Missing, on_chips};
use cost_model::runs::forms::model::counts::n_parameters;
use cost_model::runs::memory::states::state_bytes;
use exporters::runs::find;
use ir::card::ZeroStage;
use ir::chip::Chip;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::stack::{AttentionLibrary, Stack};
use ir::units::Bytes;

use super::measured;
use super::setting::Setting;
use super::tuned;

/// The largest share of the peak that a published run of A100 reached, in model FLOPs (llm-foundry's table
/// of its benchmarks).
const MOST_OF_A100: f64 = 0.6423;
const UNFUSED: &str = "unfused-attention";

impl Setting {
    /// Bytes that lie on the devices under any plan: each weight once, and its optimizer states
    /// unless hosts may have them.
    pub fn least_resident(&self) -> Bytes {
        let format = tuned::format(self);
        if !self.model.tuning.is_whole() {
            return Bytes((n_parameters(&self.model) as f64 * tuned::least_bytes(self)) as u64);
        }
        let each = state_bytes(format, self.numbers.optimizer, ZeroStage::None, 1.0);
        let states = each.master_weights + each.optimizer_states;
        let each = each.parameters + if self.request.no_offload { states } else { 0.0 };
        Bytes((n_parameters(&self.model) as f64 * each) as u64)
    }

    /// Memory of all devices together; `None` where one has no limit.
    pub fn room_of_all(&self) -> Option<Bytes> {
        let limits = self.cluster.devices.iter().map(ir::cluster::Device::memory_limit);
        let add = |sum: u64, limit: Option<Bytes>| Some(sum.saturating_add(self.room(limit?).0));
        limits.into_iter().try_fold(0, add).map(Bytes)
    }

    /// The stack as devices of a chip run it, where the others run it otherwise.
    pub(crate) fn stack_on(&self, chip: Chip) -> Option<Stack> {
        let (dtype, head_dim) = (self.numbers.dtype, self.head_dim());
        let (stack, lack) = on_chips(self.stack.clone(), [chip], dtype, head_dim);
        lack.map(|_| stack)
    }

    /// The same with software that is no preset's.
    ///
    /// # Errors
    /// Those of the profile's constants.
    pub(crate) fn with_stack(self, stack: Stack) -> Result<Self, Diagnostic> {
        let (constants, corrections) = measured::constants(&stack, &self.profile, &self.model)?;
        Ok(Self { stack, constants, corrections, ..self })
    }

    fn head_dim(&self) -> u64 {
        let heads = self.model.groups.iter().map(|group| group.card.head_dims());
        heads.map(|(key, value)| key.max(value)).max().unwrap_or(0)
    }

    /// Takes from the stack what its libraries have no kernels for on these devices.
    pub(crate) fn fit_stack(&mut self) {
        let launcher = self.request.executor.as_deref().and_then(|name| find(name).ok());
        // Parts of a graph are launched by PyTorch.
        let library = match self.model.is_of_parts() {
            true => AttentionLibrary::PyTorch,
            false => {
                let stated = launcher.and_then(|(row, _)| row.attention);
                stated.unwrap_or(self.stack.attention_library)
            }
        };
        let stack = Stack { attention_library: library, ..self.stack.clone() };
        let cluster = &self.cluster;
        let chips = cluster.device_ids().map(|device| cluster.kind_of(device).chip);
        let (stack, lack) = on_chips(stack, chips, self.numbers.dtype, self.head_dim());
        self.stack = stack;
        let is_new = self.warnings.iter().all(|warning| warning.code != UNFUSED);
        if let Some(lack) = lack.filter(|_| is_new) {
            self.warnings.push(unfused(lack));
        }
    }

    /// A warning of a share of the peak, in model FLOPs, that no published run of an A100 in 16 bits reached.
    #[must_use]
    pub fn above_published(&self, share: f64) -> Option<Diagnostic> {
        let is_judged = self.system.device.chip == Chip::A100 && self.numbers.dtype.bits() == 16;
        (is_judged && share > MOST_OF_A100).then(|| {
            let message = format!(
                "{:.1} % of peak in model FLOPs is above every published A100 run: at most {:.1} % \
                 (MPT-7B on 8, llm-foundry)",
                100.0 * share,
                100.0 * MOST_OF_A100
            );
            let hint = format!(
                "steps of your own correct it: `meshwright calibrate --steps FILE --stack {}`",
                self.stack.name
            );
            Diagnostic::warning("above-published", message).hint(hint)
        })
    }

    /// The stack as ranks of such degrees run it: tensor-parallel collectives are overlapped inside one
    /// scale-up domain only.
    #[must_use]
    pub fn stack_of(&self, degrees: &Parallelism) -> Stack {
        let mut stack = self.stack.clone();
        if !self.system.is_in_domain(degrees) {
            stack.overlap_tensor = 0.0;
        }
        stack
    }
}

fn unfused(lack: Missing) -> Diagnostic {
    let why = match lack {
        Missing::Chip(chip) => format!(
            "fused kernels need compute capability 8.0 (Ampere) or newer, {} is older",
            chip.architecture().name()
        ),
        Missing::Type(dtype) => format!("fused kernels compute in 16 bits, the run in {dtype}"),
        Missing::Head(n) => {
            format!("fused kernels take heads of at most {MOST_HEAD} elements, the model has {n}")
        }
    };
    Diagnostic::warning(UNFUSED, format!("attention is priced unfused: {why}"))
        .hint("`--for any --stack pytorch-eager` plans with PyTorch's memory-efficient attention")
}

/// Drops warnings about what only equal stages take no account of.
pub fn retain_warnings(warnings: &mut Vec<Diagnostic>) {
    warnings.retain(|warning| !["unlike-ways", "unlike-memory"].contains(&warning.code));
}

/// The same where no stack can be named, as for inference.
pub fn retain_of_inference(warnings: &mut Vec<Diagnostic>) {
    retain_warnings(warnings);
    let unfused = warnings.iter_mut().filter(|warning| warning.code == UNFUSED);
    unfused.for_each(|warning| warning.hints.clear());
}
