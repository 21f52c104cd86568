//! Stack constants from steps whose law is known.

use std::collections::BTreeMap;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::grid::{Cell, Grid, Pass};
use ir::measured::GpuFacts;
use ir::tensor::DType;

use super::*;
use crate::kernels::stack::megatron_deepspeed_2021;

const FACTS: GpuFacts = GpuFacts {
    memory_bandwidth: 2.039e12,
    peak: 312e12,
    n_multiprocessors: 108,
    last_level_cache: None,
    clock: None,
};

/// One rank: each micro-batch forward and backward.
fn one_rank(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    if (n_ranks, n_chunks) != (1, 1) {
        return Err(Diagnostic::usage("schedule-size", "one rank only"));
    }
    let passes = [Pass::Forward, Pass::Backward];
    let row = (0..n_micro_batches).flat_map(|k| passes.map(|pass| Cell::new(0, pass, k)));
    Ok(Grid { rows: vec![row.collect()] })
}

fn context() -> Context {
    Context {
        system: System::a100_hosts("box", &FACTS, BTreeMap::new(), 22.5e9).unwrap(),
        stack: megatron_deepspeed_2021(),
        gradients: Some(Gradients::Half),
        grid_of: one_rank,
        base: Profile { name: "test".to_owned(), ..Profile::default() },
        source: "test".to_owned(),
        date: "2026-01-02".to_owned(),
    }
}

/// Row `index` of a sweep over hidden sizes, tensor ranks, micro-batches and samples.
fn row(index: u64) -> StepRow {
    let hidden = 1024 << (index % 4);
    let tensor = 1_u32 << (index / 4 % 4);
    let micro_batch = 1 << (index / 16 % 3);
    StepRow {
        line: index + 2,
        model: "gpt".to_owned(),
        card: None,
        dtype: DType::Bf16,
        context: 1,
        expert: 1,
        layers: Some(8),
        stated_parameters: None,
        hidden,
        heads: Some(16),
        sequence: 1024,
        vocabulary: Some(51_200),
        gpus: u64::from(tensor),
        tensor,
        pipeline: 1,
        virtual_stages: 1,
        data: 1,
        micro_batch,
        global_batch: micro_batch * (2 + index % 5),
        recompute: Recompute::Full,
        sequence_parallel: SequenceParallel::Off,
        zero: ZeroStage::None,
        // Slow enough for any rate, until a time is put in.
        time_s: 1e3,
        peer_s: None,
    }
}

/// Rows that took what constants say, off by up to 2 %.
fn measured(n: u64, constants: &Constants, factor: impl Fn(&StepRow) -> f64) -> Vec<StepRow> {
    let context = context();
    let rows: Vec<StepRow> = (0..n).map(row).collect();
    let system = (context.system, context.stack);
    let set = Set::new("test", &rows, Some(Gradients::Half), system, one_rank);
    assert_eq!(set.rows.len(), rows.len());
    let times = set.predict(constants, &Corrections::default());
    let timed = |(index, (row, time)): (usize, (StepRow, f64))| {
        let time_s = time * factor(&row) * (1.0 + 0.01 * (index % 5) as f64 - 0.02);
        StepRow { time_s, ..row }
    };
    rows.into_iter().zip(times).enumerate().map(timed).collect()
}

fn nominal() -> Constants {
    Constants::nominal(&megatron_deepspeed_2021())
}

fn of(found: &StepCalibration, constant: Constant) -> Corrected {
    *found.constants.iter().find(|one| one.constant == constant).unwrap()
}

