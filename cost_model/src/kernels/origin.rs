//! Where a predicted time comes from.

use ir::profile::Provenance;

/// Where a predicted time comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Stated by the user: a duration of the model file, a link of the cluster file.
    Given,
    /// Constants that were measured on this device for this kind of work; of the accuracy table,
    /// this very shape was measured.
    Measured,
    /// Constants that were measured on this device for work of another kind, such as another
    /// element type; of the accuracy table, a form fitted on this device.
    Interpolated,
    /// Constants that were measured by the user on another device, a sibling of this one.
    Sibling,
    /// Data sheets and published or generic constants; never measured on the user's hardware.
    Nominal,
}

impl Origin {
    /// All, best first: position `i` is the origin whose discriminant is `i`.
    pub const ALL: [Self; 5] =
        [Self::Given, Self::Measured, Self::Interpolated, Self::Sibling, Self::Nominal];

    /// Its name in tables, such as `sibling`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Measured => "measured",
            Self::Interpolated => "interpolated",
            Self::Sibling => "sibling",
            Self::Nominal => "nominal",
        }
    }
}

/// A figure with where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// The figure, or several of one source.
    pub value: T,
    /// What it is for the device that it is used for.
    pub origin: Origin,
    /// What measured or published it, and when.
    pub provenance: Provenance,
}

impl<T> Sourced<T> {
    /// A figure of a profile: nominal where the profile says so, else `measured_as`.
    pub fn of_profile(value: T, provenance: &Provenance, measured_as: Origin) -> Self {
        let origin = match provenance {
            Provenance::Nominal { .. } => Origin::Nominal,
            Provenance::Measured { .. } => measured_as,
        };
        Self { value, origin, provenance: provenance.clone() }
    }

    /// Another figure of the same source.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: of(self.value), origin: self.origin, provenance: self.provenance }
    }

    /// A published or generic figure.
    pub fn nominal(value: T, source: String) -> Self {
        Self { value, origin: Origin::Nominal, provenance: Provenance::Nominal { source } }
    }
}

/// Nanoseconds by origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shares([u64; Origin::ALL.len()]);

impl Shares {
    /// Adds so many nanoseconds of an origin; stays at the top of the range.
    pub fn add(&mut self, origin: Origin, ns: u64) {
        let slot = &mut self.0[origin as usize];
        *slot = slot.saturating_add(ns);
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        Origin::ALL.into_iter().for_each(|origin| self.add(origin, other.of(origin)));
        self
    }

    /// The same proportions of another total; what rounding leaves goes to the last origin.
    #[must_use]
    pub fn scaled(&self, total: u64) -> Self {
        let all = u128::from(self.total().max(1));
        let (mut scaled, mut left) = (Self::default(), total);
        let last = self.parts().last().map_or(Origin::Given, |(origin, _)| origin);
        for origin in Origin::ALL {
            let ns = u128::from(self.of(origin)) * u128::from(total) / all;
            let ns = u64::try_from(ns).unwrap_or(u64::MAX).min(left);
            scaled.add(origin, ns);
            left -= ns;
        }
        scaled.add(last, left);
        scaled
    }

    /// Nanoseconds of an origin.
    #[must_use]
    pub fn of(&self, origin: Origin) -> u64 {
        self.0[origin as usize]
    }

    /// Nanoseconds in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, ns| sum.saturating_add(*ns))
    }

    /// Origins that have any, best first, with their shares of the total in 0..=1.
    pub fn parts(&self) -> impl Iterator<Item = (Origin, f64)> + use<> {
        let (shares, total) = (*self, self.total().max(1) as f64);
        Origin::ALL.into_iter().filter_map(move |origin| {
            let ns = shares.of(origin);
            (ns > 0).then(|| (origin, ns as f64 / total))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        let mut shares = Shares::default();
        shares.add(Origin::Nominal, 1);
        shares.add(Origin::Measured, 2);
        shares.add(Origin::Measured, 1);
        let parts: Vec<_> = shares.parts().collect();
        assert_eq!(parts, [(Origin::Measured, 0.75), (Origin::Nominal, 0.25)]);
        assert_eq!(shares.total(), 4);
        assert_eq!(Shares::default().parts().count(), 0);
        let scaled = shares.scaled(10);
        assert_eq!((scaled.of(Origin::Measured), scaled.of(Origin::Nominal)), (7, 3));
        assert_eq!(scaled.plus(shares).total(), 14);
        for (at, origin) in Origin::ALL.into_iter().enumerate() {
            assert_eq!(origin as usize, at);
        }
    }
}
