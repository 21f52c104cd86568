//! What choosing the largest elements of a tensor takes, before only they are sent.

use ir::cluster::DeviceKind;
use ir::profile::Profile;

/// The family of memory streams of a profile that states it; its bytes are those that are chosen from.
pub const FAMILY: &str = "top-k";

/// Seconds that choosing the largest of `n` elements takes over `n log2 n`, on one NVIDIA P102-100
/// (HKBU-HPML/MG-WFBP), and the memory bandwidth of that card (data sheet).
const SELECTION_S: f64 = 2.19e-10;
const SELECTION_BANDWIDTH: f64 = 440e9;

/// What choosing takes: `start_up_s + bytes x per_byte_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Seconds of each choice, however small.
    pub start_up_s: f64,
    /// Seconds of each byte that is chosen from.
    pub per_byte_s: f64,
}

/// Whether a profile states what choosing takes on a kind of device.
#[must_use]
pub fn is_measured(kind: &DeviceKind, profile: &Profile) -> bool {
    profile.streams.get(&kind.name).is_some_and(|streams| streams.contains_key(FAMILY))
}

/// What choosing from so many elements of so many bytes takes: the line of the profile; where it has a table,
/// the time of so many bytes, shared out over them; else as long as on the card that was published, by the
/// memory bandwidth of the device (nominal); `None` where nobody states that bandwidth.
#[must_use]
pub fn selection(
    (kind, profile): (&DeviceKind, &Profile),
    (elements, element_bytes): (f64, f64),
) -> Option<Selection> {
    let measured = profile.streams.get(&kind.name).and_then(|streams| streams.get(FAMILY));
    if let Some(stream) = measured {
        let bytes = (elements * element_bytes).max(1.0);
        let (start_up_s, seconds) = stream.parts(bytes);
        return Some(Selection { start_up_s, per_byte_s: seconds / bytes });
    }
    let ratio = SELECTION_BANDWIDTH / kind.memory_bandwidth?.get();
    let per_element_s = SELECTION_S * elements.log2().max(1.0) * ratio;
    Some(Selection { start_up_s: 0.0, per_byte_s: per_element_s / element_bytes })
}

#[cfg(test)]
mod tests {
    use ir::profile::{Provenance, SizePoint, StreamConstants};
    use ir::units::{Bytes, BytesPerSecond, Seconds};

    use super::*;

    #[test]
    fn by_hand() {
        let memory_bandwidth = BytesPerSecond::new(880e9);
        let kind = DeviceKind { name: "own".to_owned(), memory_bandwidth, ..DeviceKind::default() };
        let mut profile = Profile::default();
        let n = f64::from(1 << 20);
        // 20 levels at half of 0.219 ns, of 4 bytes each.
        let found = selection((&kind, &profile), (n, 4.0)).unwrap();
        assert!((found.per_byte_s / (20.0 * 1.095e-10 / 4.0) - 1.0).abs() < 1e-12);
        assert_eq!(found.start_up_s, 0.0);
        assert_eq!(selection((&DeviceKind::default(), &profile), (n, 4.0)), None);
        let stream = StreamConstants {
            launch: Seconds::new(3e-6).unwrap(),
            bandwidth: BytesPerSecond::new(2e11).unwrap(),
            table: Vec::new(),
            provenance: Provenance::Nominal { source: String::new() },
        };
        assert!(!is_measured(&kind, &profile));
        let streams = [(FAMILY.to_owned(), stream)].into();
        profile.streams.insert(kind.name.clone(), streams);
        let found = selection((&kind, &profile), (n, 4.0)).unwrap();
        assert_eq!(found, Selection { start_up_s: 3e-6, per_byte_s: 5e-12 });
        assert!(is_measured(&kind, &profile));
        let of = |bytes, time| SizePoint { bytes: Bytes(bytes), time: Seconds::new(time).unwrap() };
        profile.streams.get_mut(&kind.name).unwrap().get_mut(FAMILY).unwrap().table =
            vec![of(1 << 20, 1e-3), of(3 << 20, 2e-3), of(6 << 20, 8e-3)];
        // 4 MiB are a third of the way from 2 to 8 ms, 1 KiB takes as long as 1 MiB, 12 MiB another 12 ms.
        for (elements, seconds) in [(n, 4e-3), (256.0, 1e-3), (3.0 * n, 20e-3)] {
            let found = selection((&kind, &profile), (elements, 4.0)).unwrap();
            assert_eq!(found.start_up_s, 0.0);
            assert!(
                (found.per_byte_s * 4.0 * elements / seconds - 1.0).abs() < 1e-12,
                "{elements}"
            );
        }
        // One size alone tells a rate.
        profile.streams.get_mut(&kind.name).unwrap().get_mut(FAMILY).unwrap().table.truncate(1);
        let found = selection((&kind, &profile), (4.0 * n, 4.0)).unwrap();
        assert!((found.per_byte_s * f64::from(1 << 20) / 1e-3 - 1.0).abs() < 1e-12);
    }
}
