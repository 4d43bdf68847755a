//! `--html`: the results as one page that needs nothing else, neither network nor scripts. It can
//! be printed, read in the dark and on a phone.
use std::{collections::BTreeMap, time::Duration};

use super::{
    distribution::{Distribution, QUANTILES},
    results::{Results, Trust},
    search::Trial,
    testimony,
};
use units::{NONE, bare, bytes, count, escape, rate, share, things, time};

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
        search(results),
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
         <p class='soft'>{} · measured for {} · {} · {}, {}</p>\n<pre>{}</pre>\n</header>\n",
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
    let mut tiles = tile("", "requests/s", &rate(answered), &planned);
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let says = match results.planned_rate {
            Some(_) => format!("service {}", quantile(&results.service, q)),
            None => "from the sending".into(),
        };
        tiles += &tile("", &format!("{name} latency"), &quantile(&results.latency, q), &says);
    }
    let of = format!("of {} replies", count(results.latency.count()));
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
    let plain = |s: f64| bare(&time(s * 1e9));
    format!(
        "<p>Replies in each slice of {}. Shaded is what does not count: connecting until {}, \
         warm-up until {}, and after {}.</p>",
        bare(&time(results.series.slice_ms as f64 * 1e6)),
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
    let is_open = results.planned_rate.is_some();
    let columns = [
        ("latency", Some(&results.latency)),
        ("service", is_open.then_some(&results.service)),
        ("first byte", Some(&results.first_byte)),
        ("connect", Some(&results.connect)),
        ("handshake", Some(&results.handshake).filter(|times| !times.is_empty())),
    ];
    let shown = || columns.iter().filter_map(|(name, times)| times.map(|times| (*name, times)));
    let row = |name: &str, cell: &dyn Fn(&Distribution) -> String| {
        let cells: String = shown().map(|(_, times)| cell(times)).collect();
        format!("<tr><th>{name}</th>{cells}</tr>\n")
    };
    let known = |times: &Distribution, ns: f64| match times.count() {
        0 => number(NONE),
        _ => number(&time(ns)),
    };
    let mut rows = row("shortest", &|times| known(times, times.min_ns() as f64));
    rows += &row("mean", &|times| known(times, times.mean_ns()));
    for (name, q) in QUANTILES {
        rows += &row(name, &|times| quantile_cell(times, q));
    }
    rows += &row("longest", &|times| number(&longest(times)));
    rows += &row("number", &|times| number(&count(times.count())));
    let names: Vec<(&str, &str)> =
        [("", "")].into_iter().chain(shown().map(|(name, _)| (name, "n"))).collect();
    format!(
        "<section>\n<h2>Times</h2>\n{}<p class='soft'>Latency counts from the {}, first byte{} \
         from the sending, connect from the first system call. Slanted: measured too few times to \
         tell it from the longest.</p>\n</section>\n",
        table(&names, &rows),
        if is_open { "planned time" } else { "sending" },
        if is_open { " and service" } else { "" }
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

/// Names of columns with their classes, and rows.
fn table(names: &[(&str, &str)], rows: &str) -> String {
    let name = |(name, class): &(&str, &str)| format!("<th class='{class}'>{name}</th>");
    let names: String = names.iter().map(name).collect();
    format!(
        "<div class='wrap'><table class='many'>\n<thead><tr>{names}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn search(results: &Results) -> String {
    let Some(found) = &results.search else { return String::new() };
    let row = |trial: &Trial| {
        format!(
            "<tr><td class='n'>{}</td><td class='n'>{}</td><td>{}</td></tr>\n",
            rate(trial.rate),
            time(trial.value_ms * 1e6),
            if trial.kept { "kept" } else { "broken" }
        )
    };
    let trials = table(
        &[("requests/s", "n"), ("as it was", "n"), ("", "")],
        &found.trials.iter().map(row).collect::<String>(),
    );
    format!(
        "<section>\n<h2>Search for the highest rate</h2>\n\
         <p>{} is kept up to <b>{}</b> requests a second, from {} to {} with a confidence of 97 %. \
         All else on this page is of the last trial that kept it.</p>\n\
         <details><summary>{}</summary>\n{trials}</details>\n</section>\n",
        escape(&found.promise),
        rate(found.rate),
        rate(found.low),
        rate(found.high),
        things(found.trials.len() as u64, "trial"),
    )
}

fn errors(results: &Results) -> String {
    let row = |(kind, number): (&String, &u64)| {
        let example = results.examples.get(kind).map_or(NONE.into(), |text| escape(text));
        format!(
            "<tr><td class='error'>{}</td><td class='n'>{}</td>\
             <td class='words'>{example}</td></tr>\n",
            escape(kind),
            count(*number)
        )
    };
    let met = || results.errors.iter().filter(|(_, number)| **number > 0);
    let shown = match met().count() {
        0 => "<p>None, over the whole run.</p>\n".into(),
        _ => table(
            &[("kind", ""), ("how many", "n"), ("the first of them", "words")],
            &met().map(row).collect::<String>(),
        ),
    };
    format!("<section>\n<h2>Errors</h2>\n{shown}</section>\n")
}

fn fairness(results: &Results) -> String {
    let conns = &results.connections;
    let traffic = facts(&[
        ("connections", count(conns.asked), "asked for"),
        ("up at once", count(conns.up_max), &format!("at most; {} opened", count(conns.opened))),
        ("requests", count(results.requests), "answered whole and right while measuring"),
        ("bytes in", bytes(results.bytes_in as f64), &each_second(results.bytes_in, results)),
        ("bytes out", bytes(results.bytes_out as f64), &each_second(results.bytes_out, results)),
    ]);
    format!(
        "<section class='two'>\n<div><h2>Fairness</h2>\n{}</div>\n\
         <div><h2>Traffic</h2>\n{traffic}</div>\n</section>\n",
        shares(results)
    )
}

/// How evenly the connections were served.
fn shares(results: &Results) -> String {
    let fairness = &results.fairness;
    if fairness.connections == 0 {
        return "<p>No connection was up while measuring.</p>\n".into();
    }
    let jain = format!(
        "how evenly replies were spread over {}: 1 if all had as many, {} if one had them all",
        things(fairness.connections, "connection"),
        decimal(1.0 / fairness.connections as f64)
    );
    let starved = format!(
        "on connection {} (from 0); the mean is {}",
        fairness.most_starved,
        rate(fairness.sum as f64 / fairness.connections as f64)
    );
    facts(&[
        ("Jain's index", decimal(fairness.jain), &jain),
        (
            "longest gap",
            time(fairness.longest_gap_ms * 1e6),
            "that a connection with a request under way went without a reply",
        ),
        ("most starved", things(fairness.most_starved_requests, "request"), &starved),
    ])
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
        format!("<tr><th>{name}<small>{says}</small></th>{}</tr>\n", number(shown))
    };
    let rows: String = facts.iter().map(row).collect();
    format!("<div class='wrap'><table>\n{rows}</table></div>\n")
}

/// Whether what was measured was the target: `ours` is the program's doing, `theirs` that of the
/// machine it ran on.
fn testimony(results: &Results) -> String {
    let testimony = &results.testimony;
    let busy = format!(
        "of a processor; all threads: {} in {}",
        time(testimony.cpu_s * 1e9),
        time(testimony.wall_s * 1e9)
    );
    let program = facts(&[("busiest thread", share(testimony.busiest), &busy)]);
    let waited = testimony.waited_s.map_or("not known".into(), |s| time(s * 1e9));
    let stolen = testimony.steal.map_or("not known".into(), share);
    let met = things(testimony.limits.values().sum(), "time");
    let machine = facts(&[
        ("waited", waited, "for a processor that others had, all threads together"),
        ("stolen", stolen, "of the machine's processor time, by its host"),
        ("limits met", met, &limits(&testimony.limits)),
    ]);
    format!(
        "<section>\n<h2>The generator's testimony</h2>\n<p class='soft'>How much of these times \
         may not be the target's.</p>\n{}<div class='two'>\n\
         <div><h3>What the program did</h3>\n{}{program}</div>\n\
         <div><h3>What its machine did to it</h3>\n{machine}</div>\n</div>\n</section>\n",
        split(results),
        own_times(results)
    )
}

fn split(results: &Results) -> String {
    testimony::split(results).map_or(String::new(), |(ours, theirs)| {
        format!(
            "<p>Of the mean latency at least <b>{}</b> are theirs, the target's; at most <b>{}</b> \
             are ours: sends that were late, and replies that waited here for their turn.</p>\n",
            time(theirs),
            time(ours)
        )
    })
}

fn own_times(results: &Results) -> String {
    let testimony = &results.testimony;
    let row = |name: &str, says: &str, shown: [String; 3]| {
        let cells = shown.map(|shown| number(&shown)).concat();
        format!("<tr><th>{name}<small>{says}</small></th>{cells}</tr>\n")
    };
    let three =
        |times: &Distribution| [quantile(times, 0.5), quantile(times, 0.99), longest(times)];
    let turn = [testimony.turn_p99_ms, testimony.longest_turn_ms].map(|ms| time(ms * 1e6));
    let [turn_p99, longest_turn] = turn;
    let rows = [
        row("lateness", "of sends that a connection was free for", three(&testimony.lateness)),
        row("handling", "from the kernel's word to a reply's turn", three(&testimony.handling)),
        row("turn", "once round the loop", [NONE.into(), turn_p99, longest_turn]),
    ];
    table(&[("", ""), ("p50", "n"), ("p99", "n"), ("longest", "n")], &rows.concat())
}

fn limits(limits: &BTreeMap<String, u64>) -> String {
    let each = limits.iter().map(|(name, times)| format!("{}: {}", escape(name), count(*times)));
    let all: Vec<String> = each.collect();
    if all.is_empty() { "of this machine".into() } else { all.join(", ") }
}

fn footer(results: &Results) -> String {
    format!("<footer>Made by {}.</footer>\n</main>\n</body>\n</html>\n", escape(&results.program))
}
