//! Today's date.

use std::time::{SystemTime, UNIX_EPOCH};

/// Today in UTC, as ISO 8601.
#[must_use]
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    iso(seconds / 86_400)
}

/// The date so many days after 1970-01-01, in the Gregorian calendar.
fn iso(mut days: u64) -> String {
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_by_hand() {
        assert_eq!(iso(0), "1970-01-01");
        assert_eq!(iso(11_016), "2000-02-29");
        assert_eq!(iso(11_017), "2000-03-01");
        assert_eq!(iso(20_454), "2026-01-01");
    }
}
