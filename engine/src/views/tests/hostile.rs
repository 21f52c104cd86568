//! Bytes of views that were cut off or changed: an answer or an error, never a panic or a hang.

use super::Random;
use super::plans::{file_of_ops, file_of_run};
use crate::views::View;

/// Asks for everything.
fn read(bytes: &[u8]) -> bool {
    let Ok(view) = View::open(bytes) else { return false };
    let overview = view.overview();
    let step = overview.step_time_ns;
    let mut is_whole = view.timeline(None, None, &[], 400).is_ok();
    is_whole &= view.timeline(None, None, &[], usize::MAX).is_ok();
    is_whole &= view.timeline(Some(step / 3), Some(step / 2), &[], 2000).is_ok();
    for device in overview.devices.iter().take(2) {
        is_whole &= view.memory(&device.device, 30).is_ok();
        is_whole &= view.memory(&device.device, 100_000).is_ok();
    }
    is_whole &= view.graph(None, 1, &[]).is_ok();
    is_whole &= view.find("a", 10).is_ok();
    is_whole & view.graph(None, 3, &[]).is_ok()
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let mut random = Random(1);
    for file in [file_of_run(), file_of_ops()] {
        assert!(read(file));
        for _ in 0..60 {
            let end = random.below(file.len() as u64) as usize;
            assert!(!read(&file[..end]), "cut off at {end}");
        }
        for round in 0..300u64 {
            let mut changed = file.to_vec();
            for _ in 0..=random.below(6) {
                // Every other time the table and what lies in front.
                let end = if round % 2 == 0 { changed.len() as u64 } else { 8 + 16 * 10 };
                let at = random.below(end) as usize;
                changed[at] = random.below(256) as u8;
            }
            read(&changed);
        }
        // Numbers of the head are taken at their worst.
        let text = String::from_utf8_lossy(file).into_owned();
        let start = text.find("{\"plans\"").unwrap();
        for number in ["0", "1", "18446744073709551615", "9223372036854775807", "4294967296"] {
            for _ in 0..20 {
                let mut changed = file[start..].to_vec();
                let digits: Vec<usize> = (0..4000.min(changed.len() - 1))
                    .filter(|at| {
                        changed[*at].is_ascii_digit() && !changed[*at - 1].is_ascii_digit()
                    })
                    .collect();
                let at = digits[random.below(digits.len() as u64) as usize];
                let end = (at..).find(|end| !changed[*end].is_ascii_digit()).unwrap();
                changed.splice(at..end, number.bytes());
                let mut whole = file[..start].to_vec();
                // The head grows or shrinks: its length in the table with it.
                let by = number.len() as i64 - (end - at) as i64;
                let old = u64::from_le_bytes(whole[16..24].try_into().unwrap());
                whole[16..24].copy_from_slice(&old.wrapping_add_signed(by).to_le_bytes());
                whole.extend(changed);
                for section in 1..10 {
                    let entry = 8 + 16 * section;
                    let old = u64::from_le_bytes(whole[entry..entry + 8].try_into().unwrap());
                    let new = old.wrapping_add_signed(by).to_le_bytes();
                    whole[entry..entry + 8].copy_from_slice(&new);
                }
                read(&whole);
            }
        }
    }
}
