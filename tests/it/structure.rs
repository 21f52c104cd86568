//! Structure of real models, against what is known of them (`docs/data.md`).

use std::path::Path;

use cost_model::ops::workload::passes::Passes;
use cost_model::runs::forms::model::counts::n_parameters;
use importers::ImportOptions;
use ir::card::{Attention, FeedForward, ModelCard};
use ir::graph::Graph;
use planner::training::structure::figures::Sums;
use planner::training::structure::{Line, Structure, figures, find, parts, template};

use crate::data;

/// Model and the lengths of its runs of layers, from the models' own configurations; the runs of
/// resnet50 are the blocks behind the first one of each of its four stages (He et al. 2016).
const RUNS: &[(&str, &[usize])] = &[
    ("bert_base", &[12]),
    ("bert_large", &[24]),
    ("gpt2_small", &[12]),
    ("gpt2_xl", &[48]),
    ("llama3_8b", &[32]),
    ("mixtral_8x7b", &[32]),
    ("mixtral_small", &[4]),
    ("resnet50", &[2, 3, 5, 2]),
    ("t5_base", &[12, 12]),
    ("vit_l_16", &[24]),
    ("whisper_small", &[12, 12]),
];

/// Model, config, and the config's samples.
const CARDS: &[(&str, &str)] = &[
    ("bert_base", "bert-base-uncased"),
    ("bert_large", "bert-large-uncased"),
    ("gpt2_small", "gpt2"),
    ("gpt2_xl", "gpt2-xl"),
    ("llama3_8b", "llama-3-8b"),
    ("mixtral_8x7b", "mixtral-8x7b"),
];

struct Found {
    graph: Graph,
    passes: Passes,
    structure: Structure,
    sums: Sums,
}

fn read(folder: &Path, name: &str) -> Found {
    let path = folder.join(format!("models/onnx/{name}.onnx"));
    let options = ImportOptions { batch: Some(1), ..ImportOptions::default() };
    let graph = importers::read(&path, &options).unwrap().graph;
    let (passes, _) = Passes::of(graph.clone()).unwrap();
    let structure = find(&Line::of(&graph));
    let sums = figures::of(&graph, &structure, Some(&passes));
    Found { graph, passes, structure, sums }
}

#[test]
fn layers_are_found_as_they_are_known() {
    let Some(folder) = data::folder() else { return };
    for (name, lengths) in RUNS {
        let found = read(&folder, name);
        let counted: Vec<usize> =
            found.structure.runs.iter().map(|run| run.segments.len()).collect();
        assert_eq!(counted, *lengths, "{name}");
        // Blocks of a run are alike.
        for run in &found.structure.runs {
            let of = |segment: &usize| {
                let segment = &found.sums.segments[*segment];
                (segment.flops, segment.n_parameters + segment.n_tied)
            };
            let first = of(&run.segments[0]);
            assert!(run.segments.iter().all(|segment| of(segment) == first), "{name}");
        }
    }
}

#[test]
fn every_model_is_a_chain_that_loses_nothing() {
    let Some(folder) = data::folder() else { return };
    let others = ["sd15_unet", "inception_v3", "gnmt"];
    for name in RUNS.iter().map(|(name, _)| *name).chain(others) {
        let Found { graph, passes, structure, sums } = read(&folder, name);
        let flops: u64 = sums.segments.iter().map(|segment| segment.flops.get()).sum();
        assert_eq!(flops, graph.flops().get(), "{name}");
        let makers = graph.producers();
        for op in graph.op_ids() {
            for maker in graph.op(op).inputs.iter().filter_map(|t| makers[t.index()]) {
                let of = |op: ir::id::OpId| structure.segment_of[op.index()];
                assert!(of(maker) <= of(op), "{name}");
            }
        }
        let n_ops: usize = structure.segments.iter().map(|segment| segment.ops.len()).sum();
        assert_eq!(n_ops, graph.ops.len(), "{name}");
        let model = parts::model(&graph, &structure, &sums, [&passes, &passes]);
        assert_eq!(n_parameters(&model), sums.n_parameters(), "{name}");
    }
}

