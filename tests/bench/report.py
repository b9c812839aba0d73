"""The results as a table, as JSON and as a chart."""
import json
import statistics


def median(samples, key):
    values = [s[key] for s in samples if key in s]
    return statistics.median(values) if values else None


def spread(samples, key):
    """Half the range as a part of the median."""
    values = [s[key] for s in samples if key in s]
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0


def _cell(samples, metric):
    if not samples:
        return "-"
    return f"{median(samples, metric.key):,.{metric.digits}f} ±{spread(samples, metric.key):.0%}"


def ratio(results, work, metric, mine, other):
    """The median of the rounds' own: within a round both met the same machine."""
    pairs = zip(results.get((work.key, mine)) or (), results.get((work.key, other)) or ())
    ratios = [a[metric.key] / b[metric.key] for a, b in pairs if a.get(metric.key) and b.get(metric.key)]
    return statistics.median(ratios) if ratios else None


def rows(results, works, names):
    for work in works:
        for metric in work.metrics:
            cells = [None if name == "direct" and metric.key.startswith("cpu")
                     else results.get((work.key, name)) for name in names]
            if any(cells):
                yield work, metric, cells


def table(results, works, columns, note):
    """columns: (name, label). Markdown that also reads as text."""
    names = [name for name, _ in columns]
    lines = [["work", "unit"] + [label for _, label in columns] + ["to relay", "to Squid"]]
    last = None
    for work, metric, cells in rows(results, works, names):
        line = [work.text if work is not last else "", metric.text]
        line += [_cell(cell, metric) for cell in cells]
        for other in ("relay", "squid"):
            times = ratio(results, work, metric, "egressd", other)
            line.append("-" if times is None else f"{times:.2f}")
        lines.append(line)
        last = work
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for n, line in enumerate(lines):
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        text.append("| " + " | ".join(cells) + " |")
        if n == 0:
            text.append("|" + "|".join("-" * (w + 2) if i < 2 else "-" * (w + 1) + ":"
                                       for i, w in enumerate(widths)) + "|")
    return "\n".join(text) + "\n\n" + note + "\n"


def as_json(results, works, columns, about):
    out = {"about": about, "proxies": dict(columns), "works": []}
    for work in works:
        entry = {"key": work.key, "text": work.text, "results": {}}
        for name, _ in columns:
            samples = results.get((work.key, name))
            if not samples:
                continue
            entry["results"][name] = {
                "samples": samples,
                "medians": {m.key: median(samples, m.key) for m in work.metrics},
                "spread": {m.key: round(spread(samples, m.key), 4) for m in work.metrics}}
        out["works"].append(entry)
    return json.dumps(out, indent=1) + "\n"


# What the chart shows: work, metric, title.
PANELS = [
    ("connect64", "cpu_us", "CPU of a tunnel, µs"),
    ("deny64", "cpu_us", "CPU of a denial, µs"),
    ("get128", "cpu_us", "CPU of a kept-alive GET, µs"),
    ("down8", "cpu_s_gb", "CPU of 1 GB in tunnels, s"),
    ("idle", "pss_kib", "memory of an idle tunnel, KiB"),
    ("start10", "start_ms", "exec to first answer, ms"),
]
COLOURS = {"relay": "#8a949e", "egressd": "#1f6feb", "trafficserver": "#b9c3cc", "squid": "#b9c3cc",
           "tinyproxy": "#b9c3cc"}


def chart(results, works, columns, note):
    """Bars, shorter is better; readable on light and dark pages."""
    columns = [c for c in columns if c[0] != "direct"]
    wide, high, bar, per_row = 300, 40 + 22 * len(columns) + 16, 14, 3
    out = []
    shown = 0
    for prefix, key, title in PANELS:
        work = next((w for w in works if w.key.startswith(prefix)), None)
        if work is None:
            continue
        values = [(name, label, median(results.get((work.key, name), []), key))
                  for name, label in columns]
        most = max((v for _, _, v in values if v), default=0)
        if not most:
            continue
        x, y = shown % per_row * (wide + 20) + 10, shown // per_row * high + 10
        shown += 1
        out.append(f'<text x="{x}" y="{y + 16}" class="t">{title}</text>')
        for i, (name, label, value) in enumerate(values):
            top = y + 30 + i * 22
            out.append(f'<text x="{x + 88}" y="{top + 11}" class="l">{label}</text>')
            if value is None:
                out.append(f'<text x="{x + 96}" y="{top + 11}" class="v">-</text>')
                continue
            length = max(1, value / most * (wide - 160))
            digits = 2 if value < 1 else 1 if value < 100 else 0
            out.append(f'<rect x="{x + 94}" y="{top}" width="{length:.1f}" height="{bar}" '
                       f'fill="{COLOURS.get(name, "#1f6feb")}"/>')
            out.append(f'<text x="{x + 98 + length:.1f}" y="{top + 11}" class="v">'
                       f'{value:,.{digits}f}</text>')
    width = per_row * (wide + 20)
    height = (shown + per_row - 1) // per_row * high + 34
    style = ("text{font:12px sans-serif;fill:#57606a}.t{font-weight:bold;font-size:13px;fill:#1f6feb}"
             ".l{text-anchor:end}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img"><title>egressd beside other proxies; shorter is better'
            f'</title><style>{style}</style>\n' + "\n".join(out) +
            f'\n<text x="10" y="{height - 12}">{note}</text></svg>\n')
