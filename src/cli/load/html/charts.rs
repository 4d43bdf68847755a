//! The charts of the page: how long, how many, how long when, and with how many connections.
use super::{
    svg::{
        Axis, Canvas, Scale, Size, ceil_125, floor_125, linear_ticks, log_ticks, second_ticks,
        width_of,
    },
    units::{bare, count, rate, things, time},
};
use crate::cli::load::{
    bands,
    distribution::{Distribution, QUANTILES},
    results::{Results, Series, Slice},
};

/// Points of a curve for each tenfold.
const POINTS: f64 = 40.0;
/// Colours of the heat map.
pub(super) const LEVELS: usize = 12;
/// Rows of the heat map, so that one band alone does not fill it.
const ROWS_MIN: usize = 12;

/// How long as many of all took: more and more of them to the right.
pub(super) fn percentiles(results: &Results) -> String {
    let (latency, service) = (&results.latency, service(results));
    let about = format!(
        "Half of all took at most {}, 99 % at most {}, the longest {}.",
        time(latency.quantile_ns(0.5) as f64),
        time(latency.quantile_ns(0.99) as f64),
        time(latency.max_ns() as f64)
    );
    draw("Latency by percentile", &about, |size| {
        let mut canvas = Canvas::new(size, 380.0, 26.0, 26.0);
        let across = canvas.across(Scale::Log, 1.0, (latency.count() as f64).max(10.0));
        let up = time_axis(&canvas, &[Some(latency), service]);
        canvas.name("latency");
        let tens = log_ticks(10.0, across.high(), 0);
        let ticks = [2.0].into_iter().chain(tens).map(|n| (across.at(n), percent(n)));
        canvas.columns(ticks, true);
        canvas.rows(
            log_ticks(up.low(), up.high(), 12).into_iter().map(|ns| (up.at(ns), bare(&time(ns)))),
        );
        if let Some(service) = service {
            canvas.line("service", &curve(service, &across, &up));
            points(&mut canvas, "service", service, &across, &up);
        }
        canvas.line("latency", &curve(latency, &across, &up));
        points(&mut canvas, "latency", latency, &across, &up);
        values(&mut canvas, latency, &across, &up);
        canvas
    })
}

/// What a second line shows, where it is not the first.
fn service(results: &Results) -> Option<&Distribution> {
    results.planned_rate.is_some().then_some(&results.service)
}

/// Which part of all is short of the one in so many: 90 % for 10.
fn percent(one_in: f64) -> String {
    // Not by subtracting, which shows 99.99899999999999.
    let number = match one_in.log10().round() as usize {
        0 => "50".to_string(),
        1 => "90".to_string(),
        2 => "99".to_string(),
        decades => format!("99.{}", "9".repeat(decades - 2)),
    };
    format!("{number}\u{a0}%")
}

/// From round to round, with all of these in it.
fn time_axis(canvas: &Canvas, times: &[Option<&Distribution>]) -> Axis {
    let all = || times.iter().flatten().filter(|times| times.count() > 0);
    let low = all().map(|times| times.min_ns()).min().unwrap_or(1_000);
    let high = all().map(|times| times.max_ns()).max().unwrap_or(1_000);
    let low = floor_125(low.max(1) as f64);
    let high = ceil_125(high as f64 * 1.05).max(low * 2.0);
    canvas.up(Scale::Log, low, high)
}

fn curve(times: &Distribution, across: &Axis, up: &Axis) -> Vec<(f64, f64)> {
    let count = times.count() as f64;
    let steps = if count > 0.0 { (count.log10() * POINTS).floor() as i32 + 1 } else { 0 };
    let at = |one_in: f64, ns: u64| (across.at(one_in), up.at(ns as f64));
    (0..steps)
        .map(|step| 10f64.powf(f64::from(step) / POINTS))
        .map(|one_in| at(one_in, times.quantile_ns(1.0 - 1.0 / one_in)))
        .chain((steps > 0).then(|| at(count, times.max_ns())))
        .collect()
}

/// Those of [`QUANTILES`] that enough were measured for, and the longest.
fn known(times: &Distribution) -> impl Iterator<Item = (String, f64, u64)> {
    let count = times.count() as f64;
    let one_in = |q: f64| (1.0 / (1.0 - q)).round();
    let longest = (count > 0.0).then(|| ("max".to_string(), count, times.max_ns()));
    QUANTILES
        .into_iter()
        .filter(move |(_, q)| one_in(*q) < count)
        .map(move |(name, q)| (name.to_string(), one_in(q), times.quantile_ns(q)))
        .chain(longest)
}

fn points(canvas: &mut Canvas, class: &str, times: &Distribution, across: &Axis, up: &Axis) {
    for (name, one_in, ns) in known(times) {
        let says = format!("{class} {name}: {}", time(ns as f64));
        canvas.circle(class, across.at(one_in), up.at(ns as f64), &says);
    }
}

