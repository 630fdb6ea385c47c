# SPDX-License-Identifier: Apache-2.0
"""The rows as a table, as JSON and as plots."""

import html
import json
import math
import os


def figure(value, unit):
    if value is None:
        return ""
    if unit == "B/s":
        return "%.0f MB/s" % (value / 1e6)
    if unit == "s":
        return "%.1f ms" % (value * 1e3) if value < 1 else "%.2f s" % value
    return ("%.0f %s" if value >= 100 else "%.2f %s") % (value, unit)


def ratio(row):
    return "" if row.ratio is None or row.kind == "value" else "%.2f" % row.ratio


def met(row):
    return {True: "yes", False: "no", None: ""}[row.met]


def line(row):
    return "%-50s %14s %14s %8s %s %s" % (row.name, figure(row.ours, row.unit), figure(row.peer, row.unit), ratio(row), row.aim, met(row))


def markdown(about, rows):
    lines = ["`%s`, %s, on %s." % (about["command"], about["date"], about["machine"]), "",
             "| what | nacre | peer | | ratio | aim | met |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        lines.append("| %s | %s | %s | %s | %s | %s | %s |" % (r.name, figure(r.ours, r.unit), figure(r.peer, r.unit), r.peer_name, ratio(r),
                                                              r.aim.replace(">=", "≥").replace("<=", "≤"), met(r)))
    return "\n".join(lines)


QUIET = (("instructions", "instructions"), ("syscalls", "system calls"), ("rss", "memory"), ("cpu", "processor time"))


def quiet_figure(field, value):
    if value is None:
        return ""
    if field == "rss":
        return "%.1f MiB" % (value / 2**20)
    if field == "cpu":
        return figure(value, "s")
    return "%.1f M" % (value / 1e6) if value >= 1e6 else "%d" % value


def quiet(rows):
    """What depends little on what else the machine does: ours / the peer's."""
    shown = [r for r in rows if any("ours_" + field in r.more for field, _ in QUIET)]
    if not shown:
        return ""
    lines = ["| what (nacre / peer) | " + " | ".join(title for _, title in QUIET) + " |", "|---" * (len(QUIET) + 1) + "|"]
    for r in shown:
        cells = []
        for field, _ in QUIET:
            ours, peer = (quiet_figure(field, r.more.get(who + "_" + field)) for who in ("ours", "peer"))
            cells.append(ours + (" / " + peer if peer else ""))
        lines.append("| %s | %s |" % (r.name, " | ".join(cells)))
    return "\n".join(lines)


def bars(rows):
    """Each ratio against its aim, on a logarithmic scale: right of the line is met."""
    shown = [r for r in rows if r.aim and r.ratio]
    height, width, left = 22, 900, 340
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">' %
           (width, height * (len(shown) + 2))]
    middle = left + (width - left) / 2
    for i, r in enumerate(shown):
        op, aim = r.aim.split()[:2]
        score = r.ratio / float(aim) if op == ">=" else float(aim) / r.ratio
        reach = max(-1, min(1, math.log10(score))) * (width - left) / 2
        y = height * (i + 1)
        out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (left - 8, y + 14, html.escape(r.name)))
        out.append('<rect x="%.0f" y="%d" width="%.0f" height="%d" fill="%s"/>' %
                   (min(middle, middle + reach), y + 3, max(abs(reach), 1), height - 6, "#3a7" if r.met else "#c64"))
    out.append('<line x1="%.0f" x2="%.0f" y1="0" y2="%d" stroke="#333"/><text x="%.0f" y="12">the aim</text></svg>' %
               (middle, middle, height * (len(shown) + 1), middle + 4))
    return "\n".join(out)


def curve(row):
    """Requests or things a second of processor time, over the number of things."""
    points = row.more["series"]
    width, height, edge = 520, 260, 50
    top = max(r for _, r in points) * 1.1
    low, high = math.log10(points[0][0]), math.log10(points[-1][0])

    def place(n, rate):
        return edge + (math.log10(n) - low) / (high - low) * (width - 2 * edge), height - edge - rate / top * (height - 2 * edge)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">' % (width, height),
           '<text x="%d" y="20">%s</text>' % (edge, html.escape(row.name)),
           '<polyline fill="none" stroke="#3a7" stroke-width="2" points="%s"/>' % " ".join("%.0f,%.0f" % place(*p) for p in points)]
    for n, rate in points:
        x, y = place(n, rate)
        out.append('<text x="%.0f" y="%.0f">%.0f/s</text><text x="%.0f" y="%d">%d</text>' % (x - 10, y - 6, rate, x - 10, height - 20, n))
    return "\n".join(out + ["</svg>"])


def write(folder, about, rows):
    os.makedirs(folder, exist_ok=True)
    files = {"table.md": markdown(about, rows) + "\n\n" + quiet(rows) + "\n", "ratios.svg": bars(rows) + "\n",
             "results.json": json.dumps(dict(about, rows=[r.as_dict() for r in rows]), indent=1) + "\n"}
    for r in rows:
        if "series" in r.more:
            files[r.name.replace(": ", "-").replace(" ", "-") + ".svg"] = curve(r) + "\n"
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
