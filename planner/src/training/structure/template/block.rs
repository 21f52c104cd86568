//! One block: attention, feed-forward part, experts.

use std::collections::{HashMap, HashSet, VecDeque};

use ir::card::{Attention, ExpertCard, FeedForward};
use ir::id::{OpId, TensorId};
use ir::op::Product;

use super::super::line::Line;
use super::super::products::{Factors, is_float};
use super::Mismatch;

/// What a block says of its card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockFigures {
    pub(super) hidden: u64,
    pub(super) n_heads: u64,
    pub(super) n_kv_heads: u64,
    pub(super) feed_forward: u64,
    pub(super) form: FeedForward,
    pub(super) sequence: u64,
    pub(super) experts: Option<ExpertCard>,
    pub(super) attention: Attention,
}

/// An op with one product of activations by a weight.
#[derive(Clone, Copy, Debug)]
struct ByWeight {
    op: OpId,
    /// All rows, over all products of the op.
    rows: u64,
    k: u64,
    n: u64,
}

/// The ops of a block that multiply matrices.
struct Block<'l, 'g> {
    line: &'l Line<'g>,
    ops: HashSet<OpId>,
    by_weight: Vec<ByWeight>,
    /// By picked weights: those of experts; with the parameter that they were picked from.
    by_expert: Vec<(ByWeight, TensorId)>,
    /// By another activation, in the order of the line.
    among: Vec<(OpId, Product)>,
}

/// The attention part of a block.
struct Attending {
    hidden: u64,
    n_heads: u64,
    n_kv_heads: u64,
    dim: u64,
    sequence: u64,
    /// Tokens of all samples.
    tokens: u64,
    /// Its products by weights.
    ops: Vec<OpId>,
}

/// Reads a block.
pub(super) fn read(
    line: &Line<'_>,
    factors: &Factors<'_>,
    ops: &[OpId],
) -> Result<BlockFigures, Mismatch> {
    let block = Block::of(line, factors, ops);
    let attending = block.attending()?;
    let is_other = |product: &&ByWeight| !attending.ops.contains(&product.op);
    let rest: Vec<ByWeight> = block.by_weight.iter().filter(is_other).copied().collect();
    let (feed_forward, form, experts) = match block.by_expert.is_empty() {
        true => match apart(&rest, attending.hidden, attending.tokens) {
            Some(experts) => experts,
            None => {
                let (width, form) = feed_forward(&rest, attending.hidden)?;
                (width, form, None)
            }
        },
        false => mixture(&block, line, &rest, attending.hidden, attending.tokens)?,
    };
    let attention = match attending.n_heads.checked_mul(attending.dim) {
        Some(all) if all == attending.hidden => Attention::Even,
        _ => Attention::Heads { dim: attending.dim },
    };
    Ok(BlockFigures {
        hidden: attending.hidden,
        n_heads: attending.n_heads,
        n_kv_heads: attending.n_kv_heads,
        feed_forward,
        form,
        sequence: attending.sequence,
        experts,
        attention,
    })
}

/// Inner width and form of a dense feed-forward part: the last product leads back to the hidden
/// state, the ones before it make one or two times its width.
fn feed_forward(products: &[ByWeight], hidden: u64) -> Result<(u64, FeedForward), Mismatch> {
    let Some((down, up)) = products.split_last() else {
        return Err(Mismatch::new("a block has no feed-forward part"));
    };
    let made: u64 = up.iter().map(|product| product.n).fold(0, u64::saturating_add);
    if down.n != hidden || up.is_empty() || up.iter().any(|product| product.k != hidden) {
        return Err(Mismatch::new("the feed-forward part does not lead back to the hidden state"));
    }
    let width = down.k;
    if made == width {
        Ok((width, FeedForward::Plain))
    } else if made == width.saturating_mul(2) {
        Ok((width, FeedForward::Gated))
    } else {
        Err(Mismatch(format!("{made} columns lead to a feed-forward part of width {width}")))
    }
}

