//! Runs as a picture.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::Curves;
use crate::histogram::Histogram;

/// Pixels of the picture.
const SIZE: (u32, u32) = (1200, 960);

/// Points of a curve: the least and the greatest of each part of a longer one are drawn.
const POINTS: usize = 1200;

/// Okabe and Ito's colours, told apart with any colour vision ("Color Universal Design", 2008), without their yellow,
/// which white paper swallows.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(235, 235, 235);

/// A run, by the name that the legend gives it.
pub type NamedRun<'a> = (&'a str, &'a Curves);

type Fallible = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A metric of training, and the same of held-out rows.
struct Panel {
    title: &'static str,
    metric: &'static str,
    held_out: Option<&'static str>,
    /// Powers of ten on the vertical axis.
    logarithmic: bool,
}

const PANELS: [Panel; 5] = [
    Panel { title: "Loss", metric: "loss", held_out: None, logarithmic: true },
    Panel { title: "FVU (points: held-out rows)", metric: "fvu", held_out: Some("val_fvu"), logarithmic: true },
    Panel { title: "L0 (points: held-out rows)", metric: "l0", held_out: Some("val_l0"), logarithmic: false },
    Panel { title: "Dead features", metric: "dead", held_out: None, logarithmic: false },
    Panel { title: "Gradient norm", metric: "gradient_norm", held_out: None, logarithmic: true },
];

/// Draws loss, FVU, L0, dead features and gradient norm by steps, and the densities of features, as SVG. Text stays
/// text, in the viewer's sans-serif.
///
/// # Errors
/// A sentence when the picture cannot be made.
pub fn svg(runs: &[NamedRun<'_>]) -> Result<String, String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area, runs).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(area: &Area<'_>, runs: &[NamedRun<'_>]) -> Fallible {
    area.fill(&WHITE)?;
    let (legend, panels) = area.split_vertically(20 + 22 * runs.len() as u32);
    draw_legend(&legend, runs)?;
    let panels = panels.split_evenly((3, 2));
    for (panel, area) in PANELS.iter().zip(&panels) {
        panel.draw(area, runs)?;
    }
    draw_densities(&panels[PANELS.len()], runs)?;
    area.present()
}

fn draw_legend(area: &Area<'_>, runs: &[NamedRun<'_>]) -> Fallible {
    for ((name, _), (run, colour)) in runs.iter().zip(colours()) {
        let y = 18 + 22 * run;
        area.draw(&PathElement::new([(24, y), (54, y)], colour.stroke_width(3)))?;
        area.draw(&Text::new(name.escape_debug().to_string(), (64, y - 8), style(16)))?;
    }
    Ok(())
}

/// The number of each run, and its colour.
fn colours() -> impl Iterator<Item = (i32, RGBColor)> {
    (0..).zip(COLOURS.into_iter().cycle())
}

impl Panel {
    fn draw(&self, area: &Area<'_>, runs: &[NamedRun<'_>]) -> Fallible {
        let held_out = |curves: &Curves| self.held_out.map_or_else(Vec::new, |name| curves.metric(name));
        let drawn = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
            // A logarithm has no place for 0.
            points.into_iter().filter(|(_, y)| !self.logarithmic || *y > 0.0).collect()
        };
        let all: Vec<_> = runs.iter().map(|(_, run)| (drawn(run.metric(self.metric)), drawn(held_out(run)))).collect();
        let points = || all.iter().flat_map(|(line, points)| line.iter().chain(points));
        let Some((least, greatest)) = range(points().map(|(_, y)| *y)) else {
            return draw_note(area, self.title, "nothing to draw");
        };
        let last = points().map(|(x, _)| *x).fold(1.0, f64::max);
        if self.logarithmic {
            plot_lines(area, self.title, last, (least / 1.1..greatest * 1.1).log_scale(), &all)
        } else {
            plot_lines(area, self.title, last, 0.0..(greatest * 1.05).max(1.0), &all)
        }
    }
}

/// A curve of training, and points of held-out rows.
type Lines = (Vec<(f64, f64)>, Vec<(f64, f64)>);

