//! Medians and spread of a handful of rounds.

/// Several measurements of the same thing.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    sorted: Vec<f64>,
    latest: Option<f64>,
}

impl Samples {
    /// Adds one measurement.
    pub fn add(&mut self, value: f64) {
        self.latest = Some(value);
        self.sorted.push(value);
        self.sorted.sort_by(f64::total_cmp);
    }

    /// The middle one, or the mean of the two in the middle; NaN without measurements.
    #[must_use]
    pub fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        match self.sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => self.sorted[middle],
            _ => f64::midpoint(self.sorted[middle - 1], self.sorted[middle]),
        }
    }

    /// Smallest and largest; NaN without measurements.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        (self.sorted.first().copied().unwrap_or(f64::NAN), self.sorted.last().copied().unwrap_or(f64::NAN))
    }

    /// The one that was added last.
    #[must_use]
    pub fn latest(&self) -> Option<f64> {
        self.latest
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_outlier() {
        let mut samples = Samples::default();
        for value in [5.0, 1.0, 1_000.0, 4.0, 6.0] {
            samples.add(value);
        }
        assert!((samples.median() - 5.0).abs() < f64::EPSILON);
        assert_eq!(samples.range(), (1.0, 1_000.0));
        assert_eq!(samples.latest(), Some(6.0));
    }
}
