"""The results of benches/peers.py as tables and as a picture. All of it is made from what --json
writes, so that it can be made again."""
import html
import statistics

REFERENCE = "epoll"
TITLES = {"epoll": "bare epoll loop, C", "epoll-level": "the same, level", "libuv": "libuv, C",
          "libevent": "libevent, C", "go": "Go", "node": "Node"}
ECHOES = ["50", "1000", "10000", "depth", "16k"]


def median(rounds, what):
    return statistics.median(one[what] for one in rounds)


def ratios(rounds, what, name, other):
    """Of one to another, round by round."""
    return [a[what] / b[what] for a, b in zip(rounds[name], rounds[other])]


def title(name):
    return TITLES.get(name, name)


def grid(rows, line):
    """Rows of words, each column as wide as its widest."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(line(row, widths) for row in rows)


# What a case's table has: the head, a figure of the results, what it is multiplied by, digits.
COLUMNS = {
    "echo": [("requests/s", "rate", 1, 0), ("CPU µs", "cpu_us", 1, 2),
             ("user %", "user_share", 100, 0), ("p50 µs", "p50_us", 1, 0),
             ("p99 µs", "p99_us", 1, 0), ("p99.9 µs", "p99_9_us", 1, 0),
             ("RSS MiB", "resident", 2 ** -20, 1), ("busy %", "busy", 100, 0),
             ("load busy %", "load_busy", 100, 0)],
    "churn": [("connections/s", "rate", 1, 0), ("CPU µs", "cpu_us", 1, 2),
              ("busy %", "busy", 100, 0), ("load busy %", "load_busy", 100, 0)],
    "idle": [("bytes each", "bytes", 1, 0)],
}


def case_rows(case, rounds):
    """Medians; after the CPU time its ratio to the bare loop's, with the lowest and highest."""
    columns = COLUMNS.get(case, COLUMNS["echo"])
    has_ratio = REFERENCE in rounds and case != "idle"
    rows = [["", *(head for head, *_ in columns), *(["ratio", "(min - max)"] * has_ratio)]]
    for name, each in rounds.items():
        row = [title(name), *(f"{median(each, what) * by:.{digits}f}"
                              for _, what, by, digits in columns)]
        if has_ratio:
            many = ratios(rounds, "cpu_us", name, REFERENCE)
            row += [f"{statistics.median(many):.2f}", f"{min(many):.2f} - {max(many):.2f}"]
        rows.append(row)
    return rows


def provenance(results):
    machine, some = results["machine"], next(iter(results["cases"].values()))
    rounds = len(next(iter(some["rounds"].values())))
    return (f"{machine['cpu']}, {machine['cpus']} processors, {machine['kernel']}, "
            f"{machine['date']}; medians of {rounds} interleaved rounds of "
            f"{results['seconds']:g} s")


def peers_versions(results):
    said = [f"{name} {version}" for name, version in results["versions"].items() if version]
    return ", ".join(said)


def tables(results):
    """For a terminal."""
    parts = [provenance(results), peers_versions(results)]
    if results["skipped"]:
        parts.append(f"skipped: {', '.join(results['skipped'])}")
    for case, found in results["cases"].items():
        rows = case_rows(case, found["rounds"])
        parts.append(f"\n{found['what']}\n" + grid(rows, lambda row, widths: "  ".join(
            word.rjust(width) if at else word.ljust(width)
            for at, (word, width) in enumerate(zip(row, widths)))))
    return "\n".join(parts)


# Markdown.


def markdown_table(rows):
    head, *body = [["**" + word + "**" if row[0] == "charkh" and word else word for word in row]
                   for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [
        head, ["---", *["---:"] * (len(head) - 1)], *body])


def summary_rows(results):
    """A server in a row: its cost in every case, relative to the bare loop's, which is in µs."""
    cases = results["cases"]
    names = next(iter(cases.values()))["rounds"]
    rows = [["", *(found["what"] for found in cases.values())]]
    for name in names:
        row = [title(name)]
        for case, found in cases.items():
            rounds = found["rounds"]
            if case == "idle":
                row.append(f"{median(rounds[name], 'bytes'):.0f} B")
            elif name == REFERENCE or REFERENCE not in rounds:
                row.append(f"{median(rounds[name], 'cpu_us'):.2f} µs")
            else:
                many = ratios(rounds, "cpu_us", name, REFERENCE)
                row.append(f"{statistics.median(many):.2f}")
        rows.append(row)
    return rows


