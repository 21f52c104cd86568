//! How much memory a file may ask for once its weights are left out.

use ir::diagnostic::Diagnostic;

use crate::onnx::schema::Message;

/// Bytes that the decoded model may take, by the estimates below. Models of 75,000 nodes with three
/// attributes each stay under it; a file made of millions of empty messages does not.
const MAX_BYTES: u64 = 448 << 20;

/// Unpacked numbers that are counted one by one; packed ones are passed over at once.
const MAX_UNPACKED: u64 = 32_000_000;

/// Bytes per element of a repeated number, vectors growing by doubling.
const NUMBER: u64 = 16;

/// What is left to spend.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: u64,
    unpacked: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: MAX_BYTES, unpacked: MAX_UNPACKED }
    }
}

impl Budget {
    /// Takes `bytes`.
    ///
    /// # Errors
    /// `size-budget`.
    pub(crate) fn spend(&mut self, bytes: u64) -> Result<(), Diagnostic> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(exceeded)?;
        Ok(())
    }

    /// Takes what a message costs beside its fields.
    ///
    /// # Errors
    /// `size-budget`.
    pub(crate) fn message(&mut self, message: Message) -> Result<(), Diagnostic> {
        self.spend(cost(message))
    }

    /// Takes what a text or blob of this length costs.
    ///
    /// # Errors
    /// `size-budget`.
    pub(crate) fn text(&mut self, length: u64) -> Result<(), Diagnostic> {
        self.spend(length.saturating_mul(3).saturating_add(96))
    }

    /// Takes what `count` numbers of a repeated field cost.
    ///
    /// # Errors
    /// `size-budget`.
    pub(crate) fn numbers(&mut self, count: u64) -> Result<(), Diagnostic> {
        self.spend(count.saturating_mul(NUMBER))
    }

    /// Takes one number that is counted and dropped.
    ///
    /// # Errors
    /// `size-budget`.
    pub(crate) fn unpacked(&mut self) -> Result<(), Diagnostic> {
        self.unpacked = self.unpacked.checked_sub(1).ok_or_else(exceeded)?;
        Ok(())
    }
}

/// Decoded and converted bytes of a message, vectors growing by doubling.
pub(crate) const fn cost(message: Message) -> u64 {
    match message {
        Message::Model => 0,
        Message::Graph | Message::Function => 1_200,
        Message::Node => 2_000,
        Message::Attribute => 1_000,
        Message::Tensor => 900,
        Message::SparseTensor => 1_800,
        Message::ValueInfo => 400,
        Message::Type | Message::Entry => 200,
        Message::TensorType | Message::Shape | Message::Dimension => 150,
        Message::OperatorSet | Message::DeviceConfiguration => 300,
        Message::NodeDeviceConfiguration => 400,
    }
}

fn exceeded() -> Diagnostic {
    Diagnostic::input(
        "size-budget",
        "the model holds more nodes, initializers or attributes than the budget admits",
    )
    .fact("budget_bytes", MAX_BYTES)
    .hint("plan a part of the model, or one of its repeated blocks")
}
