//! Published training steps on GPUs of AMD.

use std::path::Path;

use super::folder::{Folder, diamond};

/// The share of the peak was settled on these rows.
#[test]
fn steps_on_mi325x_are_near_those_published() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/amd_training");
    let folder = Folder::new(&diamond());
    let ran = folder.run(&format!("validate {}/steps.csv --rows rows.csv", data.display()));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = folder.read("rows.csv");
    let nominal: Vec<&str> = rows.lines().filter(|line| line.contains(",nominal,")).collect();
    assert_eq!(nominal.len(), 5, "{rows}");
    let of_llama = nominal.iter().filter(|line| line.contains("llama"));
    let errors: Vec<f64> =
        of_llama.map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(errors.len(), 4, "{rows}");
    assert!(errors.iter().all(|error: &f64| error.abs() < 12.0), "{rows}");
}
