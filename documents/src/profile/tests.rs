//! Profile documents against their schema.

use super::*;

use crate::tests::sample::profile;

#[test]
fn the_schema_takes_a_profile_and_refuses_a_maimed_one() {
    let good = serde_json::to_value(ProfileDocument::from_ir(&profile())).unwrap();
    let schema = crate::tests::schema::profile().to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&good), "{:?}", validator.iter_errors(&good).next());
    let back: ProfileDocument = serde_json::from_value(good.clone()).unwrap();
    assert_eq!(back, ProfileDocument::from_ir(&profile()));
    let maim: [fn(&mut serde_json::Value); 7] = [
        |v| v["kinds"]["box"]["kernels"]["launch_us"] = 2.into(),
        |v| v["kinds"]["box"]["kernels"]["launch_s"] = "2 us".into(),
        |v| v["links"]["loopback"]["provenance"]["how"] = "guessed".into(),
        |v| drop(v.as_object_mut().unwrap().remove("version")),
        |v| v["kinds"]["box"]["collectives"][0]["ranks"] = (-8).into(),
        |v| v["kinds"]["box"]["facts"]["cache_mb"] = 40.into(),
        |v| v["stacks"]["eager"]["corrections"][0]["factor"] = "1.1".into(),
    ];
    for maim in maim {
        let mut bad = good.clone();
        maim(&mut bad);
        assert!(!validator.is_valid(&bad), "{bad}");
        assert!(serde_json::from_value::<ProfileDocument>(bad).is_err());
    }
}
