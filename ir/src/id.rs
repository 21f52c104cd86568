//! Typed ids: dense positions in the vectors that own the things.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The id of position `index`. Saturates at `u32::MAX`; budgets keep counts far below.
            #[must_use]
            #[inline]
            pub fn new(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            /// The position in the owning vector.
            #[must_use]
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// An operator of a [`crate::graph::Graph`].
    OpId, "op"
);
id!(
    /// A tensor of a [`crate::graph::Graph`].
    TensorId, "tensor"
);
id!(
    /// A set of ops that must share a device.
    GroupId, "group"
);
id!(
    /// A device of a [`crate::cluster::Cluster`].
    DeviceId, "device"
);
id!(
    /// A kind of device (a row of the catalogue) used by a cluster.
    KindId, "kind"
);
id!(
    /// A set of interchangeable devices: same kind, same limits, same links.
    ClassId, "class"
);
id!(
    /// A host with devices in it.
    NodeId, "node"
);
id!(
    /// A serial resource that transfers occupy: one direction of a device on one link tier, or a
    /// network card that several devices share.
    ChannelId, "channel"
);
id!(
    /// A contiguous part of a pipeline.
    StageId, "stage"
);
