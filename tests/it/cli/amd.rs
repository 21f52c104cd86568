//! Published training steps on GPUs of AMD.

use std::path::Path;

use super::folder::{Folder, diamond};

/// On MI325X the share of the peak was settled on these rows, on MI355X it is that of the MI325X.
#[test]
fn steps_of_two_generations_are_near_those_published() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/amd_training");
    let folder = Folder::new(&diamond());
    let ran = folder.run(&format!("validate {}/steps.csv --rows rows.csv", data.display()));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = folder.read("rows.csv");
    let errors: Vec<f64> = rows
        .lines()
        .filter(|line| line.contains(",nominal,"))
        .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(errors.len(), 5, "{rows}");
    assert!(errors.iter().all(|error| error.abs() < 25.0), "{rows}");
    let n_near = errors.iter().filter(|error| error.abs() < 12.0).count();
    assert!(n_near >= 4, "{rows}");
}
