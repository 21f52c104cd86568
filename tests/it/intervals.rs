//! The intervals of plans rest on what published runs show today: `MESHWRIGHT_BLESS=1` writes the table
//! anew after prices have changed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use accuracy::judged::intervals::table;
use cost_model::runs::forms::interval::{Family, Figure, Judged};
use ir::cluster::MARGIN;

use crate::data;

const HEAD: &str = "\
//! What published runs showed, nothing fitted: `cargo test --test it -- intervals` holds this table
//! against `validate`, and writes it anew with `MESHWRIGHT_BLESS=1`.

use super::{Architecture, Family, Figure, Judged, Likeness};

const fn judged(
    figure: Figure,
    set: &'static str,
    (stack, architecture, bits): (Family, Architecture, u32),
    [is_sharded, has_experts]: [bool; 2],
    (n_models, squares): (u32, f64),
) -> Judged<'static> {
    let like = Likeness { stack, architecture, bits, is_sharded, has_experts };
    Judged { figure, set, like, n_models, squares }
}

";

fn source(judged: &[Judged<'_>]) -> String {
    let mut text = HEAD.to_owned();
    let _ = write!(
        text,
        "/// Of each published set, runs that are alike.\n\
         #[rustfmt::skip]\n\
         pub static JUDGED: [Judged<'static>; {}] = [\n",
        judged.len()
    );
    for row in judged {
        let like = row.like;
        let _ = writeln!(
            text,
            "    judged(Figure::{:?}, {:?}, (Family::{:?}, Architecture::{:?}, {}), {:?}, ({}, {:.4})),",
            row.figure,
            row.set,
            like.stack,
            like.architecture,
            like.bits,
            [like.is_sharded, like.has_experts],
            row.n_models,
            row.squares
        );
    }
    text.push_str("];\n");
    text
}

/// A plan fits where its peak is no more than what the margin leaves of a device: of each set of
/// allocator peaks nine rows in ten then hold no more than all of it, and a margin of one percent less
/// would not do.
#[test]
fn the_margin_of_memory_is_the_least_whole_percent_that_nine_peaks_in_ten_stay_within() {
    let Some(data) = data::folder() else { return };
    let residuals = accuracy::residuals(&data.join("data")).unwrap();
    let above = |margin: f64| {
        let peaks = residuals.iter().filter(|residual| residual.figure == Figure::Peak);
        let mut sets: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        // nvidia-smi counts what no allocator does.
        for residual in peaks.filter(|residual| residual.like.stack != Family::Megatron2021) {
            let [n_above, all] = sets.entry(&residual.set).or_default();
            *n_above += usize::from(residual.log > -(1.0 - margin).ln());
            *all += 1;
        }
        let shares = sets.values().map(|[n_above, all]| *n_above as f64 / *all as f64);
        shares.fold(0.0, f64::max)
    };
    assert!(above(MARGIN) <= 0.1, "{}", above(MARGIN));
    assert!(above(MARGIN - 0.01) > 0.1, "{}", above(MARGIN - 0.01));
}

#[test]
fn the_table_behind_intervals_is_that_of_the_accuracy_page() {
    let Some(data) = data::folder() else { return };
    let residuals = accuracy::residuals(&data.join("data")).unwrap();
    let found = source(&table(&residuals));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("cost_model/src/runs/forms/interval/judged.rs");
    if env::var_os("MESHWRIGHT_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), found, "prices changed: bless it");
}

/// Figures in percent of the row of a table that begins with some cells.
fn row_of<'p>(page: &'p str, cells: &str) -> Option<Vec<&'p str>> {
    let line = page.lines().find(|line| line.starts_with(&format!("| {cells} |")))?;
    Some(line.split('|').map(str::trim).collect())
}

/// The table of docs/calibrate.md: of each set the error before and after own steps, as the accuracy page has them.
#[test]
fn the_recipe_quotes_what_the_accuracy_page_says_of_own_steps() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    let accuracy = fs::read_to_string(docs.join("accuracy.md")).unwrap();
    let path = docs.join("calibrate.md");
    let page = fs::read_to_string(&path).unwrap();
    let way = "up to eight of the same cluster and stack";
    let mut table = String::new();
    for line in accuracy.lines().filter(|line| line.contains(&format!(", own steps | {way} | "))) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        // The same part stands in the table of worst rows too.
        if cells.len() < 10 {
            continue;
        }
        let [part, n, mean, worst] = [1, 3, 4, 8].map(|at| cells[at]);
        let before = |what: &str| row_of(&accuracy, &format!("{part}, {way} | {what}"));
        let (Some(of_mean), Some(of_worst)) =
            (before("mean error without them"), before("worst error without them"))
        else {
            continue;
        };
        let set = part.trim_end_matches(", own steps");
        let _ = writeln!(
            table,
            "| {set} | {n} | {} | {mean} | {} | {worst} |",
            of_mean[3], of_worst[3]
        );
    }
    assert!(table.lines().count() > 5, "{table}");
    let head = "|---|--:|--:|--:|--:|--:|\n";
    let (above, _) = page.split_once(head).unwrap();
    let found = format!("{above}{head}{table}");
    if env::var_os("MESHWRIGHT_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(page, found, "the accuracy page changed: bless the page");
}

/// The figures of left-out models and techniques in README and the index are those of the accuracy page.
#[test]
fn the_readme_quotes_the_accuracy_page() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let accuracy = fs::read_to_string(root.join("docs/accuracy.md")).unwrap();
    let quoting =
        ["README.md", "docs/how-right.md"].map(|page| fs::read_to_string(root.join(page)).unwrap());
    let is_quoted = |figure: &str| quoting.iter().all(|page| page.contains(figure));
    for (cells, before, between) in [
        ("runs Bridge FP8 dense | leave one model out", "median ", " %, worst "),
        ("runs Bridge experts | leave one model out", "experts there ", " and "),
        ("runs torchtitan | leave one technique out", "torchtitan on H100 ", " and "),
    ] {
        let row = row_of(&accuracy, cells).unwrap();
        let [median, worst] = [6, 8].map(|at| row[at].trim_end_matches(" %"));
        let quoted = format!("{before}{median}{between}{worst} %");
        assert!(is_quoted(&quoted), "{quoted}");
    }
    let nothing = row_of(&accuracy, "steps vTrain single | nothing fitted").unwrap();
    assert!(is_quoted(&format!("nothing fitted: mean {}", nothing[4])));
}
