//! Reader of the golden values of Megatron-LM's functional tests.

use std::path::Path;

use importers::measurements::Fields;
use ir::card::{
    ExpertCard, MemoryFeature, SequenceParallel, StateFormat, TransformerCard, ZeroStage,
};
use ir::chip::Chip;
use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism};

use super::{micro_batches, plain_card, recompute, replicas, small, small_or_one};
use crate::readers::Left;
use crate::readers::memory::{JudgedRank, MemoryMetric, MemoryRow};

/// Tokens of the GPT-2 vocabulary, which these tests train with.
const VOCABULARY: u64 = 50_257;
/// Rows are padded to a multiple of this times the tensor degree (Megatron-LM's default).
const VOCABULARY_MULTIPLE: u64 = 128;
/// GPUs that a test runs on unless its name says one node.
const N_GPUS: u64 = 8;
/// GPUs of a GB200 node (NVIDIA GB200 NVL72 data sheet: two boards of two).
const GPUS_OF_A_GB200_NODE: u64 = 4;
/// What the names hold of the tests whose `model_config.yaml` groups the products of experts
/// (`--moe-grouped-gemm`), which the table does not state; the others run them one after the other. Read
/// in those of sixteen tests, several of other commits than the table's.
const GROUPED: [&str; 5] =
    ["groupedGEMM", "top2router", "etp1_ep4", "ddp_average_in_collective", "gpt3_moe_mcore"];
/// Parts of the data-parallel group in the tests that name several optimizer instances.
const OPTIMIZER_INSTANCES: u32 = 2;

/// A row, and whether its table says how the model is split.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenRow {
    /// The figure.
    pub row: MemoryRow,
    /// Whether the tensor degree is stated; blank degrees are taken as 1.
    pub layout: Layout,
    /// Whether the peak is of the run alone and its name says how it ran: not after a resume, which
    /// holds the loaded checkpoint as well, nor of optimizer instances on the branch that ran with
    /// one, as its resident bytes say.
    pub is_whole: bool,
}

/// Whether a row states its tensor degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// It does.
    Stated,
    /// It does not.
    Guessed,
}

/// Reads allocator peaks of the `gpt3_mcore` and `gpt3_moe_mcore` models of 12 layers and a width of 512, from the
/// columns `case`, `platform`, `env`, `mem_max_alloc_bytes`, `tp`, `pp`, `vpp_layers`, `cp`, `ep`, `etp`,
/// `micro_batch`, `global_batch`, `layers`, `hidden`, `heads`, `experts`, `topk`, `moe_ffn`, `seq`,
/// `recompute`, `seq_par` and `dist_opt`. A distillation holds a second model and is left out.
pub fn read(path: &Path, left: &mut Left) -> Vec<GoldenRow> {
    left.rows(path, row)
}

fn row(fields: &Fields) -> Result<Option<GoldenRow>, Diagnostic> {
    let case = fields.name("case")?;
    let names = ["gpt3_mcore", "gpt3_moe_mcore"];
    let wanted = names.iter().any(|name| case.contains(name)) && !case.contains("modelopt");
    let small = fields.text("layers")? == "12" && fields.text("hidden")? == "512";
    let Some(value) = fields.positive_or_blank("mem_max_alloc_bytes")? else { return Ok(None) };
    if !(wanted && small) {
        return Ok(None);
    }
    let mut parallelism = parallelism(fields, &case)?;
    let tensor = u64::from(parallelism.tensor);
    let multiple = VOCABULARY_MULTIPLE * tensor;
    let heads = fields.count("heads")?;
    let mut card = plain_card(fields, heads, VOCABULARY.div_ceil(multiple) * multiple)?;
    card.experts = experts(fields, &card)?;
    let tag = format!("{} {}", fields.text("platform")?, fields.text("env")?);
    let layout = if fields.text("tp")?.is_empty() { Layout::Guessed } else { Layout::Stated };
    let has_experts = card.experts.is_some();
    parallelism.expert_tensor = small_or_blank(fields, "etp")?.filter(|_| has_experts);
    let row = MemoryRow {
        name: format!("{case} {}", tag.trim()),
        card,
        parallelism,
        recompute: recompute(fields)?,
        chip: chip(fields.text("platform")?, fields.text("env")?),
        features: features(&case, has_experts),
        format: StateFormat::Megatron,
        rank: JudgedRank::Last,
        metric: MemoryMetric::Peak,
        value,
        group: case,
    };
    let is_one = tag.ends_with("lts") && row.name.contains("multi_dist_optimizer_instances");
    let is_whole = !(is_one || fields.text("platform")?.ends_with("_2nd"));
    Ok(Some(GoldenRow { row, layout, is_whole }))
}

