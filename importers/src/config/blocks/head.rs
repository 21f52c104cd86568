//! What is behind the last layer.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::Writer;
use crate::config::architecture::{Bias, Family, Head};
use crate::config::task::End;

impl Writer<'_> {
    /// Norm and head; what comes out of the model.
    pub(super) fn head(&mut self, state: TensorId) -> Result<Vec<TensorId>, Diagnostic> {
        let (h, names, task) = (self.a.hidden, self.names, self.a.task);
        let mut state = state;
        if self.a.family != Family::Bert {
            state = self.norm(names.last_norm, state, h, h)?;
        }
        let pooled = task.is_pooled.then(|| self.pooled(state)).transpose()?;
        match task.end {
            End::Words => Ok(vec![self.words(state)?]),
            End::States => Ok(std::iter::once(state).chain(pooled).collect()),
            End::Labels { module, n, bias } => {
                let rows = if pooled.is_some() { 1 } else { self.builder.sequence };
                let read = pooled.unwrap_or(state);
                Ok(vec![self.rows(module, read, (rows, n), bias)?])
            }
        }
    }

    /// A product over so many tokens of each sample, in the type of the model.
    fn rows(
        &mut self,
        module: &str,
        input: TensorId,
        (rows, n): (u64, u64),
        bias: Bias,
    ) -> Result<TensorId, Diagnostic> {
        let h = self.a.hidden;
        let mut parameters = vec![self.builder.parameter(&format!("{module}.weight"), &[n, h])?];
        if bias == Bias::Added {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[n])?);
        }
        self.builder.linear((module, input), &parameters, (rows, h, n))
    }

    /// The first token of each sample through a dense layer and a pointwise function.
    fn pooled(&mut self, state: TensorId) -> Result<TensorId, Diagnostic> {
        let h = self.a.hidden;
        let module = format!("{}pooler", self.names.prefix);
        let dense = self.rows(&format!("{module}.dense"), state, (1, h), Bias::Added)?;
        let shape = [self.builder.batch, 1, h];
        self.builder.plain((&module, "activation"), "Activation", &[dense], &shape)
    }

    /// A product with the vocabulary; of BERT behind a dense layer and a norm.
    fn words(&mut self, state: TensorId) -> Result<TensorId, Diagnostic> {
        let (h, names) = (self.a.hidden, self.names);
        let mut state = state;
        let mut biases = Vec::new();
        if self.a.family == Family::Bert {
            let module = "cls.predictions.transform";
            state = self.linear(&format!("{module}.dense"), state, (h, h), Bias::Added)?;
            state = self.plain(module, "activation", "Activation", &[state], h)?;
            state = self.norm(&format!("{module}.LayerNorm"), state, h, h)?;
            // A decoder of its own has a bias of its own; a tied one shares it.
            let own = (self.a.head == Head::Separate).then_some("cls.predictions.decoder.bias");
            for name in std::iter::once("cls.predictions.bias").chain(own) {
                biases.push(self.builder.parameter(name, &[self.a.vocabulary])?);
            }
        }
        let weight = match self.a.head {
            Head::Tied => names.tokens,
            Head::Separate => names.head,
        };
        let shape = [self.a.vocabulary, h];
        let mut parameters = vec![self.builder.parameter(&format!("{weight}.weight"), &shape)?];
        parameters.extend(biases);
        let size = (self.builder.sequence, h, self.a.vocabulary);
        self.builder.linear((names.head, state), &parameters, size)
    }
}
