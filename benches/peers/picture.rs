//! The comparison as one picture: CPU per delivery by load, a bar per server with its range.

use std::fmt::Write as _;

use crate::compare::Results;
use crate::load::Load;
use crate::peer::{Contender, Peer};

const WIDTH: f64 = 900.0;
const LABEL: f64 = 330.0;
const RIGHT: f64 = 70.0;
const ROW: f64 = 24.0;
const HEAD: f64 = 40.0;

/// An SVG file that reads on light and dark pages.
pub(crate) fn render(results: &Results) -> String {
    let loads: Vec<_> = results.rows.iter().filter(|(load, _)| *load != Load::Storm).collect();
    let rows: usize = loads.iter().map(|(_, cells)| cells.len()).sum();
    let height = rows as f64 * ROW + loads.len() as f64 * (HEAD + 14.0) + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\">\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    );
    let mut y = 10.0;
    for (load, cells) in loads {
        let most = cells.iter().map(|(_, cell)| cell.cpu.range().1).filter(|most| most.is_finite()).fold(0.1, f64::max);
        let scale = (WIDTH - LABEL - RIGHT) / most;
        y += HEAD;
        let _ = write!(
            out,
            "<text x=\"16\" y=\"{}\" font-size=\"15\" font-weight=\"600\" fill=\"#1d2327\">{}: µs of server CPU per delivery</text>",
            y - 14.0,
            load.name()
        );
        for (contender, cell) in cells {
            bar(*contender, cell.cpu.median(), cell.cpu.range(), y, scale, &mut out);
            y += ROW;
        }
        y += 14.0;
    }
    out.push_str("</svg>\n");
    out
}

fn bar(contender: Contender, median: f64, range: (f64, f64), y: f64, scale: f64, out: &mut String) {
    let middle = y + ROW / 2.0;
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"13\" text-anchor=\"end\" fill=\"#1d2327\">{}</text>",
        LABEL - 10.0,
        middle + 4.0,
        contender.title()
    );
    if !median.is_finite() {
        let _ = write!(
            out,
            "<text x=\"{LABEL}\" y=\"{}\" font-size=\"12\" fill=\"#5d6870\">did not run</text>",
            middle + 4.0
        );
        return;
    }
    let color = match contender.peer {
        Peer::Corecast | Peer::CorecastJson | Peer::CorecastAuth | Peer::CorecastGateway => "#2563a8",
        Peer::Null => "#9aa6ae",
        _ => "#c2701c",
    };
    let (low, high) = (LABEL + range.0 * scale, LABEL + range.1 * scale);
    let _ = write!(
        out,
        "<rect x=\"{LABEL}\" y=\"{}\" width=\"{:.1}\" height=\"14\" rx=\"3\" fill=\"{color}\"/>\
         <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#1d2327\" stroke-width=\"1.5\"/>\
         <text x=\"{:.1}\" y=\"{}\" font-size=\"12\" fill=\"#1d2327\">{median:.2}</text>",
        y + 5.0,
        median * scale,
        high.max(LABEL + median * scale) + 8.0,
        middle + 4.0
    );
}
