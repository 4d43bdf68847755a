//! What charts are drawn with: a frame, axes with round ticks, and marks in it. One unit is a
//! pixel where the page has room.
use std::fmt::Write;

/// Of the characters in a chart, digits in a wide font: most are narrower.
const CHARACTER: f64 = 7.6;
const LINE: f64 = 14.0;

/// Each chart is drawn twice, and the style shows the one that suits: text that is shrunk with its
/// chart cannot be read on a phone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Size {
    Wide,
    Narrow,
}

impl Size {
    pub(super) const ALL: [Self; 2] = [Self::Wide, Self::Narrow];

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
        }
    }

    /// As many as can be told apart.
    pub(super) fn columns(self) -> usize {
        match self {
            Self::Wide => 240,
            Self::Narrow => 80,
        }
    }
}

/// A drawing that grows, and the rectangle in it where the data is.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) size: Size,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    marks: String,
}

impl Canvas {
    /// `height` is that of the wide one; `above` and `below` are left free for words.
    pub(super) fn new(size: Size, height: f64, above: f64, below: f64) -> Self {
        let (width, height, left, right) = match size {
            Size::Wide => (960.0, height, 64.0, 20.0),
            Size::Narrow => (380.0, (height * 0.85).round(), 54.0, 14.0),
        };
        let (right, bottom) = (width - right, height - below);
        let marks = String::new();
        Self { size, width, height, left, right, top: above, bottom, marks }
    }

    /// From left to right.
    pub(super) fn across(&self, scale: Scale, low: f64, high: f64) -> Axis {
        Axis { scale, low, high, from: self.left, to: self.right }
    }

    /// From the bottom up.
    pub(super) fn up(&self, scale: Scale, low: f64, high: f64) -> Axis {
        Axis { scale, low, high, from: self.bottom, to: self.top }
    }

    pub(super) fn rect(&mut self, class: &str, x: (f64, f64), y: (f64, f64), says: &str) {
        let (left, top) = (x.0.min(x.1), y.0.min(y.1));
        let (width, height) = ((x.1 - x.0).abs(), (y.1 - y.0).abs());
        let place = format!("x='{left:.1}' y='{top:.1}' width='{width:.1}' height='{height:.1}'");
        self.mark("rect", class, &place, says);
    }

    pub(super) fn circle(&mut self, class: &str, x: f64, y: f64, says: &str) {
        self.mark("circle", class, &format!("cx='{x:.1}' cy='{y:.1}' r='4'"), says);
    }

    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        self.mark("path", class, &format!("d='{}'", path(points)), "");
    }

    /// `says` is shown where a pointer rests on it, and must be escaped already.
    fn mark(&mut self, name: &str, class: &str, place: &str, says: &str) {
        let _ = match says {
            "" => write!(self.marks, "<{name} class='{class}' {place}/>"),
            _ => {
                write!(self.marks, "<{name} class='{class}' {place}><title>{says}</title></{name}>")
            }
        };
    }

    /// `anchor` is `start`, `middle` or `end`.
    pub(super) fn text(&mut self, class: &str, anchor: &str, x: f64, y: f64, says: &str) {
        let place = format!("x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'");
        let _ = write!(self.marks, "<text class='{class}' {place}>{says}</text>");
    }

    /// What the axis from the bottom up is of.
    pub(super) fn name(&mut self, says: &str) {
        self.text("name", "start", 0.0, 11.0, says);
    }

    /// A line and a label for each tick that finds room.
    pub(super) fn rows(&mut self, ticks: impl IntoIterator<Item = (f64, String)>) {
        let mut free = self.height;
        for (y, label) in ticks {
            if y <= free && y >= self.top - 0.1 {
                self.line("grid", &[(self.left, y), (self.right, y)]);
                self.text("tick", "end", self.left - 8.0, y + 4.0, &label);
                free = y - LINE;
            }
        }
    }

    pub(super) fn columns(&mut self, ticks: impl IntoIterator<Item = (f64, String)>, line: bool) {
        let mut free = 0.0;
        for (x, label) in ticks {
            let half = width_of(&label) / 2.0;
            // The first and the last may stand in the margin, but never out of the picture.
            let middle = x.clamp(half, self.width - half);
            if middle - half < free {
                continue;
            }
            if line {
                self.line("grid", &[(x, self.top), (x, self.bottom)]);
            }
            self.line("stroke", &[(x, self.bottom), (x, self.bottom + 5.0)]);
            self.text("tick", "middle", middle, self.bottom + 18.0, &label);
            free = middle + half + 8.0;
        }
        self.line("stroke", &[(self.left, self.bottom), (self.right, self.bottom)]);
    }

    pub(super) fn into_svg(self, title: &str, about: &str) -> String {
        let Self { size, width, height, marks, .. } = self;
        format!(
            "<svg class='{}' viewBox='0 0 {width} {height}' role='img'>\
             <title>{title}</title><desc>{about}</desc>{marks}</svg>\n",
            size.class()
        )
    }
}

