//! The pages know all that lanes can do.

use super::super::kind::Kind;

#[test]
fn every_kind_of_slice_has_a_title_and_a_fill() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/ui/src/");
    let read = |name: &str| std::fs::read_to_string(root.to_owned() + name).unwrap();
    let (titles, hatches) = (read("views-api.ts"), read("pictures/hatches.ts"));
    for kind in Kind::ALL {
        let name = kind.name();
        let key = if name.contains('-') { format!("\"{name}\": ") } else { format!("  {name}: ") };
        assert!(titles.contains(&(key.clone() + "[")), "no title of {name}");
        // An unused device is a frame around nothing.
        let is_hatched = name.starts_with("idle-") && kind != Kind::Unused;
        assert_eq!(hatches.contains(&(key + "\"")), is_hatched, "hatches of {name}");
    }
}
