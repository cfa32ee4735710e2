//! Axes: from values to pixels, and where the ticks are.

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Evenly.
    Linear { low: f64, high: f64 },
    /// Evenly in the logarithm; both ends above 0.
    Log { low: f64, high: f64 },
    /// Percentiles 0..100, the tail stretched: each further nine takes the same room. `nines` = room at the right end.
    Percentile { nines: f64 },
}

/// Percentiles with a tick, with their labels.
const PERCENTILES: [(f64, &str); 8] = [
    (0.0, "0"),
    (50.0, "50"),
    (90.0, "90"),
    (99.0, "99"),
    (99.9, "99.9"),
    (99.99, "99.99"),
    (99.999, "99.999"),
    (99.9999, "99.9999"),
];

impl Scale {
    /// A linear scale from 0 with a round upper end.
    pub(super) fn from_zero(max: f64) -> Self {
        let step = step(max.max(1e-9), 4.0);
        Self::Linear { low: 0.0, high: (max.max(1e-9) / step).ceil() * step }
    }

    /// A logarithmic scale around positive values, at least one decade long.
    pub(super) fn log_around(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high == 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let (low, mut high) = (round_down(low), round_up(high));
        if high / low < 10.0 {
            high = low * 10.0;
        }
        Self::Log { low, high }
    }

    /// Position of a value, 0..=1; values outside stick to the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value.max(*low).ln() - low.ln()) / (high.ln() - low.ln()),
            Self::Percentile { nines } => nines_of(value).min(*nines) / nines,
        };
        share.clamp(0.0, 1.0)
    }

    /// Values with a tick, and whether they have a label too.
    pub(super) fn ticks(&self) -> Vec<(f64, bool)> {
        match self {
            Self::Linear { low, high } => {
                let step = step(high - low, 4.0);
                let first = (low / step).ceil();
                let last = (high / step + 1e-6).floor();
                (0..=(last - first).max(0.0) as usize).map(|index| ((first + index as f64) * step, true)).collect()
            }
            Self::Log { low, high } => log_ticks(*low, *high),
            Self::Percentile { nines } => {
                let shown = PERCENTILES.iter().filter(|(percentile, _)| nines_of(*percentile) <= *nines + 1e-9);
                shown.map(|(percentile, _)| (*percentile, true)).collect()
            }
        }
    }
}

/// The label of a percentile tick.
pub(super) fn percentile_label(value: f64) -> String {
    let known = PERCENTILES.iter().find(|(percentile, _)| *percentile == value);
    known.map_or_else(|| format!("{value}"), |(_, label)| (*label).to_owned())
}

/// 90 → 1, 99 → 2, 99.9 → 3.
pub(super) fn nines_of(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

fn log_ticks(low: f64, high: f64) -> Vec<(f64, bool)> {
    let decades = (high / low).log10();
    let mut ticks = Vec::new();
    let mut power = 10_f64.powf(low.log10().floor());
    while power <= high * 1.000_001 {
        for factor in [1.0, 2.0, 5.0] {
            let value = power * factor;
            if (low * 0.999_999..=high * 1.000_001).contains(&value) {
                ticks.push((value, factor == 1.0 || decades <= 2.5));
            }
        }
        power *= 10.0;
    }
    ticks
}

/// 1, 2 or 5 times a power of ten, so that `span` has about `count` of them.
fn step(span: f64, count: f64) -> f64 {
    let rough = span / count;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| power * factor >= rough * 0.999).unwrap_or(10.0);
    power * factor
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|factor| factor * power).find(|round| *round <= value * 1.000_001).unwrap_or(power)
}

fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    rounds.into_iter().find(|round| *round >= value * 0.999_999).unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        let values = |scale: Scale| scale.ticks().into_iter().map(|(value, _)| value).collect::<Vec<_>>();
        assert_eq!(values(Scale::from_zero(87.0)), [0.0, 50.0, 100.0]);
        assert_eq!(values(Scale::from_zero(1.0)), [0.0, 0.5, 1.0]);
        assert_eq!(values(Scale::Linear { low: 23.0, high: 49.0 }), [30.0, 40.0]);
        let log = Scale::log_around([3.0, 70.0].into_iter());
        assert_eq!(log, Scale::Log { low: 2.0, high: 100.0 });
        assert_eq!(values(log), [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        let percentiles = Scale::Percentile { nines: 3.0 };
        assert_eq!(values(percentiles), [0.0, 50.0, 90.0, 99.0, 99.9]);
        assert!((percentiles.at(99.0) - 2.0 / 3.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_value_has_a_place(max in 1e-6..1e12_f64, value in 0.0..1e12_f64) {
            for scale in [Scale::from_zero(max), Scale::log_around([max].into_iter()), Scale::Percentile { nines: 4.0 }] {
                prop_assert!((0.0..=1.0).contains(&scale.at(value)));
                prop_assert!((1..40).contains(&scale.ticks().len()), "{:?} {:?}", scale, scale.ticks());
            }
            prop_assert!(Scale::from_zero(max).at(max) > 0.3);
        }
    }
}
