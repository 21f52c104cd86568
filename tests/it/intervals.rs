//! The intervals of plans rest on what published runs show today: `MESHWRIGHT_BLESS=1` writes the table
//! anew after prices have changed.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use cost_model::accuracy::intervals::table;
use cost_model::runs::forms::interval::Judged;

use crate::data;

const HEAD: &str = "\
//! What published runs showed, nothing fitted: `cargo test --test it -- intervals` holds this table
//! against `validate`, and writes it anew with `MESHWRIGHT_BLESS=1`.

use super::{Architecture, Family, Judged, Likeness};

const fn judged(
    set: &'static str,
    (stack, architecture, bits): (Family, Architecture, u32),
    [is_sharded, has_experts]: [bool; 2],
    (n_models, squares): (u32, f64),
) -> Judged<'static> {
    let like = Likeness { stack, architecture, bits, is_sharded, has_experts };
    Judged { set, like, n_models, squares }
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
    for own in judged {
        let like = own.like;
        let _ = writeln!(
            text,
            "    judged({:?}, (Family::{:?}, Architecture::{:?}, {}), {:?}, ({}, {:.4})),",
            own.set,
            like.stack,
            like.architecture,
            like.bits,
            [like.is_sharded, like.has_experts],
            own.n_models,
            own.squares
        );
    }
    text.push_str("];\n");
    text
}

#[test]
fn the_table_behind_intervals_is_that_of_the_accuracy_page() {
    let Some(data) = data::folder() else { return };
    let residuals = engine::validate::residuals(&data.join("data")).unwrap();
    let found = source(&table(&residuals));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("cost_model/src/runs/forms/interval/judged.rs");
    if env::var_os("MESHWRIGHT_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), found, "prices changed: bless it");
}
