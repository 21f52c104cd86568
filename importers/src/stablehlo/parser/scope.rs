//! Names of values, as far as they can be seen.

use std::collections::HashMap;

use crate::stablehlo::lexer::Token;
use crate::stablehlo::syntax::ValueId;

/// A name in sight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) first: ValueId,
    pub(super) count: u32,
}

/// All names in sight of a function.
#[derive(Debug, Default)]
pub(super) struct Scope<'t> {
    seen: HashMap<&'t [u8], Named>,
    order: Vec<&'t [u8]>,
}

impl<'t> Scope<'t> {
    /// Gives values a name.
    ///
    /// # Errors
    /// The name, where it stands for something already.
    pub(super) fn define(
        &mut self,
        label: Token<'t>,
        first: ValueId,
        count: u32,
    ) -> Result<(), &'t [u8]> {
        if self.seen.insert(label.text, Named { first, count }).is_some() {
            return Err(label.text);
        }
        self.order.push(label.text);
        Ok(())
    }

    /// What a use such as `%3#1` stands for.
    pub(super) fn find(&self, used: &[u8]) -> Option<ValueId> {
        let mut parts = used.splitn(2, |byte| *byte == b'#');
        let named = self.seen.get(parts.next()?)?;
        let Some(number) = parts.next() else { return Some(named.first) };
        let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
        (number < named.count).then(|| named.first + number)
    }

    /// How much is in sight.
    pub(super) fn mark(&self) -> usize {
        self.order.len()
    }

    /// Forgets what came into sight since.
    pub(super) fn close(&mut self, mark: usize) {
        for label in self.order.drain(mark..) {
            self.seen.remove(label);
        }
    }
}
