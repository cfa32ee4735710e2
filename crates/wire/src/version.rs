//! Versions and features: what both ends of a link agree on in the handshake.
//!
//! The frame format and the messages `Hello`, `Challenge`, `Proof`, `Welcome` and `Refused` are the same in every
//! version; they grow only by their extension bytes, which a receiver that does not know them ignores. Everything
//! else may change with the version that the router chose in `Welcome`.
use crate::message::HelloRefusal;

/// The versions that this build speaks.
pub const SUPPORTED: VersionRange = VersionRange { min: 1, max: 1 };

/// An inclusive range of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest version spoken.
    pub min: u16,
    /// Highest version spoken, not below `min`.
    pub max: u16,
}

impl VersionRange {
    /// The highest version that both ranges hold, or `None`.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }

    /// Whether `version` lies in the range.
    #[must_use]
    pub fn contains(self, version: u16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Optional behaviour, one bit each. A gateway offers bits in `Hello`; the router answers in `Welcome` with those of
/// them that it grants. A message that a feature guards must not be sent unless the feature was granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// No optional behaviour.
    pub const NONE: Self = Self(0);
    /// `Moved`: slots may change their endpoint while the link is up.
    pub const MOVES: Self = Self(1 << 0);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What a router answers to an offer: version and features of the link, or the refusal for its `Refused`.
///
/// # Errors
/// [`HelloRefusal::Version`] if no version is common.
pub fn negotiate(
    ours: VersionRange,
    granted: Features,
    offered_versions: VersionRange,
    offered_features: Features,
) -> Result<(u16, Features), HelloRefusal> {
    let version = ours.common(offered_versions).ok_or(HelloRefusal::Version)?;
    Ok((version, granted.intersection(offered_features)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u16, max: u16) -> VersionRange {
        VersionRange { min, max }
    }

    #[test]
    fn highest_common_version_wins() {
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(2, 5).common(range(1, 3)), Some(3));
        assert_eq!(range(1, 1).common(range(1, 9)), Some(1));
        assert_eq!(range(1, 1).common(range(2, 9)), None);
        assert_eq!(range(4, 6).common(range(1, 3)), None);
    }

    #[test]
    fn features_are_granted_only_if_offered() {
        let (version, features) =
            negotiate(range(1, 2), Features::MOVES, range(1, 1), Features(0b110)).expect("a common version");
        assert_eq!((version, features), (1, Features::NONE));
        assert_eq!(negotiate(range(1, 1), Features::NONE, range(2, 2), Features::NONE), Err(HelloRefusal::Version));
    }
}