def markdown(results):
    """First what fits into a README, then every case."""
    parts = ["CPU time of the server per request, relative to the bare loop's; user memory of an "
             "idle connection.", markdown_table(summary_rows(results)),
             f"{provenance(results)}. {peers_versions(results)}."]
    if results["skipped"]:
        parts.append(f"Skipped: {', '.join(results['skipped'])}.")
    for case, found in results["cases"].items():
        parts += [f"### {found['what']}", markdown_table(case_rows(case, found["rounds"]))]
    return "\n\n".join(parts) + "\n"


# The picture.

WIDTH, MARGIN, LABEL, BAR, ROW, HEAD = 960, 28, 132, 232, 22, 44
INK, FAINT, EDGE, LINE = "#1f2328", "#59636e", "#d0d7de", "#cf222e"
COLOURS = {"charkh": "#0969da", "epoll": "#59636e", "epoll-level": "#818b98"}
OTHERS = "#b6bfc9"


def words(x, y, text, size=13, colour=INK, weight="normal", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
            f'font-weight="{weight}" text-anchor="{anchor}">{html.escape(text)}</text>')


def panel(x, y, head, bars, mark):
    """Bars of (name, value, lowest, highest, said); a line at `mark`, if there is one."""
    longest = max(max(value, high) for _, value, _, high, _ in bars)
    scale = BAR / max(longest, 1.25 * (mark or 0))
    left, parts = x + LABEL, [words(x, y + 16, head, 15, weight="bold")]
    bottom = y + HEAD + ROW * len(bars) - 8
    if mark:
        at = left + mark * scale
        parts.append(f'<line x1="{at:.1f}" y1="{y + HEAD - 14}" x2="{at:.1f}" y2="{bottom}" '
                     f'stroke="{LINE}" stroke-dasharray="3 3"/>')
    for number, (name, value, low, high, said) in enumerate(bars):
        top = y + HEAD - 10 + number * ROW
        ours = "bold" if name == "charkh" else "normal"
        parts += [words(left - 8, top + 12, title(name), weight=ours, anchor="end"),
                  f'<rect x="{left}" y="{top}" width="{max(1, value * scale):.1f}" height="15" '
                  f'rx="2" fill="{COLOURS.get(name, OTHERS)}"/>']
        if high > low:
            parts.append(f'<line x1="{left + low * scale:.1f}" y1="{top + 7.5}" '
                         f'x2="{left + high * scale:.1f}" y2="{top + 7.5}" stroke="{INK}"/>')
        parts.append(words(left + max(value, high) * scale + 6, top + 12, said, weight=ours))
    return "\n".join(parts)


def ratio_bars(rounds):
    bars = []
    for name, each in rounds.items():
        many = ratios(rounds, "cpu_us", name, REFERENCE)
        middle = statistics.median(many)
        said = f"{median(each, 'cpu_us'):.2f} µs" if name == REFERENCE else f"{middle:.2f}"
        bars.append((name, middle, min(many), max(many), said))
    return bars


def memory_bars(rounds):
    sizes = {name: median(each, "bytes") for name, each in rounds.items()}
    return [(name, size, size, size, f"{size:,.0f} B".replace(",", " "))
            for name, size in sizes.items()]


def svg(results):
    """Panels in two columns, on a ground of their own, so that they are read in the dark too."""
    panels = []
    for case, found in results["cases"].items():
        rounds = found["rounds"]
        if case == "idle":
            head = "user memory of an idle connection"
            panels.append((head, memory_bars(rounds), None))
        elif REFERENCE in rounds:
            panels.append((found["what"], ratio_bars(rounds), 1))
    tall = HEAD + ROW * max(len(bars) for _, bars, _ in panels) + 16
    column = (WIDTH - 3 * MARGIN) / 2 + MARGIN
    height = 84 + tall * ((len(panels) + 1) // 2) + 34
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
             f'width="{WIDTH}" height="{height}" font-family="-apple-system, system-ui, '
             f"'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif\">",
             f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" '
             f'fill="#ffffff" stroke="{EDGE}"/>',
             words(MARGIN, 36, "What an echo costs the server", 19, weight="bold"),
             words(MARGIN, 58, "CPU time per request (or connection), relative to a bare epoll "
                   "loop in C: shorter is better. Thin lines: lowest and highest round.", 13,
                   FAINT)]
    for number, (head, bars, mark) in enumerate(panels):
        x, y = MARGIN + number % 2 * column, 84 + number // 2 * tall
        parts.append(panel(x, y, head, bars, mark))
    parts += [words(MARGIN, height - 18, provenance(results), 12, FAINT), "</svg>"]
    return "\n".join(parts) + "\n"
