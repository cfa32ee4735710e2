//! Line and area charts as SVG. Colours are classes, so that the page's style decides (light, dark, print).

use std::fmt::Write as _;

use super::scale::Scale;

pub(super) const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// Points of one line. Those without a value interrupt it.
pub(super) struct Series {
    pub name: String,
    /// `s0` … `s7`, or `late`, `muted`.
    pub class: &'static str,
    pub points: Vec<(f64, Option<f64>)>,
    /// Filled down to the series before it (stacked) or to the axis.
    pub area: bool,
}

/// A chart with its axes.
pub(super) struct Chart<'a> {
    pub height: f64,
    pub x: Scale,
    pub y: Scale,
    pub series: Vec<Series>,
    pub x_label: &'a dyn Fn(f64) -> String,
    pub y_label: &'a dyn Fn(f64) -> String,
    /// Shaded stretches of the x axis with their names.
    pub stretches: Vec<(f64, f64, String)>,
    /// Horizontal lines with their names.
    pub marks: Vec<(f64, String)>,
    /// What the pointer shows of a value; usually finer than the axis.
    pub precise: &'a dyn Fn(f64) -> String,
    /// What the pointer calls a position.
    pub position: &'a dyn Fn(f64) -> String,
}

impl Chart<'_> {
    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        TOP + (1.0 - self.y.at(y)) * (self.height - TOP - BOTTOM)
    }

    /// Legend and picture.
    pub(super) fn render(&self) -> String {
        let mut out = String::from("<figure class=\"chart\"><figcaption class=\"legend\">");
        for series in &self.series {
            let _ = write!(out, "<span><i class=\"{}\"></i>{}</span>", series.class, escape(&series.name));
        }
        let height = self.height;
        let _ = write!(out, "</figcaption><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"{}>", self.pointer_data());
        self.stretches(&mut out);
        self.axes(&mut out);
        for (index, series) in self.series.iter().enumerate().rev() {
            if series.area {
                self.area(series, index, &mut out);
            }
        }
        for series in self.series.iter().filter(|series| !series.area) {
            let _ = write!(out, "<path class=\"line {}\" d=\"{}\"/>", series.class, self.path(&series.points));
        }
        for (value, name) in &self.marks {
            let y = self.py(*value);
            let _ = write!(
                out,
                "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            let _ = write!(
                out,
                "<text class=\"mark\" x=\"{}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT - 4.0,
                y - 4.0,
                escape(name)
            );
        }
        let _ = write!(out, "<line class=\"cursor\" y1=\"{TOP}\" y2=\"{}\"/></svg></figure>", height - BOTTOM);
        out
    }

    fn stretches(&self, out: &mut String) {
        for (from, to, name) in &self.stretches {
            let (left, right) = (self.px(*from), self.px(*to));
            let (width, height) = (right - left, self.height - TOP - BOTTOM);
            if width <= 0.0 {
                continue;
            }
            let _ = write!(
                out,
                "<rect class=\"stretch\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
            if width > 46.0 {
                let _ = write!(
                    out,
                    "<text class=\"stretch\" x=\"{:.1}\" y=\"{}\">{}</text>",
                    left + 5.0,
                    TOP + 12.0,
                    escape(name)
                );
            }
        }
    }

    fn axes(&self, out: &mut String) {
        let bottom = self.height - BOTTOM;
        for (value, labelled) in self.y.ticks() {
            let y = self.py(value);
            let class = if labelled { "grid" } else { "grid fine" };
            let _ = write!(
                out,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            if labelled {
                let label = escape(&(self.y_label)(value));
                let _ = write!(out, "<text class=\"y\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, y + 4.0);
            }
        }
        for (value, _) in self.x.ticks() {
            let x = self.px(value);
            let _ = write!(
                out,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>",
                bottom + 5.0
            );
            let label = escape(&(self.x_label)(value));
            let _ = write!(out, "<text class=\"x\" x=\"{x:.1}\" y=\"{}\">{label}</text>", bottom + 19.0);
        }
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom}\" y2=\"{bottom}\"/>",
            WIDTH - RIGHT
        );
    }

    fn path(&self, points: &[(f64, Option<f64>)]) -> String {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            match y {
                Some(y) => {
                    let command = if pen_down { 'L' } else { 'M' };
                    let _ = write!(path, "{command}{:.1} {:.1}", self.px(*x), self.py(*y));
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        path
    }

    /// Down to the axis: what is drawn before (a higher sum) shows above it.
    fn area(&self, series: &Series, index: usize, out: &mut String) {
        let points: Vec<(f64, Option<f64>)> = series.points.iter().filter(|(_, y)| y.is_some()).copied().collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let bottom = self.height - BOTTOM;
        let path = self.path(&points);
        let _ = write!(
            out,
            "<path class=\"area {}\" data-stack=\"{index}\" d=\"{path}L{:.1} {bottom}L{:.1} {bottom}Z\"/>",
            series.class,
            self.px(last.0),
            self.px(first.0)
        );
    }

    /// What the page's script shows at the pointer: one entry per x, with pixel, title and values.
    fn pointer_data(&self) -> String {
        let Some(longest) = self.series.iter().max_by_key(|series| series.points.len()) else { return String::new() };
        let mut entries = Vec::new();
        for (x, _) in &longest.points {
            let values: Vec<serde_json::Value> = self
                .series
                .iter()
                .filter_map(|series| {
                    let value = series.points.iter().find(|(other, _)| other == x)?.1?;
                    Some(serde_json::json!([series.class, series.name, (self.precise)(value)]))
                })
                .collect();
            entries.push(serde_json::json!([(self.px(*x) * 10.0).round() / 10.0, (self.position)(*x), values]));
        }
        format!(" data-points=\"{}\"", escape(&serde_json::Value::Array(entries).to_string()))
    }
}

/// For text and attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_interrupts_the_line_and_names_are_escaped() {
        let text = |value: f64| format!("{value}");
        let chart = Chart {
            height: 200.0,
            x: Scale::Linear { low: 0.0, high: 3.0 },
            y: Scale::from_zero(10.0),
            series: vec![Series {
                name: "a<b".to_owned(),
                class: "s0",
                points: vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(2.0)), (3.0, Some(3.0))],
                area: false,
            }],
            x_label: &text,
            y_label: &text,
            stretches: vec![(0.0, 1.0, "warm-up".to_owned())],
            marks: vec![(5.0, "limit".to_owned())],
            precise: &text,
            position: &text,
        };
        let svg = chart.render();
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains("warm-up") && svg.contains("limit"));
    }
}