/// To the left above each point, where a curve that only rises never is.
fn values(canvas: &mut Canvas, times: &Distribution, across: &Axis, up: &Axis) {
    let mut free = canvas.left;
    for (_, one_in, ns) in known(times) {
        let (x, says) = (across.at(one_in), time(ns as f64));
        if x - width_of(&says) - 6.0 >= free {
            canvas.text("value", "end", x - 6.0, up.at(ns as f64) - 8.0, &says);
            free = x;
        }
    }
}

/// Requests a second, what was planned, and when there were errors.
pub(super) fn throughput(results: &Results) -> String {
    let errors: u64 = results.series.slices.iter().map(|slice| slice.errors).sum();
    let most = results.series.slices.iter().map(|slice| slice.requests).max().unwrap_or(0) as f64;
    let most = most * 1000.0 / results.series.slice_ms as f64;
    let about = format!("At most {} requests a second; {}.", rate(most), things(errors, "error"));
    draw("Throughput over time", &about, |size| {
        let columns = columns(&results.series, size.columns());
        let strip = if errors > 0 { 38.0 } else { 0.0 };
        let mut canvas = Canvas::new(size, 250.0 + strip, 42.0, 26.0 + strip);
        let across = time_across(&mut canvas, results, "requests/s");
        let most = columns.iter().map(Column::rate).fold(0.0, f64::max);
        let up = zero_up(&mut canvas, most.max(results.planned_rate.unwrap_or(0.0)));
        let steps: Vec<(f64, f64)> = columns
            .iter()
            .flat_map(|column| {
                [column.from, column.to].map(|s| (across.at(s), up.at(column.rate())))
            })
            .collect();
        area(&mut canvas, "rate", &steps);
        if let Some(planned) = results.planned_rate {
            level(&mut canvas, up.at(planned), &format!("planned {}", bare(&rate(planned))));
        }
        if errors > 0 {
            error_strip(&mut canvas, &columns, &across);
        }
        hover(&mut canvas, &columns, &across, |column| {
            format!("{}/s, {}", rate(column.rate()), things(column.errors, "error"))
        });
        canvas
    })
}

/// Below the ticks: the more in a slice the higher, but one can always be seen.
fn error_strip(canvas: &mut Canvas, columns: &[Column], across: &Axis) {
    let (top, bottom) = (canvas.height - 30.0, canvas.height - 2.0);
    let most = columns.iter().map(|column| column.errors).max().unwrap_or(0) as f64;
    canvas.text("tick error", "end", canvas.left - 8.0, bottom - 2.0, "errors");
    for column in columns.iter().filter(|column| column.errors > 0) {
        let part = (1.0 + column.errors as f64).ln() / (1.0 + most).ln();
        let x = (across.at(column.from), across.at(column.to));
        let says = format!("{}: {}", column.when(), things(column.errors, "error"));
        canvas.rect("error", x, (bottom - (bottom - top) * part.max(0.2), bottom), &says);
    }
    canvas.line("stroke", &[(canvas.left, bottom), (canvas.right, bottom)]);
}

/// How many took how long, and when.
pub(super) fn heat_map(results: &Results) -> String {
    let whole = columns(&results.series, 1);
    let bands = whole.first().and_then(Column::bands);
    let Some((low, high)) = bands else { return String::new() };
    let about = format!(
        "From {} to {}: one column for each slice of time, one row for each band of latency.",
        time(lower_ns(low)),
        time(lower_ns(high + 1))
    );
    let (low, high) = at_least(ROWS_MIN, low, high);
    draw("Latency over time", &about, |size| {
        let columns = columns(&results.series, size.columns());
        let mut canvas = Canvas::new(size, 380.0, 42.0, 26.0);
        let across = time_across(&mut canvas, results, "latency");
        let up = canvas.up(Scale::Linear, low as f64, high as f64 + 1.0);
        let ticks = log_ticks(lower_ns(low).max(500.0), lower_ns(high + 1), 16);
        canvas.rows(ticks.into_iter().map(|ns| (up.at(position(ns)), bare(&time(ns)))));
        let most = columns.iter().flat_map(|column| column.latency).max().unwrap_or(1);
        for column in &columns {
            for (band, &number) in column.latency.iter().enumerate().filter(|(_, n)| **n > 0) {
                let x = (across.at(column.from), across.at(column.to));
                let y = (up.at(band as f64), up.at(band as f64 + 1.0));
                let class = format!("cell v{}", level_of(number, most));
                canvas.rect(&class, x, y, &cell_says(size, column, band, number));
            }
        }
        canvas
    })
}

