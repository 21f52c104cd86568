#![allow(clippy::unwrap_used, missing_docs)]
#[path = "../../../tests/it/laws.rs"] mod laws;
#[path = "../../../tests/it/layered.rs"] mod layered;
#[path = "../../../tests/it/oracle.rs"] mod oracle;
#[path = "../../../tests/it/random_problem.rs"] mod random_problem;
#[path = "../../../tests/it/recipes.rs"] mod recipes;
#[path = "../../../tests/it/time_grid.rs"] mod time_grid;