/// A router and experts with products of their own, as many as the router has columns.
fn apart(
    products: &[ByWeight],
    hidden: u64,
    tokens: u64,
) -> Option<(u64, FeedForward, Option<ExpertCard>)> {
    let width = products.last()?.k;
    let is_down = |product: &&ByWeight| product.n == hidden && product.k == width;
    let downs: Vec<&ByWeight> = products.iter().filter(is_down).collect();
    let n_experts = downs.len() as u64;
    let is_router = |product: &&ByWeight| product.k == hidden && product.n == n_experts;
    let router = products.iter().find(|product| is_router(product) && !is_down(product))?;
    let ups = products.iter().filter(|product| !is_down(product) && product.op != router.op);
    let made = ups.clone().map(|product| product.n).fold(0, u64::saturating_add);
    let all = width.saturating_mul(n_experts);
    let form = match made {
        made if made == all => FeedForward::Plain,
        made if made == all.saturating_mul(2) => FeedForward::Gated,
        _ => return None,
    };
    let pairs = downs.iter().map(|down| down.rows).fold(0, u64::saturating_add);
    // Shares of tokens may have been rounded.
    let per_token = pairs.saturating_add(tokens / 2) / tokens.max(1);
    let is_known = n_experts >= 2
        && (1..=n_experts).contains(&per_token)
        && ups.clone().all(|product| product.k == hidden);
    let card =
        ExpertCard { n_experts, per_token, feed_forward: width, n_shared: 0, ..Default::default() };
    is_known.then_some((width, form, Some(card)))
}

/// A router and products by picked weights.
fn mixture(
    block: &Block<'_, '_>,
    line: &Line<'_>,
    rest: &[ByWeight],
    hidden: u64,
    tokens: u64,
) -> Result<(u64, FeedForward, Option<ExpertCard>), Mismatch> {
    let products: Vec<ByWeight> = block.by_expert.iter().map(|(product, _)| *product).collect();
    let (width, form) = feed_forward(&products, hidden)?;
    let experts = block
        .by_expert
        .iter()
        .map(|(_, tensor)| line.graph.tensor(*tensor).shape.first().copied().unwrap_or(0));
    let experts: HashSet<u64> = experts.collect();
    let pairs = products.last().map_or(0, |down| down.rows);
    let per_token = pairs / tokens.max(1);
    let (Some(n_experts), 1) = (experts.iter().next().copied(), experts.len()) else {
        return Err(Mismatch::new("the parts of the experts are of different numbers"));
    };
    let routes = matches!(rest, [router] if router.k == hidden && router.n == n_experts);
    if !routes || per_token == 0 || per_token > n_experts {
        return Err(Mismatch(format!("no router to {n_experts} experts beside the attention")));
    }
    let card =
        ExpertCard { n_experts, per_token, feed_forward: width, n_shared: 0, ..Default::default() };
    Ok((width, form, Some(card)))
}

impl<'l, 'g> Block<'l, 'g> {
    fn of(line: &'l Line<'g>, factors: &Factors<'_>, ops: &[OpId]) -> Self {
        let picked = picked(line, factors, ops);
        let mut block = Self {
            line,
            ops: ops.iter().copied().collect(),
            by_weight: Vec::new(),
            by_expert: Vec::new(),
            among: Vec::new(),
        };
        for op in ops {
            for product in factors.products(*op) {
                let expert = line.graph.op(*op).inputs.iter().find_map(|read| picked.get(read));
                // A product by a column is one by a row.
                let is_turned = expert.is_some() && product.n == 1 && product.m > 1;
                let (m, n) =
                    if is_turned { (product.n, product.m) } else { (product.m, product.n) };
                let entry =
                    ByWeight { op: *op, rows: product.count.saturating_mul(m), k: product.k, n };
                match expert {
                    Some(weight) => block.by_expert.push((entry, *weight)),
                    None if factors.is_by_weight(*op) => block.by_weight.push(entry),
                    None => block.among.push((*op, *product)),
                }
            }
        }
        block
    }