/// The most requests that one cell of the wide heat map stands for.
pub(super) fn densest(results: &Results) -> u64 {
    let columns = columns(&results.series, Size::Wide.columns());
    columns.iter().flat_map(|column| column.latency).max().unwrap_or(0)
}

/// Nobody points at a cell on a phone.
fn cell_says(size: Size, column: &Column, band: usize, number: u64) -> String {
    let (low, high) = (time(lower_ns(band)), time(lower_ns(band + 1)));
    match size {
        Size::Wide => format!("{}, {low} to {high}: {}", column.when(), things(number, "request")),
        Size::Narrow => String::new(),
    }
}

/// By the logarithm: one request is as well seen as the difference of one and ten.
fn level_of(number: u64, most: u64) -> usize {
    let part = if most > 1 { (number as f64).ln() / (most as f64).ln() } else { 1.0 };
    ((part * LEVELS as f64) as usize).min(LEVELS - 1)
}

fn at_least(rows: usize, low: usize, high: usize) -> (usize, usize) {
    let missing = rows.saturating_sub(high + 1 - low);
    let low = low.saturating_sub(missing / 2);
    (low, high.max(low + rows - 1))
}

fn lower_ns(band: usize) -> f64 {
    band.checked_sub(1).map_or(0.0, |below| bands::upper(below).as_nanos() as f64)
}

/// Where a time stands among the bands: the whole part is its band.
fn position(ns: f64) -> f64 {
    let band = bands::band(ns as u64);
    let (low, high) = (lower_ns(band), lower_ns(band + 1));
    band as f64 + ((ns - low) / (high - low)).clamp(0.0, 1.0)
}

/// How many were up, and how many were asked for.
pub(super) fn connections(results: &Results) -> String {
    let asked = results.connections.asked;
    let most = results.connections.up_max;
    let about = format!("{} asked for, at most {} up at once.", count(asked), count(most));
    draw("Connections over time", &about, |size| {
        let columns = columns(&results.series, size.columns());
        let mut canvas = Canvas::new(size, 200.0, 42.0, 26.0);
        let across = time_across(&mut canvas, results, "connections");
        let most = columns.iter().map(|column| column.up).max().unwrap_or(0);
        let up = zero_up(&mut canvas, most.max(asked) as f64);
        let ends = columns.iter().map(|column| (across.at(column.to), up.at(column.up as f64)));
        let line: Vec<(f64, f64)> =
            [(across.at(0.0), up.at(0.0))].into_iter().chain(ends).collect();
        area(&mut canvas, "conns", &line);
        level(&mut canvas, up.at(asked as f64), &format!("asked {}", count(asked)));
        hover(&mut canvas, &columns, &across, |column| format!("{} up", count(column.up)));
        canvas
    })
}

// What those over time share.

/// Slices that are shown as one.
struct Column {
    from: f64,
    to: f64,
    requests: u64,
    errors: u64,
    up: u64,
    latency: [u64; bands::BANDS],
}

impl Column {
    fn rate(&self) -> f64 {
        self.requests as f64 / (self.to - self.from)
    }

    fn when(&self) -> String {
        format!("{:.1}–{:.1}\u{a0}s", self.from, self.to)
    }

    /// The first and the last with anything in it.
    fn bands(&self) -> Option<(usize, usize)> {
        let first = self.latency.iter().position(|n| *n > 0)?;
        let last = self.latency.iter().rposition(|n| *n > 0)?;
        Some((first, last))
    }
}

/// No more than `most`: as many slices as that takes are added up. Latencies in a band that this
/// program does not know, from a file, are left out.
fn columns(series: &Series, most: usize) -> Vec<Column> {
    let each = series.slices.len().div_ceil(most).max(1);
    let seconds = series.slice_ms.max(1) as f64 / 1000.0;
    let merge = |(n, slices): (usize, &[Slice])| {
        let mut latency = [0; bands::BANDS];
        for (band, number) in slices.iter().flat_map(|slice| &slice.latency) {
            if let Some(cell) = latency.get_mut(usize::from(*band)) {
                *cell += number;
            }
        }
        Column {
            from: (n * each) as f64 * seconds,
            to: (n * each + slices.len()) as f64 * seconds,
            requests: slices.iter().map(|slice| slice.requests).sum(),
            errors: slices.iter().map(|slice| slice.errors).sum(),
            up: slices.last().map_or(0, |slice| slice.up),
            latency,
        }
    };
    series.slices.chunks(each).enumerate().map(merge).collect()
}

