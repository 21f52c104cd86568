//! Arguments of the program: which of them are parameters, and what they are called.

use ir::diagnostic::Diagnostic;
use ir::tensor::{Role, Tensor};

use super::Builder;
use super::bound::{Bound, Scalar, What};
use crate::import::ImportOptions;
use crate::onnx::rules::rule::is_float;
use crate::stablehlo::fault::shown;
use crate::stablehlo::sharding::Stated;
use crate::stablehlo::syntax::{Function, Operation, Port, clause, unquoted};

/// What programs call the tree of their weights.
const TREES: [&str; 14] = [
    "params",
    "param",
    "parameters",
    "variables",
    "weights",
    "model",
    "module",
    "net",
    "theta",
    "state",
    "train_state",
    "model_state",
    "batch_stats",
    "opt_state",
];

/// Where the roles of arguments come from.
enum Told {
    /// Names and donations.
    Stated(Vec<bool>),
    /// The batch, by the results' first axes.
    Guessed(Vec<bool>),
    /// Nothing tells: all are fed.
    Nothing,
}

/// Whether training may update a tensor.
pub(super) fn is_weight(tensor: &Tensor) -> bool {
    let elements = tensor.shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
    is_float(tensor.dtype) && !tensor.shape.is_empty() && elements > 1
}

impl<'p, 't> Builder<'p, 't> {
    /// Makes tensors of the arguments.
    ///
    /// # Errors
    /// `unknown-input` for a batch axis of none of them.
    pub(super) fn enter(
        &mut self,
        main: &'p Function<'t>,
        options: &ImportOptions,
    ) -> Result<(), Diagnostic> {
        let names: Vec<String> =
            main.arguments.iter().enumerate().map(|port| self.called(port)).collect();
        let roles = self.roles(main, &names);
        let (are, is_guess) = match roles {
            Told::Stated(are) => (are, false),
            Told::Guessed(are) => (are, true),
            Told::Nothing => (vec![false; names.len()], false),
        };
        let none = !are.contains(&true);
        for (place, (value, name)) in main.body.arguments.iter().zip(names).enumerate() {
            let of = self.program.types_of[*value as usize];
            if self.program.types.tensor(of).is_none() {
                continue;
            }
            let is_parameter = are[place];
            let role = if is_parameter { Role::Parameter } else { Role::Input };
            let tensor = self.add_tensor(name.clone(), of, role);
            let entry = &mut self.graph.tensors[tensor.index()];
            let own_name = entry.name.clone();
            if is_parameter {
                entry.trainable = is_weight(entry) && !name.contains("opt_state");
                if is_guess {
                    self.note("guessed-parameters", own_name.clone());
                }
            } else {
                self.graph.inputs.push(tensor);
                if none {
                    self.note("no-parameters", own_name.clone());
                }
            }
            let port = &main.arguments[place];
            if let Some(text) = sharding(&port.attributes) {
                self.shardings.insert(own_name, Stated { text, role });
            }
            self.bind(*value, What::Tensor(tensor), Scalar::Unknown);
        }
        self.check_axes(options)
    }

    fn check_axes(&self, options: &ImportOptions) -> Result<(), Diagnostic> {
        let names: Vec<&str> =
            self.graph.inputs.iter().map(|id| self.graph.tensor(*id).name.as_str()).collect();
        let Some(name) = options.batch_axis.keys().find(|name| !names.contains(&name.as_str()))
        else {
            return Ok(());
        };
        let listed: Vec<String> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
        Err(Diagnostic::usage("unknown-input", format!("no input is named `{name}`"))
            .hint(format!("name one of {}", listed.join(", "))))
    }

    /// The name of an argument: what the caller calls it where the text says so.
    fn called(&self, (place, port): (usize, &Port<'t>)) -> String {
        let named = self.program.name_of(port.location).map(str::to_owned);
        let label = shown(port.label.strip_prefix(b"%").unwrap_or_default());
        let fallback = if label.is_empty() { format!("arg{place}") } else { label };
        named.filter(|name| !name.is_empty() && name.len() < 200).unwrap_or(fallback)
    }

    fn roles(&self, main: &Function<'t>, names: &[String]) -> Told {
        let donated = main.arguments.iter().map(|port| {
            let is = |name| clause(&port.attributes, name).is_some();
            is("tf.aliasing_output") || is("jax.buffer_donor")
        });
        let root = |name: &String| name.split(['[', '.']).next().unwrap_or_default().to_lowercase();
        let stated: Vec<bool> = donated
            .zip(names)
            .map(|(donated, name)| donated || TREES.contains(&root(name).as_str()))
            .collect();
        if stated.contains(&true) {
            return Told::Stated(stated);
        }
        let guessed = self.by_batch(main);
        if guessed.contains(&true) && guessed.contains(&false) {
            return Told::Guessed(guessed);
        }
        Told::Nothing
    }

    /// Floats whose first extent is that of no result: what is fed shares the batch with a result.
    fn by_batch(&self, main: &Function<'t>) -> Vec<bool> {
        let first = |value: &u32| self.shape(*value).and_then(|shape| shape.first().copied());
        let batches: Vec<u64> = main.body.returned().iter().filter_map(first).collect();
        let is_parameter = |value: &u32| {
            let tensor_type = self.tensor_type(*value);
            let is_wide = tensor_type.is_some_and(|t| is_float(t.dtype) && t.elements() > Some(1));
            is_wide && first(value).is_some_and(|extent| !batches.contains(&extent))
        };
        main.body.arguments.iter().map(is_parameter).collect()
    }

    /// Notes the outputs.
    pub(super) fn leave(&mut self, main: &Function<'t>, results: &[Bound]) {
        for (place, bound) in results.iter().enumerate() {
            let Some(tensor) = self.place(bound.what) else { continue };
            self.graph.outputs.push(tensor);
            let port = main.results.get(place);
            if let Some(text) = port.and_then(|port| sharding(&port.attributes)) {
                self.keep(tensor, text);
            }
        }
    }

    /// Notes what an operation such as `@Sharding` says of its operand.
    pub(super) fn keep_sharding(&mut self, op: &Operation<'t>) {
        // `sdy.sharding_constraint %0 <@mesh, [...]>`
        let bare =
            op.clauses.iter().find(|(name, value)| name.is_empty() && value.first() == Some(&b'<'));
        let bare = bare.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let operand = op.operands.first().map(|value| self.what(*value).what);
        if let (Some(text), Some(What::Tensor(tensor))) = (sharding(&op.clauses).or(bare), operand)
        {
            self.keep(tensor, text);
        }
    }

    fn keep(&mut self, tensor: ir::id::TensorId, text: String) {
        let entry = self.graph.tensor(tensor);
        let (name, role) = (entry.name.clone(), entry.role);
        self.shardings.entry(name).or_insert(Stated { text, role });
    }
}

fn sharding(attributes: &[(&[u8], &[u8])]) -> Option<String> {
    let find = |name: &str| {
        attributes.iter().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| *value)
    };
    let value =
        find("sdy.sharding").or_else(|| find("sharding")).or_else(|| find("mhlo.sharding"))?;
    Some(String::from_utf8_lossy(unquoted(value)).into_owned())
}
