//! Results in files: written, and read again to be added up.
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use hdrhistogram::Histogram;

use crate::cli::units::reason;

use super::{
    html,
    options::Files,
    results::{Results, VERSION},
};

impl Files {
    /// Whether they can be written, as far as can be told: before an hour of load, not after it.
    pub(crate) fn try_out(&self) -> Result<(), String> {
        let paths: Vec<&PathBuf> =
            [&self.json, &self.hdr, &self.html].into_iter().flatten().collect();
        for (n, path) in paths.iter().enumerate() {
            if paths[..n].contains(path) {
                return Err(format!("{} cannot be two reports at once", path.display()));
            }
            if path.as_os_str() == "-" {
                return Err("'-' is not standard output here; /dev/stdout is".to_string());
            }
            let was_there = path.exists();
            let opened = File::options().append(true).create(true).open(path);
            opened.map_err(|e| cannot_write(path, &e))?;
            if !was_there {
                // A load that does not begin leaves nothing.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, results: &Results) -> Result<(), String> {
        if let Some(path) = &self.json {
            write(path, |to| {
                serde_json::to_writer_pretty(&mut *to, results)?;
                to.write_all(b"\n")
            })?;
        }
        if let Some(path) = &self.hdr {
            write(path, |to| percentiles(results.latency.histogram(), to))?;
        }
        if let Some(path) = &self.html {
            write(path, |to| to.write_all(html::page(results).as_bytes()))?;
        }
        Ok(())
    }
}

fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), String> {
    let written = File::create(path).and_then(|file| {
        let mut to = BufWriter::new(file);
        fill(&mut to)?;
        to.flush()
    });
    written.map_err(|e| cannot_write(path, &e))
}

fn cannot_write(path: &Path, e: &io::Error) -> String {
    format!("cannot write {}: {}", path.display(), reason(e))
}

pub(crate) fn read(path: &Path) -> Result<Results, String> {
    let failed = |why: String| format!("cannot read {}: {why}", path.display());
    let text = fs::read(path).map_err(|e| failed(reason(&e)))?;
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|_| failed("it is no JSON".into()))?;
    match json.get("version").and_then(|version| version.as_u64()) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(failed(format!("its version is {version}, not {VERSION}"))),
        None => return Err(failed("it is not what `charkh load --json` writes".into())),
    }
    let results: Results = serde_json::from_value(json).map_err(|e| failed(e.to_string()))?;
    match is_sound(&results) {
        true => Ok(results),
        false => Err(failed("its numbers are out of all bounds".into())),
    }
}

/// What a file says can be added up and drawn: somebody may have written it by hand.
fn is_sound(results: &Results) -> bool {
    let Results { connections, series, fairness, testimony, .. } = results;
    let numbers = [
        results.began_unix,
        results.measured_from_s,
        results.measured_s,
        results.planned_rate.unwrap_or(0.0),
        connections.connecting_s,
        fairness.longest_gap_ms,
        testimony.longest_turn_ms,
        testimony.turn_p99_ms,
        testimony.cpu_s,
        testimony.waited_s.unwrap_or(0.0),
        testimony.wall_s,
        testimony.busiest,
        testimony.steal.unwrap_or(0.0),
    ];
    let mut counts = vec![
        results.requests,
        results.bytes_in,
        results.bytes_out,
        results.unsent,
        connections.asked,
        connections.up_max,
        connections.opened,
        series.slice_ms,
        fairness.sum,
        fairness.connections,
        results.tls.resumed,
    ];
    for slice in &series.slices {
        counts.extend([slice.requests, slice.bytes_in, slice.bytes_out, slice.errors, slice.up]);
        counts.extend(slice.latency.values());
    }
    counts.extend(results.errors.values().chain(testimony.limits.values()));
    counts.extend(results.tls.agreed.values());
    numbers.iter().all(|number| (0.0..1e11).contains(number))
        && counts.iter().all(|&count| count < 1 << 50)
}

/// The table that HdrHistogram's own tools print and plot: value, percentile, count so far, and
/// 1/(1-percentile).
fn percentiles(latency: &Histogram<u64>, to: &mut impl Write) -> io::Result<()> {
    let ms = |ns: f64| ns / 1e6;
    writeln!(
        to,
        "{:>12} {:>14} {:>10} {:>14}",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    writeln!(to)?;
    let mut seen = 0;
    for step in latency.iter_quantiles(5) {
        seen += step.count_since_last_iteration();
        let (value, quantile) = (ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        write!(to, "{value:12.6} {quantile:14.12} {seen:10}")?;
        match quantile {
            quantile if quantile < 1.0 => writeln!(to, " {:14.2}", 1.0 / (1.0 - quantile))?,
            _ => writeln!(to)?,
        }
    }
    let (mean, deviation) = (ms(latency.mean()), ms(latency.stdev()));
    writeln!(to, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]")?;
    let (max, count) = (ms(latency.max() as f64), latency.len());
    writeln!(to, "#[Max     = {max:12.6}, Total count    = {count:12}]")?;
    writeln!(
        to,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        latency.buckets(),
        latency.distinct_values() / usize::from(latency.buckets()).max(1)
    )
}