/// Seconds since the beginning, with what was not measured shaded and named.
fn time_across(canvas: &mut Canvas, results: &Results, name: &str) -> Axis {
    let slices = results.series.slices.len() as f64 * results.series.slice_ms as f64 / 1000.0;
    let Phases { connected, from, to } = phases(results);
    let end = slices.max(to);
    let end = if end > 0.0 { end } else { 1.0 };
    let across = canvas.across(Scale::Linear, 0.0, end);
    canvas.name(name);
    let most = ((canvas.right - canvas.left) / 64.0) as usize;
    let (unit, name) = match end {
        10_800.0.. => (3600.0, "h"),
        180.0.. => (60.0, "min"),
        _ => (1.0, "s"),
    };
    // Tenths of a second are not exact, and would be shown so.
    let label = |s: f64| format!("{}\u{a0}{name}", (s / unit * 1e6).round() / 1e6);
    canvas.columns(second_ticks(end, most).into_iter().map(|s| (across.at(s), label(s))), false);
    for (name, from, to) in
        [("connecting", 0.0, connected), ("warm-up", connected, from), ("after", to, end)]
    {
        if to - from > end * 0.001 {
            let x = (across.at(from), across.at(to));
            let says = format!("{name}: {from:.1}–{to:.1}\u{a0}s");
            canvas.rect(&format!("shade {name}"), x, (canvas.top - 18.0, canvas.bottom), &says);
        }
    }
    name_phases(canvas, &[0.0, connected, from, to, end].map(|s| across.at(s)));
    across
}

pub(super) struct Phases {
    pub(super) connected: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// In order, whatever the numbers are.
pub(super) fn phases(results: &Results) -> Phases {
    let sound = |s: f64| if s.is_finite() { s.max(0.0) } else { 0.0 };
    let from = sound(results.measured_from_s);
    let connected = sound(results.connections.connecting_s).min(from);
    Phases { connected, from, to: from + sound(results.measured_s) }
}

/// Above the plot. What is too narrow for its name shares one with its neighbour.
fn name_phases(canvas: &mut Canvas, x: &[f64; 5]) {
    let y = canvas.top - 5.0;
    let fits = |name: &str, from: f64, to: f64| to - from > width_of(name) + 4.0;
    let there = |from: f64, to: f64| to - from > 0.5;
    let before = match (there(x[0], x[1]), there(x[1], x[2])) {
        (true, true) if fits("connecting", x[0], x[1]) && fits("warm-up", x[1], x[2]) => {
            canvas.text("phase", "start", x[1] + 4.0, y, "warm-up");
            "connecting"
        }
        (true, true) => "connecting, warm-up",
        (true, false) => "connecting",
        (false, true) => "warm-up",
        (false, false) => "",
    };
    canvas.text("phase", "start", x[0] + 4.0, y, before);
    let after = if there(x[3], x[4]) { "after" } else { "" };
    canvas.text("phase", "end", x[4] - 4.0, y, after);
    let free =
        (x[0] + width_of(before) + 12.0).max(x[2])..(x[4] - width_of(after) - 12.0).min(x[3]);
    if fits("measuring", free.start, free.end) {
        canvas.text("phase", "middle", (free.start + free.end) / 2.0, y, "measuring");
    }
}

/// From zero to above the most.
fn zero_up(canvas: &mut Canvas, most: f64) -> Axis {
    let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
    let step = ceil_125(most / 4.0);
    let high = (most * 1.1 / step).ceil() * step;
    let up = canvas.up(Scale::Linear, 0.0, high);
    let ticks = linear_ticks(0.0, high, ((canvas.bottom - canvas.top) / 28.0) as usize);
    canvas.rows(ticks.into_iter().map(|n| (up.at(n), bare(&rate(n)))));
    up
}

fn area(canvas: &mut Canvas, class: &str, line: &[(f64, f64)]) {
    if let (Some((first, _)), Some((last, _))) = (line.first(), line.last()) {
        let ground = [(*last, canvas.bottom), (*first, canvas.bottom)];
        canvas.line(&format!("area {class}"), &[line, &ground].concat());
        canvas.line(class, line);
    }
}

/// What was asked for.
fn level(canvas: &mut Canvas, y: f64, says: &str) {
    canvas.line("level", &[(canvas.left, y), (canvas.right, y)]);
    canvas.text("value", "end", canvas.right - 4.0, y - 6.0, says);
}

fn hover(canvas: &mut Canvas, columns: &[Column], across: &Axis, says: impl Fn(&Column) -> String) {
    if canvas.size == Size::Narrow {
        return;
    }
    for column in columns {
        let x = (across.at(column.from), across.at(column.to));
        let says = format!("{}: {}", column.when(), says(column));
        canvas.rect("hover", x, (canvas.top, canvas.bottom), &says);
    }
}

/// In each size, with what those hear who do not see it.
fn draw(title: &str, about: &str, chart: impl Fn(Size) -> Canvas) -> String {
    Size::ALL.map(|size| chart(size).into_svg(title, about)).concat()
}