#[test]
fn constants_that_rows_tell_are_found_and_the_others_stay() {
    let truth = nominal().with(Constant::LaunchFloor, 1.1e-3).with(Constant::Derating, 0.75);
    let found = calibrate(&measured(48, &truth, |_| 1.0), &context()).unwrap();
    assert!(found.after.mape < 2.0 && found.before.mape > 8.0, "{found:?}");
    for constant in [Constant::LaunchFloor, Constant::Derating] {
        let one = of(&found, constant);
        assert!((one.value / truth.get(constant) - 1.0).abs() < 0.05, "{one:?}");
        assert!(
            matches!(one.identified, Identified::Fitted { log_error } if log_error < 0.1),
            "{one:?}"
        );
    }
    for constant in [Constant::Network, Constant::Neighbour, Constant::Unaligned] {
        let one = of(&found, constant);
        assert_eq!(
            (one.identified, one.value),
            (Identified::NoEffect, one.nominal),
            "{constant:?}"
        );
    }
    for one in found.constants.iter().filter(|one| one.identified == Identified::TooLittle) {
        assert_eq!(one.value, one.nominal, "{one:?}");
    }
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn few_rows_move_constants_no_further_than_is_believed() {
    for (n, factor) in [(1, 0.8), (2, 4.0), (5, 0.8), (7, 3.0)] {
        let rows = measured(n, &nominal(), |_| factor);
        let found = calibrate(&rows, &context()).unwrap();
        assert!(found.warnings.iter().any(|w| w.code == "few-steps"), "{n} rows");
        let mut n_moved = 0;
        for one in &found.constants {
            let moved = (one.value / one.nominal).ln().abs();
            assert!(moved <= one.constant.log_sd() + 1e-6, "{n} rows: {one:?}");
            n_moved += usize::from(moved > 0.0);
        }
        assert!(n_moved <= rows.len() / identified::ROWS_PER_CONSTANT, "{n} rows: {n_moved}");
    }
}

#[test]
fn many_rows_move_constants_by_three_standard_deviations_at_most() {
    let found = calibrate(&measured(32, &nominal(), |_| 30.0), &context()).unwrap();
    for one in &found.constants {
        let moved = (one.value / one.nominal).ln().abs();
        assert!(moved <= 3.0 * one.constant.log_sd() + 1e-6, "{one:?}");
    }
}

#[test]
fn what_is_left_over_by_cell_becomes_a_table() {
    // Neither a floor nor a rate: it goes up and down with the hidden size.
    let factor = |row: &StepRow| if row.hidden.ilog2().is_multiple_of(2) { 1.25 } else { 0.95 };
    let found = calibrate(&measured(144, &nominal(), factor), &context()).unwrap();
    let Table::Kept(table) = &found.table else { panic!("{:?}", found.table) };
    assert_eq!(table.cells().count(), 48);
    let with = found.with_table.clone().unwrap().mape;
    assert!(with < 2.0 && with < found.after.mape / 2.0, "{with} {}", found.after.mape);
    let stack = &found.profile.stacks[&found.stack];
    assert_eq!(stack.corrections.iter().map(|c| c.n_rows).sum::<u64>(), 144);
    let (constants, corrections) = stored(&megatron_deepspeed_2021(), Some(stack));
    assert_eq!(&corrections, table);
    for one in &found.constants {
        assert_eq!(constants.get(one.constant), one.value);
    }
    // From its own result on there is nothing left to correct.
    let rows = measured(144, &nominal(), factor);
    let again = calibrate(&rows, &Context { base: found.profile, ..context() }).unwrap();
    assert!((again.before.mape - with).abs() < 1e-9, "{} {with}", again.before.mape);
}

#[test]
fn rows_that_the_form_explains_need_no_table() {
    let found = calibrate(&measured(144, &nominal(), |_| 1.0), &context()).unwrap();
    assert!(matches!(found.table, Table::Left(_)), "{:?}", found.table);
    let found = calibrate(&measured(40, &nominal(), |_| 1.0), &context()).unwrap();
    assert!(matches!(&found.table, Table::Left(why) if why.contains("cell")), "{:?}", found.table);
}

/// Puts something impossible into a row.
type Spoil = fn(&mut StepRow);

#[test]
fn rows_that_no_run_has_are_refused_with_their_place() {
    let good = measured(9, &nominal(), |_| 1.0);
    let cases: [(&str, Spoil); 7] = [
        ("hidden", |row| row.hidden = 1 << 40),
        ("layers", |row| row.layers = Some(u32::MAX)),
        ("heads", |row| row.heads = Some(1 << 30)),
        ("seq", |row| row.sequence = 1 << 40),
        ("pp", |row| row.pipeline = 9),
        ("global_batch", |row| row.global_batch = 1 << 40),
        ("iter_s", |row| row.time_s = 1e300),
    ];
    for (column, spoil) in cases {
        let mut rows = good.clone();
        spoil(&mut rows[4]);
        let error = calibrate(&rows, &context()).unwrap_err();
        assert_eq!(error.code, "step-out-of-range", "{column}");
        let text = format!("{:?}", error.facts);
        assert!(text.contains(column) && text.contains("Count(6)"), "{text}");
    }
    let mut rows = good.clone();
    (rows[4].pipeline, rows[4].layers) = (2, Some(8));
    assert_eq!(calibrate(&rows, &context()).unwrap_err().code, "no-schedule");
    assert_eq!(calibrate(&[], &context()).unwrap_err().code, "nothing-calibrated");
    for row in &mut rows {
        row.time_s = 1e-6;
    }
    assert_eq!(calibrate(&rows, &context()).unwrap_err().code, "nothing-calibrated");
}

#[test]
fn repeated_rows_count_once() {
    let mut rows = measured(20, &nominal(), |_| 1.1);
    let alone = calibrate(&rows, &context()).unwrap();
    rows.extend(rows.clone().into_iter().take(3).map(|row| StepRow { line: 99, ..row }));
    let found = calibrate(&rows, &context()).unwrap();
    assert_eq!((found.n_rows, &found.constants), (20, &alone.constants));
    assert!(found.warnings.iter().any(|warning| warning.code == "duplicate-row"));
}

/// Two rows of 48 took ten times as long, as runs do that share their devices: they are named, and the
/// constants are those that the other 46 have alone.
#[test]
fn outliers_are_named_and_move_nothing() {
    let truth = nominal().with(Constant::LaunchFloor, 1.1e-3).with(Constant::Derating, 0.75);
    let mut rows = measured(48, &truth, |_| 1.0);
    let lines = [rows[7].line, rows[30].line];
    let without: Vec<StepRow> =
        rows.iter().filter(|row| !lines.contains(&row.line)).cloned().collect();
    rows[7].time_s *= 10.0;
    rows[30].time_s *= 10.0;
    let found = calibrate(&rows, &context()).unwrap();
    let warning = found.warnings.iter().find(|warning| warning.code == "outlier-steps").unwrap();
    assert!(
        warning.message.ends_with(&format!("{}, {}", lines[0], lines[1])),
        "{}",
        warning.message
    );
    let alone = calibrate(&without, &context()).unwrap();
    assert_eq!(found.constants, alone.constants);
    assert!(alone.warnings.is_empty(), "{:?}", alone.warnings);
}

/// Constants of mixtures of experts are no start for dense rows; those of dense models are, and stay stated.
#[test]
fn a_base_of_other_models_is_no_start() {
    let truth = nominal().with(Constant::Derating, 0.75);
    let rows = measured(24, &truth, |_| 1.0);
    let alone = calibrate(&rows, &context()).unwrap();
    assert_eq!(alone.profile.stacks.values().next().unwrap().models, [ModelKind::Dense].into());
    let on_base = |models: &[ModelKind]| {
        let mut context = context();
        context.base = alone.profile.clone();
        for stack in context.base.stacks.values_mut() {
            stack.models = models.iter().copied().collect();
        }
        calibrate(&rows, &context).unwrap()
    };
    let warned = |found: &StepCalibration| {
        found.warnings.iter().any(|warning| warning.code == "base-other-models")
    };
    let others = on_base(&[ModelKind::Experts]);
    assert!(warned(&others) && others.constants == alone.constants);
    let same = on_base(&[ModelKind::Dense]);
    assert!(!warned(&same) && same.before.mape < alone.before.mape);
    let both = on_base(&[ModelKind::Dense, ModelKind::Experts]);
    assert_eq!(both.profile.stacks.values().next().unwrap().models.len(), 2);
}

/// Any four of 16 rows took five times as long: they are named, and over ten draws the error
/// on all rows is within 1.3 times that of 16 good ones.
#[test]
fn a_quarter_of_faulty_rows_is_named() {
    let truth = nominal().with(Constant::LaunchFloor, 1.1e-3).with(Constant::Derating, 0.75);
    let all = measured(48, &truth, |_| 1.0);
    let mut errors = [0.0; 2];
    for draw in 0..10_usize {
        let drawn: Vec<StepRow> = (0..16).map(|at| all[(3 * at + draw) % 48].clone()).collect();
        let faulty = [0, 5, 6, 11].map(|at| (at + draw) % 16);
        let mut rows = drawn.clone();
        faulty.iter().for_each(|at| rows[*at].time_s *= 5.0);
        let found = calibrate(&rows, &context()).unwrap();
        let warning = found.warnings.iter().find(|warning| warning.code == "outlier-steps");
        let named = warning.map(|warning| warning.facts.clone());
        let mut lines = faulty.map(|at| rows[at].line);
        // Rows stand in the order of the table.
        lines.sort_by_key(|line| rows.iter().position(|row| row.line == *line));
        let lines = lines.map(|line| line.to_string()).to_vec();
        assert_eq!(named, Some(vec![("rows", lines.into())]), "draw {draw}");
        let off = |rows: &[StepRow]| {
            let profile = calibrate(rows, &context()).unwrap().profile;
            let (constants, corrections) = stored(&context().stack, profile.stacks.values().next());
            let Context { system, stack, .. } = context();
            let set = Set::new("test", &all, Some(Gradients::Half), (system, stack), one_rank);
            judged(&set, &set.predict(&constants, &corrections)).unwrap().mape
        };
        errors = [errors[0] + off(&rows), errors[1] + off(&drawn)];
    }
    // Of 12 rows a draw may tell a constant less than of 16.
    let [faulty, clean] = errors;
    assert!(faulty < 1.3 * clean, "{faulty} beside {clean}");
}

/// One configuration measured 24 times tells one number, and no constant by it: every one stays, however
/// far off that number is.
#[test]
fn repeats_of_one_configuration_leave_constants_as_they_were() {
    let one = measured(1, &nominal(), |_| 1.6).remove(0);
    let again = |n: u64| StepRow {
        line: n + 2,
        time_s: one.time_s * (1.0 + 1e-4 * n as f64),
        ..one.clone()
    };
    let rows: Vec<StepRow> = (0..24).map(again).collect();
    let found = calibrate(&rows, &context()).unwrap();
    assert!(found.constants.iter().all(|one| one.value == one.nominal), "{:?}", found.constants);
    let warning = found.warnings.iter().find(|warning| warning.code == "one-kind").unwrap();
    let kind = "all 24 rows have hidden 1024, tensor 1, pipeline 1, micro-batch 1";
    assert!(warning.message.starts_with(kind), "{}", warning.message);
    let few = found.warnings.iter().find(|warning| warning.code == "few-steps").unwrap();
    assert!(few.message.starts_with("24 rows of 1 configurations are dangerously few"));
}

/// Each proposal narrows the error of a constant by a tenth or more, and many rows leave less to narrow.
#[test]
fn runs_are_proposed_that_tell_most_of_what_is_left() {
    let truth = nominal().with(Constant::LaunchFloor, 1.1e-3).with(Constant::Derating, 0.75);
    let rows = measured(8, &truth, |_| 1.0);
    let next = calibrate(&rows, &context()).unwrap().next;
    assert!((1..=3).contains(&next.len()), "{next:?}");
    for run in &next {
        let [before, after] = run.log_errors;
        assert!(after < 0.9 * before && before <= run.constant.log_sd() + 1e-9, "{run:?}");
        assert!(rows.iter().any(|row| row.line == run.line), "{run:?}");
    }
    // Many rows of many kinds leave less to tell.
    let many = calibrate(&measured(144, &truth, |_| 1.0), &context()).unwrap().next;
    let told = |runs: &[NextRun]| runs.iter().map(|run| run.log_errors[1]).sum::<f64>();
    assert!(many.len() < 3 || told(&many) <= told(&next), "{many:?} {next:?}");
}
