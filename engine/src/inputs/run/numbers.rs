//! The element type and the optimizer of a training run: what was asked for, and what a device can do.

use cost_model::runs::forms::precision::TYPES;
use cost_model::runs::forms::run::Gradients;
use ir::card::StateFormat;
use ir::cluster::DeviceKind;
use ir::diagnostic::Diagnostic;
use ir::stack::Stack;
use ir::tensor::DType;
use ir::workload::Optimizer;

use crate::request::ProblemRequest;
use crate::request::element_type::{self, INSTEAD, USUAL, replaced};

/// What a training run computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Type that products are computed in.
    pub dtype: DType,
    /// Who named the type.
    pub named_by: &'static str,
    /// The optimizer.
    pub optimizer: Optimizer,
}

impl Numbers {
    /// The type of the flags, else that of the model, else [`USUAL`], if the device computes in it.
    /// One that the flags don't name is replaced by the widest 16-bit one that it does compute in,
    /// or by fp32, with a warning; so is one taken from the config that few runs are trained in.
    ///
    /// # Errors
    /// `dtype` for a type that training runs or the device don't compute in.
    pub fn of(
        flags: &ProblemRequest,
        model: Option<DType>,
        kinds: &[&DeviceKind],
    ) -> Result<(Self, Option<Diagnostic>), Diagnostic> {
        let optimizer = flags.optimizer.unwrap_or_default();
        let without = |dtype: DType| kinds.iter().find(|kind| !element_type::has(kind, dtype));
        let has = |dtype: DType| without(dtype).is_none();
        let device_of = |dtype: DType| without(dtype).or(kinds.first()).copied();
        if let Some(dtype) = flags.model.dtype {
            let device = device_of(dtype).ok_or_else(no_kind)?;
            let refused = |message| element_type::refused(message, device, &TYPES);
            if !TYPES.contains(&dtype) {
                return Err(refused(format!("training runs are not planned in {dtype}")));
            }
            if !has(dtype) {
                return Err(refused(element_type::lacks(&device.name, dtype)));
            }
            return Ok((Self { dtype, named_by: "--dtype", optimizer }, None));
        }
        let (wanted, named_by) = match model.filter(|dtype| TYPES.contains(dtype)) {
            Some(dtype) => (dtype, "the config"),
            None => (USUAL, "default"),
        };
        let device = device_of(wanted).ok_or_else(no_kind)?;
        let instead = [wanted].into_iter().chain(INSTEAD).find(|dtype| has(*dtype));
        let Some(dtype) = instead else {
            let message = format!("`{}` states no rate of {wanted} products", device.name);
            return Err(Diagnostic::input("dtype", message)
                .fact("device", device.name.clone())
                .hint("state peak_bf16_flops, peak_fp16_flops or peak_fp32_flops of the device"));
        };
        let other = model.filter(|dtype| !TYPES.contains(dtype));
        let warning = match (dtype == wanted, other) {
            (false, _) => Some(replaced(&device.name, wanted, dtype)),
            (true, Some(other)) => Some(not_planned(other, dtype)),
            (true, None) => (wanted != USUAL).then(|| stated(wanted)),
        };
        Ok((Self { dtype, named_by, optimizer }, warning))
    }

    /// Those of measured layers, whose name may say what they computed in.
    pub fn of_layers(self, name: &str) -> Self {
        let said = |dtype: &DType| name.split('_').any(|word| word == dtype.name());
        let optimizer = Optimizer::default();
        match TYPES.into_iter().find(said) {
            Some(dtype) => Self { dtype, named_by: "the measured layers", optimizer },
            None => Self { optimizer, ..self },
        }
    }

    /// What replicas exchange under a stack.
    pub fn gradients(&self, stack: &Stack) -> Gradients {
        Gradients::of(self.dtype, stack)
    }

    /// Formats of parameters, gradients and master weights under a stack. Gradients are summed in the
    /// buffer that is exchanged; what the optimizer casts to single precision of them is its share
    /// alone, when activations are gone (Megatron-LM's distributed optimizer).
    pub fn format(&self, stack: &Stack) -> StateFormat {
        match (self.dtype, self.gradients(stack)) {
            (DType::F32, _) => StateFormat::Single,
            _ if stack.keeps.is_half || self.optimizer.is_in_place() => StateFormat::Half,
            (_, Gradients::Full) => StateFormat::Megatron,
            (_, Gradients::Half) => StateFormat::HalfGradients,
        }
    }

    /// `bf16 (default), adamw`.
    pub fn words(&self) -> String {
        format!("{} ({}), {}", self.dtype, self.named_by, self.optimizer.name())
    }
}

fn no_kind() -> Diagnostic {
    Diagnostic::input("no-system", "the cluster has no device")
}

/// That no run is planned in the type of saved weights.
fn not_planned(stated: DType, dtype: DType) -> Diagnostic {
    let message =
        format!("the config states {stated}, in which no run is planned: {dtype} is planned");
    Diagnostic::warning("dtype-replaced", message).hint("name a type with --dtype")
}

/// That the type of saved weights was taken for that of the run.
fn stated(dtype: DType) -> Diagnostic {
    let message = format!("planned in {dtype}, the type of the weights that the config states");
    Diagnostic::warning("stated-dtype", message).hint(format!(
        "runs are mostly trained in {USUAL}: --dtype {USUAL}; --dtype {dtype} says that it is meant"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(
        device: &str,
        flag: Option<DType>,
        model: Option<DType>,
    ) -> Result<(DType, bool), String> {
        let kind = importers::cluster::catalogue().unwrap().device(device).unwrap().kind.clone();
        let mut flags = ProblemRequest::default();
        flags.model.dtype = flag;
        let found = Numbers::of(&flags, model, &[&kind]).map_err(|error| error.code.to_owned());
        found.map(|(numbers, warning)| (numbers.dtype, warning.is_some()))
    }

    #[test]
    fn what_a_device_does_not_compute_in_is_refused_or_replaced() {
        use DType::{Bf16, F8, F16, F32, F64};
        assert_eq!(numbers("a100_sxm4_80gb", None, None), Ok((Bf16, false)));
        assert_eq!(numbers("a100_sxm4_80gb", Some(F32), Some(F16)), Ok((F32, false)));
        assert_eq!(numbers("a100_sxm4_80gb", None, Some(F16)), Ok((F16, true)));
        assert_eq!(numbers("a100_sxm4_80gb", Some(F16), Some(F16)), Ok((F16, false)));
        assert_eq!(numbers("a100_sxm4_80gb", None, Some(Bf16)), Ok((Bf16, false)));
        // Volta and Turing have no bf16 (NVIDIA V100 and T4 data sheets), Ampere has no fp8.
        assert_eq!(numbers("v100_sxm2_32gb", None, None), Ok((F16, true)));
        assert_eq!(numbers("t4", None, Some(Bf16)), Ok((F16, true)));
        assert_eq!(numbers("v100_sxm2_32gb", Some(Bf16), None), Err("dtype".to_owned()));
        assert_eq!(numbers("a100_sxm4_80gb", Some(F8), None), Err("dtype".to_owned()));
        assert_eq!(numbers("h100_sxm5_80gb", Some(F8), None), Ok((F8, false)));
        assert_eq!(numbers("h100_sxm5_80gb", Some(F64), None), Err("dtype".to_owned()));
    }
}
