//! `--html`: the results as one page that needs nothing else, neither network nor scripts. It can
//! be printed, read in the dark and on a phone.
use std::{collections::BTreeMap, time::Duration};

use super::{
    distribution::{Distribution, QUANTILES},
    results::{Results, Trust},
};
use units::{NONE, bytes, count, escape, rate, share, things, time};

mod charts;
mod svg;
#[cfg(test)]
mod tests;
mod units;

const STYLE: &str = include_str!("html/style.css");

/// The whole page, as UTF-8. Whatever comes from outside (the target, the commands, the errors) is
/// text on it, and the page itself forbids scripts and everything that is not in it.
pub(crate) fn page(results: &Results) -> String {
    let parts = [
        head(results),
        header(results),
        verdict(results),
        figures(results),
        all_charts(results),
        quantiles(results),
        errors(results),
        fairness(results),
        testimony(results),
        footer(results),
    ];
    parts.concat()
}

fn head(results: &Results) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'/>\n\
         <meta http-equiv='Content-Security-Policy' \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name='viewport' content='width=device-width, initial-scale=1'/>\n\
         <title>charkh load: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&results.target)
    )
}

fn header(results: &Results) -> String {
    let commands: Vec<String> = results.commands.iter().map(|command| escape(command)).collect();
    format!(
        "<header>\n<p class='over'>charkh load</p>\n<h1>{}</h1>\n\
         <p class='soft'>{} · measured for {} of it · {} · {}, {}</p>\n<pre>{}</pre>\n</header>\n",
        escape(&results.target),
        when(results.began_unix),
        time(results.measured_s * 1e9),
        escape(&results.program),
        things(results.generators.into(), "generator"),
        things(results.threads.into(), "thread"),
        commands.join("\n")
    )
}

/// A time of the calendar, in UTC.
fn when(unix: f64) -> String {
    // Later than the year 9999 is no time that anybody meant.
    match Duration::try_from_secs_f64(unix) {
        Ok(since) if since.as_secs() < 253_402_300_800 => {
            let time = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since);
            time.to_string().replace('T', " ").replace('Z', "\u{a0}UTC")
        }
        _ => NONE.into(),
    }
}

fn verdict(results: &Results) -> String {
    let (class, badge, says) = match results.verdict.trust {
        Trust::Valid => {
            ("valid", "✓ VALID", "The generator kept up: these are the target's times.")
        }
        Trust::Suspect => {
            ("suspect", "! SUSPECT", "Part of these times may be the generator's own.")
        }
        Trust::Invalid => ("invalid", "✗ INVALID", "Do not judge the target by these figures."),
    };
    let reasons = results.verdict.reasons.iter().map(|why| format!("<li>{}</li>", escape(why)));
    let reasons: String = reasons.collect();
    let list = if reasons.is_empty() { String::new() } else { format!("<ul>{reasons}</ul>") };
    format!(
        "<section class='verdict {class}'>\n<span class='badge'>{badge}</span>\n\
         <div><p>{says}</p>{list}</div>\n</section>\n"
    )
}

/// What most people want to know.
fn figures(results: &Results) -> String {
    let all: u64 = results.errors.values().sum();
    let planned = match results.planned_rate {
        Some(planned) => format!("{} planned", rate(planned)),
        None => format!("closed loop, {}", things(results.connections.asked, "connection")),
    };
    let answered = results.requests as f64 / results.measured_s;
    let mut tiles = tile("", "requests/s", &rate_or_none(answered), &planned);
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let says = match results.planned_rate {
            Some(_) => format!("service {}", quantile(&results.service, q)),
            None => "from the sending".into(),
        };
        tiles += &tile("", &format!("{name} latency"), &quantile(&results.latency, q), &says);
    }
    let of =
        format!("of {}", things(results.latency.count(), "reply").replace("replys", "replies"));
    tiles += &tile("", "longest latency", &longest(&results.latency), &of);
    let class = if all > 0 { "bad" } else { "" };
    let unsent = format!("{} planned but never sent", count(results.unsent));
    tiles += &tile(class, "errors", &count(all), &unsent);
    format!("<dl class='figures'>\n{tiles}</dl>\n")
}

fn tile(class: &str, name: &str, number: &str, says: &str) -> String {
    format!(
        "<div class='{class}'><dt>{name}</dt><dd class='big'>{number}</dd>\
         <dd class='sub'>{says}</dd></div>\n"
    )
}

fn rate_or_none(number: f64) -> String {
    if number.is_finite() { rate(number) } else { NONE.into() }
}

fn quantile(times: &Distribution, q: f64) -> String {
    if times.count() == 0 { NONE.into() } else { time(times.quantile_ns(q) as f64) }
}

fn longest(times: &Distribution) -> String {
    quantile(times, 1.0)
}