fn parallelism(fields: &Fields, case: &str) -> Result<Parallelism, Diagnostic> {
    let degree = |column| small_or_one(fields, column);
    let [tensor, pipeline, context] = [degree("tp")?, degree("pp")?, degree("cp")?];
    let of_gb200 = fields.text("platform")?.contains("gb200");
    let one_node = case.ends_with("_1node") && of_gb200;
    let n_gpus = if one_node { GPUS_OF_A_GB200_NODE } else { N_GPUS };
    let data = replicas(n_gpus, &[tensor, pipeline, context]);
    let micro_batch = fields.count("micro_batch")?;
    let per_chunk = fields.count_or_blank("vpp_layers")?;
    let per_rank = fields.count("layers")? / u64::from(pipeline);
    let virtual_stages = per_chunk.map_or(1, |layers| (per_rank / layers).max(1));
    let is_true = |column| fields.text(column).map(|text| text == "true");
    let zero = match (case.contains("z3"), is_true("dist_opt")?) {
        (true, _) => ZeroStage::Parameters,
        (false, true) => ZeroStage::Optimizer,
        (false, false) => ZeroStage::None,
    };
    Ok(Parallelism {
        data,
        tensor,
        pipeline,
        expert: degree("ep")?,
        context,
        n_micro_batches: micro_batches(fields.count("global_batch")?, micro_batch, data),
        micro_batch,
        virtual_stages: u32::try_from(virtual_stages).unwrap_or(u32::MAX),
        sequence: match is_true("seq_par")? {
            true => SequenceParallel::On,
            false => SequenceParallel::Off,
        },
        zero,
        mesh: Mesh::TpCpDpPp,
        vocabulary: None,
        expert_overlap: false,
        expert_tensor: None,
    })
}

/// A count that fits 32 bits; `None` where the cell is blank.
fn small_or_blank(fields: &Fields, column: &str) -> Result<Option<u32>, Diagnostic> {
    if fields.text(column)?.is_empty() { Ok(None) } else { small(fields, column).map(Some) }
}

fn experts(fields: &Fields, card: &TransformerCard) -> Result<Option<ExpertCard>, Diagnostic> {
    let Some(n_experts) = fields.count_or_blank("experts")? else { return Ok(None) };
    Ok(Some(ExpertCard {
        n_experts,
        per_token: fields.count_or_blank("topk")?.unwrap_or(1),
        feed_forward: fields.count_or_blank("moe_ffn")?.unwrap_or(card.feed_forward),
        n_shared: 0,
        ..Default::default()
    }))
}

/// The chip of a platform; one that is not named is the H100 of the development branch.
fn chip(platform: &str, environment: &str) -> Chip {
    let chips = [("gb200", Chip::Gb200), ("h100", Chip::H100), ("a100", Chip::A100)];
    let named = chips.into_iter().find(|(name, _)| platform.contains(name));
    match named {
        Some((_, chip)) => chip,
        None if platform.is_empty() && environment == "dev" => Chip::H100,
        None => Chip::Other,
    }
}

