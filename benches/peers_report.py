"""The results of benches/peers.py as tables and as a picture. All of it is made from what --json
writes, so that it can be made again."""
import html
import statistics
import textwrap

REFERENCE = "epoll"
TITLES = {"epoll": "bare epoll loop, C", "control": "the same again",
          "epoll-level": "level-triggered, C", "libuv": "libuv, C", "libevent": "libevent, C",
          "go": "Go", "node": "Node"}
SHORT = {"50": "50 conns", "1000": "1 000 conns", "10000": "10 000 conns", "depth": "16 in flight",
         "16k": "16 KiB", "idle": "idle memory", "churn": "come and go",
         "broadcast": "broadcast"}
APART = ["idle", "fairness", "grow", "rest"]  # cases that are not about what the bare loop costs
FLOODERS = [0, 1, 16]
SPREAD = "(min - max)"


def median(rounds, what):
    return statistics.median(one[what] for one in rounds)


def cost(results, case):
    """The figure that ratios are made of."""
    return "to_load" if results["even"] and case != "broadcast" else "cpu_us"


def ratios(rounds, what, name, other):
    """Of one to another, round by round."""
    return [a[what] / b[what] for a, b in zip(rounds[name], rounds[other])]


def title(name):
    return TITLES.get(name, name)


# What a case's table has: the head, a figure of the results, what it is multiplied by, digits.
COLUMNS = {
    "echo": [("requests/s", "rate", 1, 0), ("CPU µs", "cpu_us", 1, 2),
             ("to load's", "to_load", 1, 2), ("user %", "user_share", 100, 0),
             ("p50 µs", "p50_us", 1, 0), ("p99 µs", "p99_us", 1, 0), ("p99.9 µs", "p99_9_us", 1, 0),
             ("RSS MiB", "resident", 2 ** -20, 1), ("busy %", "busy", 100, 0),
             ("load busy %", "load_busy", 100, 0)],
    "churn": [("connections/s", "rate", 1, 0), ("CPU µs", "cpu_us", 1, 2),
              ("to load's", "to_load", 1, 2), ("busy %", "busy", 100, 0),
              ("load busy %", "load_busy", 100, 0)],
    "idle": [("bytes each", "bytes", 1, 0)],
    "broadcast": [("CPU µs each", "cpu_us", 1, 3), ("waiting B", "waiting", 1, 0),
                  ("memory B", "memory", 1, 0)],
    "grow": [("connections/s", "rate", 1, 0), ("longest turn ms", "turn_max_ms", 1, 2),
             (SPREAD, "turn_max_ms", 1, 2), ("waited ms in all", "waited_ms", 1, 2)],
    "rest": [("CPU ns", "ns", 1, 0), (SPREAD, "ns", 1, 0), ("switches", "switches", 1, 0),
             (SPREAD, "switches", 1, 0)],
    "fairness": [("p50 µs", "p50_us", 1, 0), ("p99 µs", "p99_us", 1, 0), (SPREAD, "p99_us", 1, 0),
                 ("to that without", "times", 1, 2), (SPREAD, "times", 1, 2),
                 ("turn p99 µs", "turn_p99_us", 1, 0), ("longest turn µs", "turn_max_us", 1, 0)],
}


def by_flooders(rounds):
    """A server beside so many flooders, as if it were one of its own."""
    said = {count: "no flooder" if count == 0 else f"{count} flooder{'s' * (count > 1)}"
            for count in FLOODERS}
    return {f"{title(name)}, {said[count]}": [one[str(count)] for one in each]
            for name, each in rounds.items() for count in FLOODERS}


def figure(each, head, what, by, digits):
    """The median, or what lies between the rounds; nothing if this server has no such figure."""
    if what not in each[0]:
        return ""
    if head == SPREAD:
        many = [one[what] * by for one in each]
        return f"{min(many):.{digits}f} - {max(many):.{digits}f}"
    return f"{median(each, what) * by:.{digits}f}"


def case_rows(case, rounds, by):
    """Medians, and the ratio of the cost to the bare loop's, with the lowest and highest."""
    columns = COLUMNS.get(case, COLUMNS["echo"])
    has_ratio = REFERENCE in rounds and case not in APART
    rows = [["", *(head for head, *_ in columns), *(["ratio", SPREAD] * has_ratio)]]
    if case == "fairness":
        rounds = by_flooders(rounds)
    for name, each in rounds.items():
        row = [title(name), *(figure(each, *column) for column in columns)]
        if has_ratio:
            many = ratios(rounds, by, name, REFERENCE)
            row += [f"{statistics.median(many):.2f}", f"{min(many):.2f} - {max(many):.2f}"]
        rows.append(row)
    return rows