/// Never less than what the characters need.
pub(super) fn width_of(label: &str) -> f64 {
    CHARACTER * label.chars().count() as f64
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (n, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { 'M' } else { 'L' });
    }
    path
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// From values to places. `low` is less than `high`, and of a log axis more than zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// What lies outside is shown at the edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        self.from + part * (self.to - self.from)
    }

    pub(super) fn low(&self) -> f64 {
        self.low
    }

    pub(super) fn high(&self) -> f64 {
        self.high
    }
}

/// The round numbers from `low` to `high`, no more than `most` of them.
pub(super) fn linear_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let step = ceil_125((high - low) / most.max(1) as f64);
    multiples(low, high, step)
}

/// The same for seconds, of which a minute has 60.
pub(super) fn second_ticks(high: f64, most: usize) -> Vec<f64> {
    const STEPS: [f64; 9] = [30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0];
    let least = high / most.max(1) as f64;
    let step = match least {
        ..=20.0 => ceil_125(least),
        _ => STEPS
            .into_iter()
            .find(|step| *step >= least)
            .unwrap_or(3600.0 * ceil_125(least / 3600.0)),
    };
    multiples(0.0, high, step)
}

fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    (0..=(last - first) as usize).map(|n| (first + n as f64) * step).collect()
}

/// 1, 2, 5, 10, 20 and so on, from `low` to `high`; if that is more than `most`, the tens alone.
pub(super) fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let decades = || low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |value: &f64| (low * 0.999..=high * 1.001).contains(value);
    let fine: Vec<f64> = decades()
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)))
        .filter(within)
        .collect();
    match fine.len() <= most {
        true => fine,
        false => decades().map(|decade| 10f64.powi(decade)).filter(within).collect(),
    }
}

/// The least of 1, 2, 5, 10, 20 and so on that is not less.
pub(super) fn ceil_125(value: f64) -> f64 {
    let decade = 10f64.powf((value.log10() + 1e-9).floor());
    let digits = [1.0, 2.0, 5.0].into_iter();
    decade * digits.into_iter().find(|digit| digit * decade >= value * 0.999_999).unwrap_or(10.0)
}

/// The greatest of them that is not more.
pub(super) fn floor_125(value: f64) -> f64 {
    1.0 / ceil_125(1.0 / value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear_ticks(0.0, 23_000.0, 5), [0.0, 5e3, 10e3, 15e3, 20e3]);
        assert_eq!(linear_ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
        assert_eq!(second_ticks(30.0, 8), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(
            second_ticks(240.0, 8),
            [0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0]
        );
        assert_eq!(second_ticks(86_400.0, 3), [0.0, 36_000.0, 72_000.0]);
        assert_eq!(log_ticks(20.0, 1000.0, 9), [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(log_ticks(20.0, 10_000.0, 6), [100.0, 1000.0, 10_000.0]);
    }

    #[test]
    fn rounding_is_to_a_1_a_2_or_a_5() {
        for (value, down, up) in
            [(1.0, 1.0, 1.0), (1.1, 1.0, 2.0), (3e6, 2e6, 5e6), (70.0, 50.0, 100.0)]
        {
            assert!((floor_125(value) / down - 1.0).abs() < 1e-9, "{value}");
            assert!((ceil_125(value) / up - 1.0).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn an_axis_keeps_what_is_outside_at_its_edge() {
        let canvas = Canvas::new(Size::Wide, 200.0, 20.0, 20.0);
        let up = canvas.up(Scale::Log, 10.0, 1000.0);
        let places = [1.0, 10.0, 100.0, 1000.0, 1e9].map(|value| up.at(value));
        assert_eq!(places, [180.0, 180.0, 100.0, 20.0, 20.0]);
        assert_eq!(canvas.across(Scale::Linear, 0.0, 2.0).at(1.0), (64.0 + 940.0) / 2.0);
    }
}