#[test]
fn parameters_are_those_that_pytorch_counts() {
    let Some(folder) = data::folder() else { return };
    let text = std::fs::read_to_string(folder.join("models/reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (name, config) in CARDS {
        let counted = read(&folder, name).sums.n_parameters();
        let known = reference["hf_configs"][config]["params"].as_u64().unwrap();
        // The exporter drops what does not reach the result, such as unused positions.
        let share = counted.abs_diff(known) as f64 / known as f64;
        assert!(share < 0.003, "{name} {counted} {known}");
    }
}

#[test]
fn cards_agree_with_those_of_the_configs() {
    let Some(folder) = data::folder() else { return };
    for (name, config) in CARDS {
        let Found { graph, structure, sums, .. } = read(&folder, name);
        let (model, blocks) = template::model(&Line::of(&graph), &structure, &sums).unwrap();
        let card = &model.groups[0].card;
        let path = folder.join(format!("models/hf_configs/{config}.json"));
        let stated = importers::config::card::card(&path, Some(card.sequence)).unwrap().0;
        let expected = ModelCard {
            name: model.name.clone(),
            other_parameters: model.other_parameters,
            dtype: model.dtype,
            ..stated
        };
        let mut expected = as_fused(expected);
        expected.groups[0].card.name.clone_from(&card.name);
        // Exporters drop biases of zeros.
        expected.groups[0].other_parameters = model.groups[0].other_parameters;
        assert_eq!(model, expected, "{name}");
        assert_eq!(blocks.len(), model.n_blocks() as usize);
        assert_eq!(n_parameters(&model), sums.n_parameters(), "{name}");
    }
}

#[test]
fn what_no_template_describes_is_told() {
    let Some(folder) = data::folder() else { return };
    for name in ["t5_base", "whisper_small", "resnet50", "gnmt", "sd15_unet", "inception_v3"] {
        let Found { graph, structure, sums, .. } = read(&folder, name);
        assert!(template::model(&Line::of(&graph), &structure, &sums).is_err(), "{name}");
    }
}

/// A config written out op by op is read back as the card of the config.
#[test]
fn graphs_of_configs_have_the_cards_of_the_configs() {
    let Some(folder) = data::folder() else { return };
    let mut n_compared = 0;
    for file in std::fs::read_dir(folder.join("models/hf_configs")).unwrap() {
        let path = file.unwrap().path();
        let dims = [("sequence".to_owned(), 512)].into();
        let options = ImportOptions { dims, batch: Some(1), ..ImportOptions::default() };
        // Some model types have a card alone, and others none.
        let Ok((stated, _)) = importers::config::card::card(&path, Some(512)) else { continue };
        let Ok(import) = importers::read(&path, &options) else { continue };
        // No template knows queries, keys and values of a lower rank.
        let attention = &stated.groups[0].card.attention;
        if matches!(attention, Attention::Latent { .. }) {
            continue;
        }
        let graph = import.graph;
        let (passes, _) = Passes::of(graph.clone()).unwrap();
        let structure = find(&Line::of(&graph));
        let sums = figures::of(&graph, &structure, Some(&passes));
        let (model, _) = template::model(&Line::of(&graph), &structure, &sums)
            .unwrap_or_else(|why| panic!("{}: {why:?}", path.display()));
        let stated = as_fused(stated);
        let mut expected = ModelCard { other_parameters: model.other_parameters, ..stated };
        expected.groups[0].card.name.clone_from(&model.groups[0].card.name);
        assert_eq!(model.groups, expected.groups, "{}", path.display());
        n_compared += 1;
    }
    assert!(n_compared >= 9, "{n_compared}");
}

/// A graph shows the function between two products, not whether a run's code writes it out: the card
/// of a graph takes it for one kernel.
fn as_fused(mut model: ModelCard) -> ModelCard {
    for group in &mut model.groups {
        if group.card.form == FeedForward::Written {
            group.card.form = FeedForward::Plain;
        }
    }
    model
}
