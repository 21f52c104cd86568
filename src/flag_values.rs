//! Values of flags, from text.

use std::time::Duration;

/// A whole number of at least 1.
pub(crate) fn positive(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("needs a whole number of at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Devices: a whole number from 1 to 4,096.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=4096) => Ok(count),
        _ => Err("needs a whole number from 1 to 4096".to_owned()),
    }
}

/// `NAME=N` with `N` at least 1; the name may hold `=` itself.
pub(crate) fn dimension(text: &str) -> Result<(String, u64), String> {
    match extent(text)? {
        (_, 0) => Err("needs a whole number of at least 1 after `=`".to_owned()),
        named => Ok(named),
    }
}

/// `NAME=N`; the name may hold `=` itself.
pub(crate) fn extent(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text.rsplit_once('=').ok_or("needs the form NAME=N")?;
    let number = number.parse().map_err(|_| "needs a whole number after `=`")?;
    if name.is_empty() {
        Err("needs a name before `=`".to_owned())
    } else {
        Ok((name.to_owned(), number))
    }
}

/// `1%` or `0.01`; at least 0.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share: Option<f64> = number.trim().parse().ok();
    let share = share.map(|share| share * scale).filter(|share| share.is_finite() && *share >= 0.0);
    share.ok_or_else(|| "needs a share such as 1% or 0.01".to_owned())
}

/// The longest time that is taken, some 31 years.
const LONGEST_SECONDS: f64 = 1e9;

/// `500ms`, `30s`, `2m`, `1h`, or a bare number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, scale) = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
        .unwrap_or((text, 1.0));
    let wrong = || "needs a time such as 500ms, 30s or 2m".to_owned();
    let seconds: f64 = number.trim().parse().map_err(|_| wrong())?;
    // No clock adds up much more than that.
    if seconds * scale > LONGEST_SECONDS {
        return Err(format!(
            "is too long; leave the limit out, or give at most {LONGEST_SECONDS:e} s"
        ));
    }
    Duration::try_from_secs_f64(seconds * scale).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert!(duration("-1s").is_err() && duration("nan").is_err() && duration("1e30h").is_err());
        assert!(duration("1e19").is_err() && duration("inf").is_err());
        assert!(duration("1e9").is_ok());
    }

    #[test]
    fn shares_are_parts_or_per_cent() {
        assert_eq!((share("1%"), share("0.25"), share("0")), (Ok(0.01), Ok(0.25), Ok(0.0)));
        assert!(share("-1%").is_err() && share("inf").is_err() && share("%").is_err());
    }

    #[test]
    fn extents_split_at_the_last_sign() {
        assert_eq!(extent("a=b=3"), Ok(("a=b".to_owned(), 3)));
        assert!(dimension("a=1").is_ok() && dimension("a=0").is_err());
        assert!(extent("=3").is_err() && extent("a").is_err() && extent("a=x").is_err());
    }
}
