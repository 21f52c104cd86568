//! Chips of devices: by which published constants and the kernels of libraries are told apart.

use std::str::FromStr;

/// A chip, or several whose published constants are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chip {
    /// K80.
    K80,
    /// P100.
    P100,
    /// V100.
    V100,
    /// T4.
    T4,
    /// RTX 20.
    Rtx20,
    /// A100.
    A100,
    /// A10G, A40, RTX A6000, RTX 30.
    Rtx30,
    /// L4, L40, L40S.
    L40,
    /// RTX 40.
    Rtx40,
    /// H100, H800, H200, H20, GH200.
    H100,
    /// B200, B300.
    B200,
    /// GB200, GB300.
    Gb200,
    /// RTX 50.
    Rtx50,
    /// RTX PRO 6000.
    RtxPro6000,
    /// Instinct MI200.
    Mi200,
    /// Instinct MI300.
    Mi300,
    /// Instinct MI350.
    Mi350,
    /// Apple M1 and M2.
    M1,
    /// Apple M3 and M4, whose GPUs have new cores.
    M3,
    /// Any other.
    #[default]
    Other,
}

/// Architectures of GPUs, in the order in which each vendor's appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// Compute capability 3.
    Kepler,
    /// Compute capability 6.
    Pascal,
    /// Compute capability 7.0.
    Volta,
    /// Compute capability 7.5.
    Turing,
    /// Compute capability 8.0 and 8.6.
    Ampere,
    /// Compute capability 8.9.
    Ada,
    /// Compute capability 9.
    Hopper,
    /// Compute capability 10 and 12.
    Blackwell,
    /// AMD, gfx90a.
    Cdna2,
    /// AMD, gfx942.
    Cdna3,
    /// AMD, gfx950.
    Cdna4,
    /// Apple silicon, through Metal.
    Apple,
    /// Any other.
    Other,
}

impl FromStr for Chip {
    type Err = ();

    /// As the catalogue writes it, after its architecture: `ampere a100`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let written = |chip: Self| format!("{:?} {chip:?}", chip.architecture());
        Self::ALL.into_iter().find(|chip| written(*chip).eq_ignore_ascii_case(text)).ok_or(())
    }
}

impl Chip {
    /// Those that devices of the catalogue have.
    #[rustfmt::skip]
    pub const ALL: [Self; 19] = [
        Self::K80, Self::P100, Self::V100, Self::T4, Self::Rtx20, Self::A100, Self::Rtx30, Self::L40,
        Self::Rtx40, Self::H100, Self::B200, Self::Gb200, Self::Rtx50, Self::RtxPro6000, Self::Mi200,
        Self::Mi300, Self::Mi350, Self::M1, Self::M3,
    ];

    /// Whether its hosts have NVIDIA's Grace processors; others are taken to have x86 ones.
    #[must_use]
    pub const fn has_grace_host(self) -> bool {
        matches!(self, Self::Gb200)
    }

    /// Its architecture.
    #[must_use]
    pub const fn architecture(self) -> Architecture {
        match self {
            Self::K80 => Architecture::Kepler,
            Self::P100 => Architecture::Pascal,
            Self::V100 => Architecture::Volta,
            Self::T4 | Self::Rtx20 => Architecture::Turing,
            Self::A100 | Self::Rtx30 => Architecture::Ampere,
            Self::L40 | Self::Rtx40 => Architecture::Ada,
            Self::H100 => Architecture::Hopper,
            Self::B200 | Self::Gb200 | Self::Rtx50 | Self::RtxPro6000 => Architecture::Blackwell,
            Self::Mi200 => Architecture::Cdna2,
            Self::Mi300 => Architecture::Cdna3,
            Self::Mi350 => Architecture::Cdna4,
            Self::M1 | Self::M3 => Architecture::Apple,
            Self::Other => Architecture::Other,
        }
    }
}

impl Architecture {
    /// Those that devices of the catalogue have.
    pub const ALL: [Self; 12] = [
        Self::Kepler,
        Self::Pascal,
        Self::Volta,
        Self::Turing,
        Self::Ampere,
        Self::Ada,
        Self::Hopper,
        Self::Blackwell,
        Self::Cdna2,
        Self::Cdna3,
        Self::Cdna4,
        Self::Apple,
    ];

    /// As files write it, such as `cdna3`.
    #[must_use]
    pub fn key(self) -> String {
        self.name().to_lowercase().replace(' ', "")
    }

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kepler => "Kepler",
            Self::Pascal => "Pascal",
            Self::Volta => "Volta",
            Self::Turing => "Turing",
            Self::Ampere => "Ampere",
            Self::Ada => "Ada",
            Self::Hopper => "Hopper",
            Self::Blackwell => "Blackwell",
            Self::Cdna2 => "CDNA 2",
            Self::Cdna3 => "CDNA 3",
            Self::Cdna4 => "CDNA 4",
            Self::Apple => "Apple",
            Self::Other => "unknown",
        }
    }
}
