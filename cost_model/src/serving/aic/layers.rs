//! Kernels of a model on a worker, looked up once.

use ir::card::{Attention as CardAttention, ExpertCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::engine_tables::{AttentionKey, EngineTables, MlaKey, MoeKey, NumberFormat, SystemRates};
use ir::measured::CollectiveOperation;

use super::worker::{Scheduler, Worker};
use crate::kernels::tables::{
    self, AllReduce, Answer, Attention, Collective, Gemm, Mla, MlaBmm, Moe,
};

/// Bytes of an activation.
const ELEMENT: f64 = 2.0;
/// AIConfigurator's factor on the kernels beside prefill attention.
const BESIDE: f64 = 1.1;

/// A kernel whose time depends on the tokens of a step.
#[derive(Clone, Debug)]
pub(super) enum Kernel<'t> {
    Gemm(Gemm<'t>),
    MlaBmm(MlaBmm<'t>),
    /// With bytes per token.
    Pointwise(f64),
    /// With elements per token.
    AllReduce(AllReduce<'t>, f64),
    /// With elements per token.
    Collective(Collective<'t>, f64),
    /// With the ranks whose tokens are gathered.
    Moe(Moe<'t>, f64),
    /// With bytes per token.
    Hop(f64),
}

/// A kernel and its number of runs.
#[derive(Clone, Debug)]
pub(super) struct Term<'t> {
    pub(super) name: &'static str,
    kernel: Kernel<'t>,
    times: f64,
}

impl Term<'_> {
    pub(super) fn of(&self, rates: &SystemRates, tokens: f64) -> Answer {
        let answer = match &self.kernel {
            Kernel::Gemm(product) => product.of(tokens),
            Kernel::MlaBmm(product) => product.of(tokens),
            Kernel::Pointwise(bytes) => tables::pointwise(rates, bytes * tokens),
            Kernel::AllReduce(all_reduce, elements) => all_reduce.of(elements * tokens),
            Kernel::Collective(collective, elements) => collective.of(elements * tokens),
            Kernel::Moe(experts, ranks) => experts.of(ranks * tokens),
            Kernel::Hop(bytes) => tables::hop(rates, bytes * tokens),
        };
        Answer { seconds: answer.seconds * self.times, ..answer }
    }
}

/// Attention of a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mixer<'t> {
    Heads(Attention<'t>),
    Mla(Mla<'t>),
    /// MLA with its projections.
    MlaBlock(Mla<'t>),
}

/// All kernels of a model.
#[derive(Clone, Debug)]
pub(super) struct Layers<'t> {
    pub(super) mixer: Mixer<'t>,
    /// Kernels beside prefill attention, seconds per block.
    pub(super) beside_prefill_s: f64,
    /// For all tokens of a step.
    pub(super) always: Vec<Term<'t>>,
    /// For prompt tokens.
    pub(super) prefill: Vec<Term<'t>>,
    /// For decoding requests.
    pub(super) decode: Vec<Term<'t>>,
    /// Routed experts.
    pub(super) routed: Vec<Term<'t>>,
    /// Shared experts.
    pub(super) shared: Vec<Term<'t>>,
    /// LM head, for sampled requests.
    pub(super) head: Term<'t>,
    /// Whether AIConfigurator omits the head from steps with prompts.
    pub(super) is_headless: bool,
}

/// What kernels are looked up from.
struct Sizes<'t, 'c> {
    tables: &'t EngineTables,
    card: &'c TransformerCard,
    worker: &'c Worker,
    tensor: u64,
    blocks: f64,
}

impl<'t> Layers<'t> {
    pub(super) fn new(
        tables: &'t EngineTables,
        card: &TransformerCard,
        worker: &Worker,
        scheduler: Scheduler,
    ) -> Result<Self, Diagnostic> {
        let tensor = u64::from(worker.tensor.max(1));
        let sizes = Sizes { tables, card, worker, tensor, blocks: f64::from(card.n_layers) };
        sizes.check(scheduler)?;
        let head = Kernel::Gemm(Gemm::new(
            tables,
            NumberFormat::Bf16,
            card.vocabulary / tensor,
            card.hidden,
        ));
        let mut layers = Self {
            mixer: sizes.mixer()?,
            beside_prefill_s: 0.0,
            always: sizes.ends(),
            prefill: Vec::new(),
            decode: Vec::new(),
            routed: Vec::new(),
            shared: Vec::new(),
            head: Term { name: "head", kernel: head, times: 1.0 },
            is_headless: card.experts.is_some() && !sizes.is_latent(),
        };
        match layers.mixer {
            Mixer::Heads(_) => sizes.head_products(&mut layers),
            Mixer::Mla(_) => sizes.mla_products(&mut layers)?,
            Mixer::MlaBlock(_) => {}
        }
        match &card.experts {
            Some(experts) => sizes.experts(experts, scheduler, &mut layers),
            None => sizes.feed_forward(&mut layers),
        }
        Ok(layers)
    }
}

impl<'t> Sizes<'t, '_> {
    fn check(&self, scheduler: Scheduler) -> Result<(), Diagnostic> {
        let Worker { tensor, data, expert_tensor, expert, .. } = *self.worker;
        if tensor == 0 || !self.card.n_heads.is_multiple_of(self.tensor) {
            let heads = self.card.n_heads;
            return Err(not_composed(format!("{heads} heads on {tensor} tensor-parallel ranks")));
        }
        if self.card.experts.is_none() {
            return if data == 1 {
                Ok(())
            } else {
                Err(not_composed("data-parallel dense blocks"))
            };
        }
        let attention = u64::from(tensor) * u64::from(data);
        if attention == 0 || attention != u64::from(expert_tensor) * u64::from(expert) {
            let layout = format!(
                "experts on {expert_tensor} x {expert} ranks beside attention on {tensor} x {data}"
            );
            return Err(not_composed(layout));
        }
        let is_blackwell = self.tables.rates.capability == 100;
        if scheduler == Scheduler::TensorRtLlm && is_blackwell && data > 1 {
            return Err(not_composed("all-to-alls of TensorRT-LLM on Blackwell"));
        }
        Ok(())
    }

    fn term(&self, name: &'static str, kernel: Kernel<'t>) -> Term<'t> {
        Term { name, kernel, times: self.blocks }
    }

    fn product(&self, name: &'static str, n: u64, k: u64) -> Term<'t> {
        let product = Gemm::new(self.tables, self.worker.weights, n, k);
        self.term(name, Kernel::Gemm(product))
    }

    fn pointwise(&self, name: &'static str, elements: u64) -> Term<'t> {
        self.term(name, Kernel::Pointwise(ELEMENT * elements as f64))
    }

    /// Norms, embedding, its all-reduce, hops between stages.
    fn ends(&self) -> Vec<Term<'t>> {
        let hidden = self.card.hidden as f64;
        let once = |name, kernel, times| Term { name, kernel, times };
        let mut terms = vec![
            once("embedding", Kernel::Pointwise(ELEMENT * hidden), 1.0),
            self.pointwise("norm before attention", 4 * self.card.hidden),
            self.pointwise("norm before feed-forward", 4 * self.card.hidden),
        ];
        if self.worker.tensor > 1 && !self.is_latent() {
            let all_reduce = AllReduce::new(self.tables, self.worker.tensor);
            terms.push(once("embedding all-reduce", Kernel::AllReduce(all_reduce, hidden), 1.0));
        }
        if self.worker.pipeline > 1 {
            let hops = f64::from(self.worker.pipeline - 1);
            terms.push(once("pipeline hops", Kernel::Hop(ELEMENT * hidden), hops));
        }
        terms
    }

    fn is_latent(&self) -> bool {
        matches!(self.card.attention, CardAttention::Latent { .. })
    }

    /// KV heads of a rank.
    fn kv_heads(&self) -> u64 {
        self.card.n_kv_heads.div_ceil(self.tensor)
    }

    fn mixer(&self) -> Result<Mixer<'t>, Diagnostic> {
        let heads = narrow(self.card.n_heads / self.tensor);
        let (number, cache) = (self.worker.attention, self.worker.cache);
        if self.is_latent() {
            // The whole block, where it was measured.
            let block = MlaKey { number, cache, weights: Some(self.worker.weights) };
            if let Ok(mla) = Mla::new(self.tables, block, heads) {
                return Ok(Mixer::MlaBlock(mla));
            }
            let kernel = MlaKey { weights: None, ..block };
            return Ok(Mixer::Mla(Mla::new(self.tables, kernel, heads)?));
        }
        let window = match self.card.attention {
            CardAttention::Window { tokens, .. } => narrow(tokens),
            _ => 0,
        };
        let key = AttentionKey {
            number,
            cache,
            kv_heads: narrow(self.kv_heads()),
            head_dim: narrow(self.card.head_dims().0),
            window,
        };
        Ok(Mixer::Heads(Attention::new(self.tables, key, heads)?))
    }

    /// GEMMs around attention, and the kernels beside prefill attention.
    fn head_products(&self, layers: &mut Layers<'t>) {
        let (dim, hidden) = (self.card.head_dims().0, self.card.hidden);
        let heads = self.card.n_heads * dim / self.tensor;
        let keys = self.kv_heads() * dim;
        layers.always.push(self.product("query, key, value", heads + 2 * keys, hidden));
        layers.always.push(self.product("attention output", hidden, heads));
        if self.card.experts.is_none() {
            layers.always.extend(self.all_reduce("attention all-reduce"));
        }
        let (queries, keys) = (heads as f64, keys as f64);
        let of = |elements: f64, bytes: f64| {
            tables::pointwise(&self.tables.rates, elements * bytes).seconds
        };
        let rotary = 2.0 * of(queries + keys, ELEMENT);
        let written = 2.0 * of(keys, self.worker.attention.bytes());
        let norms = 4.0 * (of(queries, ELEMENT) + of(keys, ELEMENT));
        let norms = if self.worker.norms_heads { norms } else { 0.0 };
        layers.beside_prefill_s = BESIDE * (rotary + written + norms);
    }

    fn all_reduce(&self, name: &'static str) -> Option<Term<'t>> {
        let all_reduce = AllReduce::new(self.tables, self.worker.tensor);
        let kernel = Kernel::AllReduce(all_reduce, self.card.hidden as f64);
        (self.worker.tensor > 1).then(|| self.term(name, kernel))
    }

    /// GEMMs around MLA; decoding absorbs the weights of each head in two batched GEMMs.
    fn mla_products(&self, layers: &mut Layers<'t>) -> Result<(), Diagnostic> {
        let CardAttention::Latent { query_rank, key_value_rank, plain, rotary, value } =
            self.card.attention
        else {
            return Ok(());
        };
        let heads = self.card.n_heads / self.tensor;
        let query_rank = query_rank.unwrap_or(self.card.hidden);
        let down = query_rank + key_value_rank + rotary;
        layers.always.extend([
            self.product("down-projection", down, self.card.hidden),
            self.product("query", heads * (plain + rotary), query_rank),
            self.product("attention output", self.card.hidden, heads * value),
        ]);
        layers.prefill.push(self.product("key, value", heads * (plain + value), key_value_rank));
        let number = if self.worker.weights == NumberFormat::Bf16 {
            NumberFormat::Bf16
        } else {
            NumberFormat::Fp8
        };
        for (name, of_queries) in [("latent query", true), ("latent value", false)] {
            let product = MlaBmm::new(self.tables, number, of_queries, narrow(heads))?;
            layers.decode.push(self.term(name, Kernel::MlaBmm(product)));
        }
        Ok(())
    }

    fn feed_forward(&self, layers: &mut Layers<'t>) {
        let (hidden, inner) = (self.card.hidden, self.card.feed_forward / self.tensor);
        let first = self.card.form.n_first();
        layers.always.extend([
            self.product("feed-forward in", first * inner, hidden),
            self.pointwise("activation", (first + 1) * inner),
            self.product("feed-forward out", hidden, inner),
        ]);
        layers.always.extend(self.all_reduce("feed-forward all-reduce"));
    }

    fn experts(&self, experts: &ExpertCard, scheduler: Scheduler, layers: &mut Layers<'t>) {
        let (hidden, worker) = (self.card.hidden, self.worker);
        if experts.n_shared > 0 {
            let inner = experts.n_shared * experts.feed_forward / self.tensor;
            layers.shared.extend([
                self.product("shared experts in", 2 * inner, hidden),
                self.pointwise("shared activation", 3 * inner),
                self.product("shared experts out", hidden, inner),
            ]);
        }
        let router = Gemm::new(self.tables, NumberFormat::Bf16, experts.n_experts, hidden);
        layers.routed.push(self.term("router", Kernel::Gemm(router)));
        layers.routed.extend(self.exchange(scheduler, true));
        let key = MoeKey {
            number: worker.expert_weights,
            experts: narrow(experts.n_experts),
            per_token: narrow(experts.per_token),
            hidden: narrow(hidden),
            inner: narrow(experts.feed_forward),
            tensor: worker.expert_tensor,
            expert: worker.expert,
            load: worker.load.clone(),
        };
        let of = Moe::new(self.tables, key, self.card.form.is_gated());
        layers.routed.push(self.term("experts", Kernel::Moe(of, f64::from(worker.data))));
        layers.routed.extend(self.exchange(scheduler, false));
        if self.is_latent() && scheduler == Scheduler::Vllm {
            layers.always.extend(self.all_reduce("attention all-reduce"));
            layers.always.extend(self.all_reduce("feed-forward all-reduce"));
        }
    }

    /// Dispatch of tokens to experts, or combination.
    fn exchange(&self, scheduler: Scheduler, is_before: bool) -> Vec<Term<'t>> {
        use CollectiveOperation::{AllGather, ReduceScatter};
        let Worker { tensor, data, .. } = *self.worker;
        let (all, hidden) = (tensor * data, self.card.hidden as f64);
        let together = hidden * f64::from(data);
        let name = if is_before { "dispatch" } else { "combine" };
        let sum = || Kernel::AllReduce(AllReduce::new(self.tables, all), hidden);
        let of = |operation, devices, elements| {
            Kernel::Collective(Collective::new(self.tables, operation, devices), elements)
        };
        let outer = of(if is_before { AllGather } else { ReduceScatter }, all, together);
        let kernels = match (scheduler, tensor > 1, data > 1) {
            (_, false, false) => vec![],
            (Scheduler::Vllm, true, true) => vec![sum(), outer],
            (Scheduler::Sglang, true, true) if is_before => {
                vec![of(ReduceScatter, tensor, hidden), outer]
            }
            (Scheduler::Sglang, true, true) => vec![outer, of(AllGather, tensor, hidden)],
            (_, true, _) => vec![sum()],
            (_, false, true) => vec![outer],
        };
        kernels.into_iter().map(|kernel| self.term(name, kernel)).collect()
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The error `not-composed`.
pub(super) fn not_composed(what: impl std::fmt::Display) -> Diagnostic {
    let message = format!("AIConfigurator's composition does not cover {what}");
    Diagnostic::usage("not-composed", message)
}