fn all_charts(results: &Results) -> String {
    let series = &results.series;
    let no_time = series.slices.is_empty() || series.slice_ms == 0;
    let none = |is_none: bool, chart: &dyn Fn() -> String| match is_none {
        true => String::new(),
        false => chart(),
    };
    let empty = results.latency.count() == 0;
    [
        figure(
            "Latency by percentile",
            &key(results),
            &none(empty, &|| charts::percentiles(results)),
        ),
        figure(
            "Throughput over time",
            &shaded(results),
            &none(no_time, &|| charts::throughput(results)),
        ),
        figure(
            "Latency over time",
            &heat_key(results),
            &none(no_time, &|| charts::heat_map(results)),
        ),
        figure(
            "Connections over time",
            "<p>How many were up at the end of each slice of time.</p>",
            &none(no_time, &|| charts::connections(results)),
        ),
    ]
    .concat()
}

fn figure(title: &str, caption: &str, chart: &str) -> String {
    let chart = if chart.is_empty() { "<p>There is nothing to show.</p>\n" } else { chart };
    format!("<figure>\n<figcaption><h2>{title}</h2>{caption}</figcaption>\n{chart}</figure>\n")
}

fn key(results: &Results) -> String {
    let latency = "<span class='key'><i class='latency'></i>latency, from the ";
    match results.planned_rate {
        Some(_) => format!(
            "<p>{latency}planned time</span> <span class='key'><i class='service'></i>service, \
             from the sending</span> Both axes are logarithmic.</p>"
        ),
        None => format!("<p>{latency}sending</span> Both axes are logarithmic.</p>"),
    }
}

fn shaded(results: &Results) -> String {
    let charts::Phases { connected, from, to } = charts::phases(results);
    let plain = |s: f64| time(s * 1e9);
    format!(
        "<p>Replies in each slice of {}. Shaded is what does not count: connecting until {}, \
         warm-up until {}, and after {}.</p>",
        time(results.series.slice_ms as f64 * 1e6),
        plain(connected),
        plain(from),
        plain(to)
    )
}

fn heat_key(results: &Results) -> String {
    let colours: String = (0..charts::LEVELS).map(|n| format!("<b class='v{n}'></b>")).collect();
    format!(
        "<p>Each cell is how many replies took so long at that time. \
         <span class='key'>1 {colours} {}</span></p>",
        count(charts::densest(results).max(1))
    )
}

fn quantiles(results: &Results) -> String {
    let mut columns = vec![("latency", &results.latency)];
    if results.planned_rate.is_some() {
        columns.push(("service", &results.service));
    }
    columns.push(("first byte", &results.first_byte));
    columns.push(("connecting", &results.connect));
    let row = |name: &str, cell: &dyn Fn(&Distribution) -> String| {
        let cells: String = columns.iter().map(|(_, times)| cell(times)).collect();
        format!("<tr><th>{name}</th>{cells}</tr>\n")
    };
    let known = |times: &Distribution, shown: String| {
        number(if times.count() == 0 { NONE } else { &shown })
    };
    let names: String =
        columns.iter().map(|(name, _)| format!("<th class='n'>{name}</th>")).collect();
    let mut rows = format!("<tr><th></th>{names}</tr>\n");
    rows += &row("shortest", &|times| known(times, time(times.min_ns() as f64)));
    rows += &row("mean", &|times| known(times, time(times.mean_ns())));
    for (name, q) in QUANTILES {
        rows += &row(name, &|times| quantile_cell(times, q));
    }
    rows += &row("longest", &|times| number(&longest(times)));
    rows += &row("how many", &|times| number(&count(times.count())));
    format!(
        "<section>\n<h2>Times</h2>\n{}<p class='soft'>Latency counts from the {}, service and first \
         byte from the sending, connecting from the first system call. Slanted: measured too few \
         times to tell it from the longest.</p>\n</section>\n",
        table(&rows),
        if results.planned_rate.is_some() { "planned time" } else { "sending" }
    )
}

/// The one in so many, if there were so many.
fn quantile_cell(times: &Distribution, q: f64) -> String {
    let enough = times.count() as f64 * (1.0 - q) >= 0.999;
    match enough || times.count() == 0 {
        true => number(&quantile(times, q)),
        false => format!("<td class='n faint'>{}</td>", quantile(times, q)),
    }
}

fn number(shown: &str) -> String {
    format!("<td class='n'>{shown}</td>")
}

fn table(rows: &str) -> String {
    format!("<div class='wrap'><table>\n{rows}</table></div>\n")
}

fn errors(results: &Results) -> String {
    let mut rows =
        "<tr><th>kind</th><th class='n'>how many</th><th>the first of them</th></tr>\n".to_string();
    for (kind, number) in results.errors.iter().filter(|(_, number)| **number > 0) {
        let example = results.examples.get(kind).map_or(NONE.into(), |text| escape(text));
        rows += &format!(
            "<tr><td class='error'>{}</td><td class='n'>{}</td>\
             <td class='words'>{example}</td></tr>\n",
            escape(kind),
            count(*number)
        );
    }
    let shown = match results.errors.values().sum::<u64>() {
        0 => "<p>None, over the whole run.</p>\n".into(),
        _ => table(&rows),
    };
    format!("<section>\n<h2>Errors</h2>\n{shown}</section>\n")
}