def provenance(results):
    """What a figure is worth: the machine and how often it was asked."""
    machine = results["machine"]
    rounds = max(len(each) for found in results["cases"].values()
                 for each in found["rounds"].values())
    how = f"medians of {rounds} interleaved rounds" if rounds > 1 else "one round"
    even = ", each over the load's own CPU time" if results["even"] else ""
    return (f"{machine['cpu']}, {machine['cpus']} processors, {machine['kernel']}, "
            f"{machine['date']}; {how} of {results['seconds']:g} s{even}")


def peers_versions(results):
    said = [f"{name} {version}" for name, version in results["versions"].items() if version]
    return ", ".join(said)


def doubts(results):
    """What speaks against the figures."""
    every = [one for case, found in results["cases"].items()
             for each in (by_flooders(found["rounds"]) if case == "fairness" else found["rounds"])
             .values() for one in each]
    stolen = max((one.get("steal", 0) for one in every), default=0)
    errors = sum(one.get("errors", 0) for one in every)
    said = [f"Skipped: {', '.join(results['skipped'])}"] if results["skipped"] else []
    said += [f"The machine's host took up to {100 * stolen:.0f} %"] if stolen > 0.01 else []
    if not all(one.get("real_time", True) for one in every):
        said.append("No real-time priority was allowed: waits are those of the generator as well")
    return said + ([f"Errors: {errors}"] if errors else [])


def tables(results):
    """For a terminal."""
    parts = [provenance(results), peers_versions(results), *doubts(results)]
    for case, found in results["cases"].items():
        rows = case_rows(case, found["rounds"], cost(results, case))
        widths = [max(map(len, column)) for column in zip(*rows)]
        parts.append(f"\n{found['what']}")
        for name, *figures in rows:
            figures = [word.rjust(width) for word, width in zip(figures, widths[1:])]
            parts.append("  ".join([name.ljust(widths[0]), *figures]))
    return "\n".join(parts)


# Markdown.