    /// Heads, positions and widths.
    fn attending(&self) -> Result<Attending, Mismatch> {
        let [(scores_op, scores), (context_op, context)] = self.among[..] else {
            let n = self.among.len();
            let why = format!("a block has {n} products of activations, attention has 2");
            return Err(Mismatch(why));
        };
        if scores.count != context.count || scores.n != context.k || scores.m != context.m {
            let why = "the products of activations are no scores and their values";
            return Err(Mismatch::new(why));
        }
        if scores.m != scores.n {
            return Err(Mismatch::new("queries and keys are of different lengths"));
        }
        let makers = self.upstream(&[scores_op, context_op]);
        let output = self.downstream(context_op)?;
        let hidden = output.n;
        if makers.iter().any(|maker| maker.k != hidden) {
            let why = "queries, keys and values are not made from the hidden state";
            return Err(Mismatch::new(why));
        }
        let width: u64 = makers.iter().map(|maker| maker.n).fold(0, u64::saturating_add);
        let sequence = scores.m;
        let samples = output.rows / sequence.max(1);
        let n_heads = scores.count / samples.max(1);
        let dim = scores.k;
        let key_values = (width / dim.max(1)).checked_sub(n_heads);
        let splits = context.n == dim
            && n_heads > 0
            && width.is_multiple_of(dim)
            && output.k == n_heads.saturating_mul(dim);
        let Some(key_values) = key_values.filter(|n| splits && *n >= 2 && n % 2 == 0) else {
            return Err(Mismatch(format!(
                "{width} columns of queries, keys and values do not fit {n_heads} heads of {dim}"
            )));
        };
        Ok(Attending {
            hidden,
            n_heads,
            n_kv_heads: key_values / 2,
            dim,
            sequence,
            tokens: output.rows,
            ops: makers.iter().map(|maker| maker.op).chain([output.op]).collect(),
        })
    }

    /// The nearest products by weights that some ops read from.
    fn upstream(&self, from: &[OpId]) -> Vec<ByWeight> {
        let mut seen: HashSet<OpId> = from.iter().copied().collect();
        let mut queue: VecDeque<OpId> = from.iter().copied().collect();
        let mut found = Vec::new();
        while let Some(op) = queue.pop_front() {
            for input in &self.line.graph.op(op).inputs {
                let Some(maker) = self.line.maker(*input) else { continue };
                if !self.ops.contains(&maker) || !seen.insert(maker) {
                    continue;
                }
                match self.by_weight.iter().find(|product| product.op == maker) {
                    Some(product) => found.push(*product),
                    None => queue.push_back(maker),
                }
            }
        }
        found
    }

    /// The one nearest product by a weight that reads from an op.
    fn downstream(&self, from: OpId) -> Result<ByWeight, Mismatch> {
        let mut seen = HashSet::from([from]);
        let mut queue = VecDeque::from([from]);
        while let Some(op) = queue.pop_front() {
            let outputs = &self.line.graph.op(op).outputs;
            for reader in outputs.iter().flat_map(|tensor| self.line.readers.of(tensor.index())) {
                if !self.ops.contains(reader) || !seen.insert(*reader) {
                    continue;
                }
                match self.by_weight.iter().find(|product| product.op == *reader) {
                    Some(product) => return Ok(*product),
                    None => queue.push_back(*reader),
                }
            }
        }
        Err(Mismatch::new("no product by a weight reads what attention makes"))
    }
}

/// Tensors of a block that are weights picked out by whole numbers, and moved about since, with the
/// parameter that they come from.
fn picked(line: &Line<'_>, factors: &Factors<'_>, ops: &[OpId]) -> HashMap<TensorId, TensorId> {
    let mut picked = HashMap::new();
    for op in ops {
        if !factors.products(*op).is_empty() {
            continue;
        }
        let node = line.graph.op(*op);
        let floats: Vec<TensorId> = node
            .inputs
            .iter()
            .chain(&node.parameters)
            .copied()
            .filter(|tensor| is_float(line.graph.tensor(*tensor).dtype))
            .collect();
        let [float] = floats[..] else { continue };
        let from = match (picked.get(&float), factors.weight(float)) {
            (Some(from), _) => *from,
            (None, Some(weight)) if line.graph.tensor(weight).shape.len() >= 3 => weight,
            _ => continue,
        };
        for output in &node.outputs {
            if factors.weight(*output).is_none() {
                picked.insert(*output, from);
            }
        }
    }
    picked
}
