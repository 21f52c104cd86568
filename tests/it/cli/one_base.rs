//! What a plan says of a launcher is what `--for` gives for it.

use super::kinds;

#[test]
fn what_is_said_of_a_launcher_is_what_for_gives() {
    let folder = kinds::folder();
    let mut n = 0;
    for model in ["billion.json", "dense.json", "experts.json"] {
        for (cluster, batch) in [("one.yaml", 8), ("two.yaml", 32)] {
            let asked = format!(
                "train {model} --cluster {cluster} --global-batch {batch} --sequence-length 512 \
                 --deterministic --json"
            );
            let answer = folder.run(&asked).exits(0).json();
            let Some(nearest) = answer["runs_on"]["nearest_s"].as_object() else { continue };
            for (launcher, step) in nearest {
                let best = folder.run(&format!("{asked} --for {launcher}")).exits(0).json();
                assert_eq!(best["best"]["step_time_s"], *step, "{asked} --for {launcher}");
                n += 1;
            }
        }
    }
    assert!(n >= 30, "{n}");
}