def markdown_table(rows):
    head, *body = [["**" + word + "**" if row[0].split(",")[0] == "charkh" and word else word
                    for word in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [
        head, ["---", *["---:"] * (len(head) - 1)], *body])


def summary_rows(results):
    """A server in a row: its cost in every case, relative to the bare loop's, which is in µs."""
    cases = results["cases"]
    cases = {case: found for case, found in cases.items() if case in SHORT}
    names = dict.fromkeys(name for found in cases.values() for name in found["rounds"])
    rows = [["", *(SHORT[case] for case in cases)]]
    for name in names:
        row = [title(name)]
        for case, found in cases.items():
            rounds = found["rounds"]
            if name not in rounds:
                row.append("")
            elif case == "idle":
                row.append(f"{median(rounds[name], 'bytes'):.0f} B")
            elif name == REFERENCE or REFERENCE not in rounds:
                row.append(f"{median(rounds[name], 'cpu_us'):.2f} µs")
            else:
                many = ratios(rounds, cost(results, case), name, REFERENCE)
                row.append(f"{statistics.median(many):.2f}")
        rows.append(row)
    return rows


def markdown(results):
    """First what fits into a README, then every case."""
    parts = [". ".join([provenance(results), peers_versions(results), *doubts(results)]) + "."]
    summary = summary_rows(results)
    if len(summary) > 1:
        parts = ["CPU time of the server per request, per connection that comes and goes, or per "
                 "recipient, relative to the bare loop's; user memory of an idle connection.",
                 markdown_table(summary), *parts]
    for case, found in results["cases"].items():
        parts += [f"### {found['what']}",
                  markdown_table(case_rows(case, found["rounds"], cost(results, case)))]
    return "\n\n".join(parts) + "\n"


# The picture.

WIDTH, MARGIN, LABEL, BAR, ROW, HEAD, NOTES = 960, 28, 132, 220, 22, 44, 308
RATIO_MAX = 3  # longer bars are cut
INK, FAINT, EDGE, LINE, GROUND = "#1f2328", "#59636e", "#d0d7de", "#cf222e", "#ffffff"
COLOURS = {"charkh": "#0969da", "epoll": "#59636e", "epoll-level": "#818b98"}
OTHERS = "#b6bfc9"
FONTS = "-apple-system, system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Arial, sans-serif"


def words(x, y, text, size=13, colour=INK, weight="normal", anchor="start"):
    """Text with a rim of the ground's colour, so that it is read where a line runs through it."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
            f'font-weight="{weight}" text-anchor="{anchor}" paint-order="stroke" '
            f'stroke="{GROUND}" stroke-width="4">{html.escape(text)}</text>')


def rule(x0, y0, x1, y1, colour, more=""):
    return (f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" '
            f'stroke="{colour}" {more}/>')


def panel(x, y, head, bars, mark):
    """Bars of (name, value, lowest, highest, said); a line at `mark`, if there is one."""
    longest = max(max(value, high) for _, value, _, high, _ in bars)
    if mark:
        longest = min(max(longest, 1.5 * mark), RATIO_MAX * mark)
    left, scale = x + LABEL, BAR / longest
    shapes, texts = [], [words(x, y + 16, head, 15, weight="bold")]
    for number, (name, value, low, high, said) in enumerate(bars):
        top = y + HEAD - 10 + number * ROW
        weight = "bold" if name == "charkh" else "normal"
        shown = min(value, longest)
        shapes.append(f'<rect x="{left}" y="{top}" width="{max(1, shown * scale):.1f}" '
                      f'height="15" rx="2" fill="{COLOURS.get(name, OTHERS)}"/>')
        if value > longest:
            cut = left + 0.9 * BAR
            shapes.append(rule(cut, top + 18, cut + 6, top - 3, GROUND, 'stroke-width="4"'))
        elif high > low:
            high = min(high, longest)
            shapes.append(rule(left + low * scale, top + 7.5, left + high * scale, top + 7.5, INK))
            shown = max(value, high)
        texts += [words(left - 8, top + 12, title(name), weight=weight, anchor="end"),
                  words(left + shown * scale + 6, top + 12, said, weight=weight)]
    if mark:
        at, bottom = left + mark * scale, y + HEAD - 8 + ROW * len(bars)
        shapes.append(rule(at, y + HEAD - 14, at, bottom, LINE, 'stroke-dasharray="3 3"'))
    return "\n".join(shapes + texts)


def ratio_bars(rounds, by):
    bars = []
    for name, each in rounds.items():
        many = ratios(rounds, by, name, REFERENCE)
        middle = statistics.median(many)
        said = f"{median(each, 'cpu_us'):.2f} µs" if name == REFERENCE else f"{middle:.2f}"
        bars.append((name, middle, min(many), max(many), said))
    return bars


def memory_bars(rounds):
    sizes = {name: median(each, "bytes") for name, each in rounds.items()}
    return [(name, size, size, size, f"{size:,.0f} B".replace(",", " "))
            for name, size in sizes.items()]


def notes(x, y, results):
    """Where the last panel would be: what was measured, and on what."""
    machine, how = provenance(results).split("; ")
    said = [*machine.split(", "), how, "", "CPU time from the process's own clock,",
            "while requests are counted", "",
            *textwrap.wrap(peers_versions(results), 58)]
    return "\n".join([words(x, y + 16, "measured", 15, weight="bold"),
                      *(words(x, y + HEAD + 2 + 18 * number, line, 12, FAINT)
                        for number, line in enumerate(said))])


def svg(results):
    """Panels in two columns, on a ground of their own, so that they are read in the dark too."""
    panels = []
    for case, found in results["cases"].items():
        rounds = found["rounds"]
        if case == "idle":
            panels.append(("user memory of an idle connection", memory_bars(rounds), None))
        elif REFERENCE in rounds and case not in APART:
            panels.append((found["what"], ratio_bars(rounds, cost(results, case)), 1))
    tall = HEAD + ROW * max((len(bars) for _, bars, _ in panels), default=0) + 16
    column = (WIDTH - MARGIN) / 2
    height = 84 + tall * (len(panels) // 2) + max(tall, NOTES)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
             f'width="{WIDTH}" height="{height}" font-family="{FONTS}">',
             f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" '
             f'fill="{GROUND}" stroke="{EDGE}"/>',
             words(MARGIN, 36, "What an echo costs the server", 19, weight="bold"),
             words(MARGIN, 58, "CPU time per request (or connection), relative to a bare epoll "
                   "loop in C: shorter is better. Thin lines: lowest and highest round.", 13,
                   FAINT)]
    for number, (head, bars, mark) in enumerate(panels):
        x, y = MARGIN + number % 2 * column, 84 + number // 2 * tall
        parts.append(panel(x, y, head, bars, mark))
    parts.append(notes(MARGIN + len(panels) % 2 * column, 84 + len(panels) // 2 * tall, results))
    return "\n".join([*parts, "</svg>"]) + "\n"
