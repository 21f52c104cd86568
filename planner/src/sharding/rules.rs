//! Strategies of ops on one axis of a mesh, by what ops do with their dimensions.
//!
//! Dimensions of an op have letters, and each of its operands a word of them: `bsh`, `hnd` and `bsnd` for the
//! projection of queries. All ops may run on whole tensors, which divides no work.

use ir::op::Splits;

use super::mesh::Part::{self, Partial, Replicated, Split};

/// A strategy on one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Of each input, then of each output.
    pub parts: Vec<Part>,
    /// Whether the work is divided.
    pub is_divided: bool,
    /// Statistics that are reduced in the op.
    pub statistics: Option<Statistics>,
}

/// All-reduces of statistics over a split dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Number of the operand, of inputs, then outputs.
    pub operand: usize,
    /// Its dimension that the statistics are of.
    pub dim: u8,
    /// Bytes of an element.
    pub element_bytes: f64,
    /// All-reduces.
    pub n_all_reduces: u32,
}

impl Rule {
    /// The rule of an op of one input, of which each device has a summand.
    #[must_use]
    pub fn of_sum(mut self) -> Self {
        self.parts.iter_mut().take(1).for_each(|part| *part = Partial);
        self
    }

    fn of(parts: Vec<Part>, is_divided: bool) -> Self {
        Self { parts, is_divided, statistics: None }
    }
}

/// What an operand's part is where a letter is split.
fn part(operand: &str, letter: char) -> Part {
    operand.find(letter).map_or(Replicated, |at| Split(at as u8))
}

/// Letters of operands, each once.
fn letters(operands: &[&str]) -> Vec<char> {
    let mut all: Vec<char> = Vec::new();
    for letter in operands.iter().flat_map(|operand| operand.chars()) {
        if !all.contains(&letter) {
            all.push(letter);
        }
    }
    all
}

fn whole(n: usize) -> Rule {
    Rule::of(vec![Replicated; n], false)
}

/// A split of a letter in all operands.
fn along(operands: &[&str], letter: char) -> Rule {
    Rule::of(operands.iter().map(|operand| part(operand, letter)).collect(), true)
}

/// An op by the letters of its operands, [`Splits::WHOLE`] for dimensions that are never split: a rule for each
/// letter, of which outputs without it are partial sums, and for each set of inputs that may be partial sums together.
#[must_use]
pub fn lettered(reads: &[&str], writes: &[&str], partial: &[Vec<usize>]) -> Vec<Rule> {
    let n = reads.len() + writes.len();
    let mut rules = vec![whole(n)];
    for letter in letters(&[reads, writes].concat()) {
        let is_read = reads.iter().any(|word| word.contains(letter));
        let is_written = writes.iter().all(|word| word.contains(letter));
        if letter == Splits::WHOLE || !(is_read || is_written) {
            continue;
        }
        let inputs = reads.iter().map(|word| part(word, letter));
        let outputs = writes.iter().map(|word| match word.contains(letter) {
            true => part(word, letter),
            false => Partial,
        });
        rules.push(Rule::of(inputs.chain(outputs).collect(), true));
    }
    for set in partial {
        let inputs =
            (0..reads.len()).map(|at| if set.contains(&at) { Partial } else { Replicated });
        let outputs = writes.iter().map(|_| Partial);
        rules.push(Rule::of(inputs.chain(outputs).collect(), false));
    }
    rules
}

/// A tensor at rest or an input: whole, or split along one of its letters.
#[must_use]
pub fn source(operand: &str) -> Vec<Rule> {
    let split = |letter| along(&[operand], letter);
    std::iter::once(whole(1)).chain(operand.chars().map(split)).collect()
}

/// A product of two operands, summed over the letters that the output has none of. Linear in each operand.
#[must_use]
pub fn einsum(inputs: [&str; 2], output: &str) -> Vec<Rule> {
    let of = |letter| {
        let parts = inputs.iter().map(|operand| part(operand, letter));
        let sum = if output.contains(letter) { part(output, letter) } else { Partial };
        Rule::of(parts.chain([sum]).collect(), true)
    };
    let linear = [[Partial, Replicated], [Replicated, Partial]]
        .map(|[one, other]| Rule::of(vec![one, other, Partial], false));
    let all = letters(&inputs).into_iter().map(of).chain(linear);
    std::iter::once(whole(3)).chain(all).collect()
}

/// The same split of all operands along one of some letters.
#[must_use]
pub fn elementwise(operands: &[&str], letters: &str) -> Vec<Rule> {
    let split = letters.chars().map(|letter| along(operands, letter));
    std::iter::once(whole(operands.len())).chain(split).collect()
}

/// A sum of operands: as [`elementwise`], and of summands.
#[must_use]
pub fn sum(operands: &[&str], letters: &str) -> Vec<Rule> {
    let mut rules = elementwise(operands, letters);
    rules.push(Rule::of(vec![Partial; operands.len()], true));
    rules
}

/// Attention of `q`, `k`, `v`, each batch x tokens x heads x head: split by sequences, by heads, or by the tokens of
/// queries, for which all keys and values are there; with fewer heads of keys than of queries by the latter alone.
#[must_use]
pub fn attention(is_grouped: bool) -> Vec<Rule> {
    let mut rules = elementwise(&["bsnd"; 4], "bn");
    let alone = |dim| Rule::of(vec![Split(dim), Replicated, Replicated, Split(dim)], true);
    rules.extend([1, 2].into_iter().filter(|dim| *dim == 1 || is_grouped).map(alone));
    rules
}