fn fairness(results: &Results) -> String {
    let fairness = &results.fairness;
    let each = fairness.sum as f64 / fairness.connections as f64;
    let shown = match fairness.connections {
        0 => "<p>No connection was up while measuring.</p>\n".into(),
        all => facts(&[
            (
                "Jain's index",
                decimal(fairness.jain),
                &format!(
                    "how evenly requests were spread over {}: 1 if all had the same, \
                     {} if one had them all",
                    things(all, "connection"),
                    decimal(1.0 / all as f64)
                ),
            ),
            (
                "longest gap",
                time(fairness.longest_gap_ms * 1e6),
                "that a connection with a request under way went without a reply",
            ),
            (
                "most starved",
                things(fairness.most_starved_requests, "request"),
                &format!(
                    "on connection {} (from 0); the mean is {}",
                    fairness.most_starved,
                    rate_or_none(each)
                ),
            ),
        ]),
    };
    let conns = &results.connections;
    let traffic = facts(&[
        ("connections", count(conns.asked), "asked for"),
        ("up at once", count(conns.up_max), &format!("at most; {} opened", count(conns.opened))),
        ("requests", count(results.requests), "answered whole and right while measuring"),
        ("bytes in", bytes(results.bytes_in as f64), &each_second(results.bytes_in, results)),
        ("bytes out", bytes(results.bytes_out as f64), &each_second(results.bytes_out, results)),
    ]);
    format!(
        "<section class='two'>\n<div><h2>Fairness</h2>\n{shown}</div>\n\
         <div><h2>Traffic</h2>\n{traffic}</div>\n</section>\n"
    )
}

fn each_second(all: u64, results: &Results) -> String {
    match all as f64 / results.measured_s {
        each if each.is_finite() => format!("{} a second", bytes(each)),
        _ => NONE.into(),
    }
}

fn decimal(number: f64) -> String {
    if number.is_finite() { format!("{number:.3}") } else { NONE.into() }
}

/// What each is, how much, and what that means.
fn facts(facts: &[(&str, String, &str)]) -> String {
    let row = |(name, shown, says): &(&str, String, &str)| {
        format!("<tr><th>{name}</th>{}<td class='words soft'>{says}</td></tr>\n", number(shown))
    };
    table(&facts.iter().map(row).collect::<String>())
}

/// Whether what was measured was the target: `ours` is the program's doing, `theirs` that of the
/// machine it ran on.
fn testimony(results: &Results) -> String {
    let ours = &results.testimony;
    let three = |times: &Distribution| {
        format!("{} · {} · {}", quantile(times, 0.5), quantile(times, 0.99), longest(times))
    };
    let machine = |seconds: Option<f64>| match seconds {
        Some(seconds) => time(seconds * 1e9),
        None => "not known".into(),
    };
    let program = facts(&[
        ("lateness", three(&ours.lateness), "of sends that a connection was free for"),
        ("handling", three(&ours.handling), "from the kernel's word to a reply's turn"),
        (
            "longest turn",
            time(ours.longest_turn_ms * 1e6),
            &format!("of a loop; 99 of 100 within {}", time(ours.turn_p99_ms * 1e6)),
        ),
        (
            "busiest thread",
            share(ours.busiest),
            &format!(
                "of a processor; all: {} in {}",
                time(ours.cpu_s * 1e9),
                time(ours.wall_s * 1e9)
            ),
        ),
    ]);
    let limits = limits(&ours.limits);
    let machine = facts(&[
        ("waited", machine(ours.waited_s), "for a processor that others had"),
        ("stolen", ours.steal.map_or("not known".into(), share), "of its processors, by its host"),
        ("limits met", things(ours.limits.values().sum(), "time"), &limits),
    ]);
    format!(
        "<section>\n<h2>The generator's testimony</h2>\n<p class='soft'>How much of these times may \
         not be the target's. Lateness and handling: p50 · p99 · longest.</p>\n<div class='two'>\n\
         <div><h3>Ours: what the program did</h3>\n{program}</div>\n\
         <div><h3>Theirs: what its machine did to it</h3>\n{machine}</div>\n</div>\n</section>\n"
    )
}

fn limits(limits: &BTreeMap<String, u64>) -> String {
    let each = limits.iter().map(|(name, times)| format!("{}: {}", escape(name), count(*times)));
    let all: Vec<String> = each.collect();
    if all.is_empty() { "of this machine".into() } else { all.join(", ") }
}

fn footer(results: &Results) -> String {
    format!("<footer>Made by {}.</footer>\n</main>\n</body>\n</html>\n", escape(&results.program))
}