fn plot_lines<Y>(area: &Area<'_>, title: &str, last: f64, y: Y, all: &[Lines]) -> Fallible
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(title, style(17))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..last, y)?;
    let mut mesh = chart.configure_mesh();
    mesh.label_style(style(13)).axis_style(GRID).light_line_style(TRANSPARENT).bold_line_style(GRID);
    mesh.x_desc("step").x_labels(6).y_labels(6).x_label_formatter(&|x| short(*x)).y_label_formatter(&|y| short(*y));
    mesh.draw()?;
    for ((line, points), (_, colour)) in all.iter().zip(colours()) {
        chart.draw_series(LineSeries::new(thinned(line), colour.stroke_width(1)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    Ok(())
}

/// Features by how often they fire, as outlines of histograms.
fn draw_densities(area: &Area<'_>, runs: &[NamedRun<'_>]) -> Fallible {
    let title = "Features by log10 of their density, in all rows up to the newest checkpoint";
    let outlines: Vec<Option<Vec<(f64, f64)>>> =
        runs.iter().map(|(_, run)| run.density.as_ref().map(|density| outline(&density.fired))).collect();
    let steps = || outlines.iter().flatten().flatten().filter(|(_, features)| *features > 0.0);
    let Some((least, greatest)) = range(steps().map(|(density, _)| *density)) else {
        return draw_note(area, title, "no checkpoint to take them from");
    };
    let most = steps().map(|(_, features)| *features).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, style(17))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(62)
        .build_cartesian_2d(least - 0.25..(greatest + 0.25).min(0.0), 0.0..most * 1.05)?;
    let mut mesh = chart.configure_mesh();
    mesh.label_style(style(13)).axis_style(GRID).light_line_style(TRANSPARENT).bold_line_style(GRID);
    mesh.x_desc("log10 density").x_labels(6).y_labels(6).y_label_formatter(&|y| short(*y));
    mesh.draw()?;
    for (outline, (_, colour)) in outlines.into_iter().zip(colours()) {
        chart.draw_series(LineSeries::new(outline.unwrap_or_default(), colour.stroke_width(2)))?;
    }
    Ok(())
}

/// The corners of a histogram's bars.
fn outline(histogram: &Histogram) -> Vec<(f64, f64)> {
    let bars = histogram.edges.windows(2).zip(&histogram.counts);
    bars.flat_map(|(edges, count)| [(edges[0], *count as f64), (edges[1], *count as f64)]).collect()
}

fn draw_note(area: &Area<'_>, title: &str, note: &str) -> Fallible {
    let area = area.margin(14, 14, 14, 14).titled(title, style(17))?;
    area.draw(&Text::new(note.to_owned(), (62, 20), style(14)))
}

fn style(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// The least and the greatest, if there is any.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (least, greatest) = range.unwrap_or((value, value));
        Some((least.min(value), greatest.max(value)))
    })
}

/// The curve, or the least and the greatest point of each part of it, in order.
fn thinned(line: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if line.len() <= POINTS {
        return line.to_vec();
    }
    let part = line.len().div_ceil(POINTS / 2);
    let extremes = line.chunks(part).flat_map(|part| {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let both = [part.iter().min_by(by_value), part.iter().max_by(by_value)].map(|point| point.copied());
        let mut both: Vec<(f64, f64)> = both.into_iter().flatten().collect();
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        both
    });
    extremes.collect()
}

/// A number as axes have it: 20000 is 20k, 0.00002 is 2e-5.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", value / 1e6),
        size if size >= 1e3 => format!("{}k", value / 1e3),
        size if size >= 1e-3 || size == 0.0 => format!("{}", (value * 1e6).round() / 1e6),
        _ => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{POINTS, outline, range, short, thinned};
    use crate::histogram::Histogram;

    #[test]
    fn a_long_curve_keeps_its_extremes_in_order() {
        let mut line: Vec<(f64, f64)> = (0..50_000).map(|step| (f64::from(step), f64::from(step % 7))).collect();
        line[31_234].1 = 99.0;
        line[31_235].1 = -99.0;
        let thin = thinned(&line);
        assert!(thin.len() <= POINTS && thin.is_sorted_by(|a, b| a.0 <= b.0), "{}", thin.len());
        assert_eq!(range(thin.iter().map(|point| point.1)), Some((-99.0, 99.0)));
        assert_eq!(thinned(&line[..POINTS]), line[..POINTS]);
    }

    #[test]
    fn outlines_have_two_corners_a_bar() {
        let mut histogram = Histogram::new(-2.0, 0.0, 2);
        histogram.add_times(-0.5, 3);
        assert_eq!(outline(&histogram), [(-2.0, 0.0), (-1.0, 0.0), (-1.0, 3.0), (0.0, 3.0)]);
    }

    #[test]
    fn labels_are_short() {
        let values = [0.0, 0.3, 250.0, 2500.0, 20_000.0, 3.5e6, 2e-5];
        assert_eq!(values.map(short), ["0", "0.3", "250", "2.5k", "20k", "3.5M", "2e-5"]);
    }
}