/// Features that the name of a test declares, and how its experts run.
fn features(case: &str, has_experts: bool) -> Vec<MemoryFeature> {
    let named = [
        ("cross_entropy_loss_fusion", MemoryFeature::LossFusion),
        ("defer_embedding_wgrad_compute", MemoryFeature::DeferredEmbeddingGradient),
        ("tunable_overlap", MemoryFeature::TunableOverlap),
        ("multi_dist_optimizer_instances", MemoryFeature::OptimizerInstances(OPTIMIZER_INSTANCES)),
        ("ovlp", MemoryFeature::ExchangeOverlap),
    ];
    let named = named.into_iter().filter(|(name, _)| case.contains(name));
    let named = named.map(|(_, feature)| feature);
    let is_separate = has_experts && !GROUPED.iter().any(|name| case.contains(name));
    let separate = is_separate.then_some(MemoryFeature::SeparateExperts);
    named.chain(separate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use importers::measurements::parse_table;

    const HEADER: &str = "case,platform,env,mem_max_alloc_bytes,tp,pp,vpp_layers,cp,ep,micro_batch,\
                          global_batch,layers,hidden,heads,experts,topk,moe_ffn,seq,recompute,\
                          seq_par,dist_opt,etp";

    fn parse(line: &str) -> Result<Vec<GoldenRow>, Diagnostic> {
        parse_table(format!("{HEADER}\n{line}\n").as_bytes(), "g.csv", row)
    }

    #[test]
    fn a_row_by_hand() {
        let line = "gpt/gpt3_mcore_te_tp2_pp2_vp1_tunable_overlap,dgx_a100,dev,1e9,2,2,2,,,4,32,12,\
                    512,8,,,,1024,,true,true,";
        let golden = parse(line).unwrap().remove(0);
        let p = &golden.row.parallelism;
        assert_eq!((p.data, p.tensor, p.pipeline, p.virtual_stages), (2, 2, 2, 3));
        assert_eq!((p.n_micro_batches, p.zero), (4, ZeroStage::Optimizer));
        assert_eq!(golden.row.card.vocabulary, 50_432);
        assert_eq!(golden.row.features, [MemoryFeature::TunableOverlap]);
        assert_eq!(golden.layout, Layout::Stated);
    }

    #[test]
    fn experts_by_hand() {
        let line = |platform: &str| {
            format!(
                "moe/gpt3_moe_mcore_te_tp4_ep2_etp2_pp2_ovlp,{platform},dev,1e9,4,2,,,2,4,32,12,512,8,\
                 8,2,1024,1024,,true,true,2"
            )
        };
        let golden = parse(&line("dgx_gb200_2nd")).unwrap().remove(0);
        assert!(!golden.is_whole);
        assert_eq!(golden.row.chip, Chip::Gb200);
        let features = [MemoryFeature::ExchangeOverlap];
        assert_eq!(golden.row.features, features);
        assert_eq!(golden.row.card.experts.unwrap().feed_forward, 1024);
        assert_eq!(golden.row.parallelism.expert_tensor, Some(2));
        assert!(parse(&line("dgx_h100")).unwrap()[0].is_whole);
        let separate = line("dgx_h100").replace("moe_mcore_te_tp4_ep2_etp2_pp2_ovlp", "mcore_te");
        let features = [MemoryFeature::SeparateExperts];
        assert_eq!(parse(&separate).unwrap()[0].row.features, features);
    }

    #[test]
    fn one_node_of_gb200_has_four_gpus() {
        let line = |name: &str, platform: &str| {
            format!("gpt/gpt3_mcore_{name},{platform},dev,1e9,1,1,,,,4,32,12,512,8,,,,1024,,,,")
        };
        let data = |line: &str| parse(line).unwrap()[0].row.parallelism.data;
        assert_eq!(data(&line("a_1node", "dgx_gb200")), 4);
        assert_eq!(data(&line("a", "dgx_gb200")), 8);
        assert_eq!(data(&line("a_1node", "dgx_h100")), 8);
    }

    #[test]
    fn other_models_are_left_out_and_broken_cells_refused() {
        let line = |case: &str, peak: &str, heads: &str| {
            format!("{case},p,dev,{peak},1,1,,,,4,32,12,512,{heads},,,,1024,,,,")
        };
        for (case, peak) in
            [("gpt/bert", "1e9"), ("gpt3_mcore_modelopt", "1e9"), ("gpt3_mcore", "")]
        {
            assert!(parse(&line(case, peak, "8")).unwrap().is_empty(), "{case}");
        }
        for (peak, heads) in [("-1", "8"), ("NaN", "8"), ("1e9", "0"), ("1e9", "")] {
            let error = parse(&line("gpt3_mcore", peak, heads)).unwrap_err();
            assert_eq!(error.code, "bad-cell", "{peak} {heads}");
        }
    }
}
