use super::*;

const PACKED: [&str; 2] =
    ["large/gemm/one/1.10.0/gemm_perf.parquet", "large/gemm/one/1.9.0/gemm_perf.parquet"];

fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/aiconfigurator/systems/data");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

#[test]
fn columns_are_what_was_written_with_either_packing() {
    for (name, n_rows, factor) in [(PACKED[0], 35, 1.0), (PACKED[1], 20, 2.0)] {
        let table = read(&sample(name), &["m", "gemm_dtype", "latency", "absent"]).unwrap();
        assert_eq!((table.n_rows, table.columns.len()), (n_rows, 3), "{name}");
        let Column::Text(texts, places) = &table.columns["gemm_dtype"] else { panic!() };
        let text = |row: usize| texts[places[row].unwrap() as usize].as_str();
        assert_eq!((text(0), text(1)), ("bfloat16", "unheard_of"));
        let Column::Whole(m) = &table.columns["m"] else { panic!() };
        assert_eq!((m[0], m[2]), (Some(1), Some(16)));
        let Column::Real(latency) = &table.columns["latency"] else { panic!() };
        // One row of 4,096 by 1,024 weights moves 8.4 MB: 5 us and 8.4 us.
        let moved = 2.0 * (1024.0 + 4096.0 + 1024.0 * 4096.0);
        let expected: f64 = factor * (5e-6 + moved / 1e12) * 1e3;
        assert!((latency[0].unwrap() - expected).abs() < 1e-12, "{latency:?}");
    }
}

#[test]
fn a_file_that_is_cut_off_ends_in_an_error() {
    for name in PACKED {
        let whole = sample(name);
        for length in 0..whole.len() {
            let error = read(&whole[..length], &["m", "latency"]).unwrap_err();
            assert_eq!(error.code, "bad-parquet");
        }
    }
}

#[test]
fn a_file_with_wrong_bits_is_read_or_refused() {
    let names = ["gemm_dtype", "m", "n", "k", "latency"];
    for name in PACKED {
        let whole = sample(name);
        let mut refused = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            match read(&bytes, &names) {
                Ok(table) => assert!(table.n_rows <= MAX_ROWS),
                Err(error) => {
                    assert_eq!(error.code, "bad-parquet");
                    refused += 1;
                }
            }
        }
        assert!(refused > whole.len() / 8, "{name}: {refused}");
    }
}

#[test]
fn what_a_file_says_of_its_size_is_not_believed() {
    let mut bytes = sample(PACKED[0]);
    let end = bytes.len() - 8;
    bytes[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(read(&bytes, &["m"]).is_err());
    // A list of two billion elements, and a field of a size below zero.
    let long = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
    assert!(Reader(&long).fields().is_err());
    let nested = [0x1c; 100];
    assert!(Reader(&nested).fields().is_err());
}
