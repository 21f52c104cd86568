//! The measurements of Splitwise (Patel et al., arXiv:2311.18677) on A100 with 80 GB: a vLLM of 2023 without
//! CUDA graphs, which its host bounds at small batches. One host time of a layer is that of Llama 2 70B on
//! eight devices at a batch of 1; nothing else is taken from rows. All-reduces are those of NCCL in PyTorch
//! on such hosts (`collectives.csv`, vidur_a100_dgx).

use std::collections::BTreeMap;
use std::path::Path;

use super::super::super::cases_tests::bloom;
use super::*;
use crate::links::collective::table::Table;

/// Model, tensor ranks, tokens of a prompt, requests, tokens of an output.
type Key = (String, u32, u64, u64, u64);

/// By key the medians of prompt and token seconds. The prompt of one group is a slip of its source: 64
/// prompts on two devices in an eighth of the time of 32.
fn measured(folder: &Path) -> BTreeMap<Key, [f64; 2]> {
    let text = std::fs::read_to_string(folder.join("data/serving/splitwise_a100.csv")).unwrap();
    let mut rows: BTreeMap<Key, Vec<[f64; 2]>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let n = |at: usize| cells[at].parse::<u64>().unwrap();
        let seconds = |at: usize| cells[at].parse::<f64>().unwrap() * 1e-3;
        let key = (cells[0].to_owned(), n(2) as u32, n(3), n(4), n(5));
        rows.entry(key).or_default().push([seconds(6), seconds(7)]);
    }
    let median = |rows: &[[f64; 2]], at: usize| {
        let mut of: Vec<f64> = rows.iter().map(|row| row[at]).collect();
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    rows.into_iter().map(|(key, rows)| (key, [median(&rows, 0), median(&rows, 1)])).collect()
}

/// Hosts of eight A100 with all-reduces as PyTorch's processes have them.
fn system(folder: &Path) -> System {
    let text = std::fs::read_to_string(folder.join("data/measurements/collectives.csv")).unwrap();
    let mut system = a100();
    for ranks in [2_u64, 4, 8] {
        let points = text.lines().map(|line| line.split(',').collect::<Vec<_>>()).filter(|cells| {
            cells[..2] == ["vidur_a100_dgx", "all_reduce"]
                && cells[3..5].iter().all(|cell| cell.parse() == Ok(ranks))
        });
        let point = |cells: Vec<&str>| {
            (cells[5].parse::<u64>().unwrap(), 1e-6 * cells[6].parse::<f64>().unwrap())
        };
        let key = (CollectiveOperation::AllReduce, ranks, ranks);
        assert!(system.measured.insert(key, Table::new(points.map(point))).is_none());
    }
    system
}

/// Relative errors of prompts and of tokens, by key.
fn errors(rows: &BTreeMap<Key, [f64; 2]>, system: &System) -> BTreeMap<Key, [f64; 2]> {
    let (llama, bloom) = (llama2_70b(), bloom());
    let host = &rows[&("llama2-70b".to_owned(), 8, 512, 1, 128)];
    let overhead = Overhead { layer_s: host[1] / 80.0, graph_requests: 0, ..NOTHING };
    let worker = |model: &ModelCard, tensor| {
        priced((model, DType::Bf16), system, &Shape::of_tensor(model, tensor), overhead)
    };
    let workers: BTreeMap<_, _> = [(&llama, 2), (&llama, 4), (&llama, 8), (&bloom, 8)]
        .map(|(model, tensor)| ((model.name.clone(), tensor), worker(model, tensor)))
        .into();
    let of = |((name, tensor, prompt, batch, output), seconds): (&Key, &[f64; 2])| {
        let worker = &workers[&(name.clone(), *tensor)];
        let chunk = Chunk { new: *prompt, cached: 0 };
        let whole = Iteration { prompts: vec![chunk; *batch as usize], ..Iteration::default() };
        let said = [worker.seconds(&whole), worker.seconds(&decode(*batch, prompt + output / 2))];
        let key = (name.clone(), *tensor, *prompt, *batch, *output);
        (key, [said[0] / seconds[0] - 1.0, said[1] / seconds[1] - 1.0])
    };
    rows.iter().map(of).collect()
}

/// The middle and the greatest of the sizes of some errors.
fn sizes(errors: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut sizes: Vec<f64> = errors.map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    [sizes[sizes.len() / 2], sizes[sizes.len() - 1]]
}

/// Single prompts of up to 2,048 tokens are near. Longer ones and batches of eight and more took up to
/// twice as long on four and eight devices as twice as few tokens say, at less power and for single prompts
/// and batches alike: devices waited. For what is not known, nor what a request more cost the host.
#[test]
#[allow(clippy::print_stdout, reason = "shows the figures")]
fn splitwise_within_its_figures() {
    let Some(folder) = benchmark_data::folder() else { return };
    let errors = errors(&measured(&folder), &system(&folder));
    let is_given = |key: &Key| key == &("llama2-70b".to_owned(), 8, 512, 1, 128);
    let is_faulty = |key: &Key| key.0 == "llama2-70b" && (key.1, key.3) == (2, 64);
    let of = |is_in: &dyn Fn(&Key) -> bool| {
        let rows = || errors.iter().filter(|(key, _)| is_in(key));
        let prompts = rows().filter(|(key, _)| !is_faulty(key)).map(|(_, error)| error[0]);
        let tokens = rows().filter(|(key, _)| !is_given(key)).map(|(_, error)| error[1]);
        let prompts = if rows().all(|(key, _)| is_faulty(key)) { [0.0; 2] } else { sizes(prompts) };
        [prompts, sizes(tokens)]
    };
    for (name, tensor) in
        [("llama2-70b", 2), ("llama2-70b", 4), ("llama2-70b", 8), ("bloom-176b", 8)]
    {
        for batch in [1, 2, 4, 8, 16, 32, 64] {
            let is_in = |key: &Key| (key.0.as_str(), key.1, key.3) == (name, tensor, batch);
            let [prompts, tokens] = of(&is_in).map(|of| of.map(|error| 100.0 * error));
            println!(
                "{name} tensor {tensor} batch {batch}: prompts {prompts:.1?}, tokens {tokens:.1?}"
            );
        }
    }
    let [prompts, tokens] = of(&|_| true);
    println!("all: prompts {prompts:.3?}, tokens {tokens:.3?}");
    assert!(prompts[0] < 0.16 && tokens[0] < 0.05);
    let is_short = |key: &Key| key.2 <= 2048 && key.3 == 1;
    let llama = |tensor| move |key: &Key| key.0 == "llama2-70b" && key.1 == tensor;
    let single = |tensor: u32| of(&|key| llama(tensor)(key) && is_short(key));
    for (tensor, most) in [(2, [0.06, 0.10]), (4, [0.30, 0.07]), (8, [0.32, 0.05])] {
        let worst = single(tensor).map(|sizes| sizes[1]);
        assert!(worst[0] < most[0] && worst[1] < most[1], "{tensor}: {worst:?}");
    }
    // Weights bound two devices, and nothing is taken from their rows.
    assert!(single(2)[0][0] < 0.01 && single(2)[1][0] < 0.09);
}