/// Its backward pass, of `q`, `k`, `v` and the gradient of the output to those of `q`, `k`, `v`. Gradients of keys and
/// values are summed where queries alone are split.
#[must_use]
pub fn attention_backward(is_grouped: bool) -> Vec<Rule> {
    let mut rules = elementwise(&["bsnd"; 7], "bn");
    let alone = |dim| {
        let (query, all) = (Split(dim), Replicated);
        Rule::of(vec![query, all, all, query, query, Partial, Partial], true)
    };
    rules.extend([1, 2].into_iter().filter(|dim| *dim == 1 || is_grouped).map(alone));
    rules
}

/// Attention of `bsnd` on latent keys, `bsnp` without position and `bso` with it for all heads, and values `bsna`.
#[must_use]
pub fn latent_attention() -> Vec<Rule> {
    let mut rules = elementwise(&["bsnd", "bsnp", "bso", "bsna", "bsna"], "bn");
    let query = [Split(1), Replicated, Replicated, Replicated, Split(1)];
    rules.push(Rule::of(query.to_vec(), true));
    rules
}

/// Its backward pass, of these and the gradient of the output to those of queries, keys and values.
#[must_use]
pub fn latent_attention_backward() -> Vec<Rule> {
    let read = ["bsnd", "bsnp", "bso", "bsna", "bsna"];
    let mut rules = elementwise(&[&read[..], &read[..4]].concat(), "bn");
    for rule in &mut rules {
        if rule.parts[0] == Split(2) {
            rule.parts[7] = Partial;
        }
    }
    let all = Replicated;
    let parts = [Split(1), all, all, all, Split(1), Split(1), Partial, Partial, Partial];
    rules.push(Rule::of(parts.to_vec(), true));
    rules
}

/// Hands tokens `bsh` to the slots of experts `ebth` by their routing `bse`: a device has the slots of its own tokens,
/// or of all tokens those of its experts.
#[must_use]
pub fn dispatch() -> Vec<Rule> {
    let rule = |parts: [Part; 3], is_divided| Rule::of(parts.to_vec(), is_divided);
    vec![
        whole(3),
        rule([Split(0), Split(0), Split(1)], true),
        rule([Split(1), Split(1), Split(2)], true),
        rule([Split(2), Replicated, Split(3)], true),
        rule([Replicated, Split(2), Split(0)], true),
        rule([Partial, Replicated, Partial], false),
    ]
}

/// Sums up for tokens what experts left in slots, weighted by their routing: of `ebth` and `bse` to `bsh`. A device with
/// some of the experts has a summand.
#[must_use]
pub fn combine() -> Vec<Rule> {
    let rule = |parts: [Part; 3], is_divided| Rule::of(parts.to_vec(), is_divided);
    vec![
        whole(3),
        rule([Split(1), Split(0), Split(0)], true),
        rule([Split(2), Split(1), Split(1)], true),
        rule([Split(3), Replicated, Split(2)], true),
        rule([Split(0), Split(2), Partial], true),
        rule([Partial, Replicated, Partial], false),
    ]
}

/// Its backward pass, of these and the gradient of the output to those of the slots and of the routing.
#[must_use]
pub fn combine_backward() -> Vec<Rule> {
    let rule = |parts: [Part; 5], is_divided| Rule::of(parts.to_vec(), is_divided);
    vec![
        whole(5),
        rule([Split(1), Split(0), Split(0), Split(1), Split(0)], true),
        rule([Split(2), Split(1), Split(1), Split(2), Split(1)], true),
        rule([Split(3), Replicated, Split(2), Split(3), Partial], true),
        rule([Split(0), Split(2), Replicated, Split(0), Split(2)], true),
    ]
}

/// Rows of a table (`vh`) by numbers (`bs`) to `bsh`.
#[must_use]
pub fn embedding() -> Vec<Rule> {
    let operands = ["bs", "vh", "bsh"];
    let mut rules = elementwise(&operands, "bsh");
    // Rows that a device has not are zero.
    rules.push(Rule::of(vec![Replicated, Split(0), Partial], true));
    rules
}

/// Its backward pass: of `bs` and `bsh` to `vh`.
#[must_use]
pub fn embedding_backward() -> Vec<Rule> {
    vec![
        whole(3),
        Rule::of(vec![Split(0), Split(0), Partial], true),
        Rule::of(vec![Split(1), Split(1), Partial], true),
        Rule::of(vec![Replicated, Split(2), Split(1)], true),
        // Each device takes its rows out of all gradients.
        Rule::of(vec![Replicated, Replicated, Split(0)], false),
    ]
}

/// Cross-entropy of `bsv` to its gradient. A split vocabulary has maxima and sums of 4 bytes per token reduced.
#[must_use]
pub fn cross_entropy() -> Vec<Rule> {
    let mut rules = elementwise(&["bsv"; 2], "bsv");
    let statistics = Statistics { operand: 0, dim: 2, element_bytes: 4.0, n_all_reduces: 2 };
    for rule in &mut rules {
        if rule.parts[0] == Split(2) {
            rule.statistics = Some(statistics);
        }
    }
    rules
}
