# SPDX-License-Identifier: BSD-3-Clause
"""The plot of devtools/bench-migrate: bars of medians, with a line from smallest to largest."""

GREY, LIGHT, BLUE, GREEN, RED, PINK = "#888888", "#c4c4c4", "#1f77b4", "#2ca02c", "#d62728", "#ff9896"
PANELS = [
    ("MB/s of state", "{:.0f}", [
        ("raw", GREY), ("iperf3", LIGHT), ("migration", BLUE), ("tls", "#9467bd"),
        ("zstd", GREEN), ("qemu", RED), ("qemu_cold", PINK), ("qemu_zstd", "#e377c2")]),
    ("CPU seconds per GiB", "{:.2f}", [
        ("raw_cpu", GREY), ("migration_cpu", BLUE), ("tls_cpu", "#9467bd"), ("zstd_cpu", GREEN),
        ("qemu_cpu", RED), ("qemu_cold_cpu", PINK), ("qemu_zstd_cpu", "#e377c2")]),
    ("blackout, 100 MB/s written, ms", "{:.2f}", [
        ("busy_blackout", BLUE), ("qemu_busy_downtime", RED), ("handover_blackout", GREEN),
        ("etcd_swap", GREY)]),
    ("bytes sent, of the state", "{:.2f}", [
        ("migration_sent", BLUE), ("busy_sent", "#6baed6"), ("zstd_sent", GREEN), ("qemu_sent", RED),
        ("qemu_busy_sent", PINK), ("qemu_zstd_sent", "#e377c2")]),
]
BAR, HIGH, HEAD, FOOT = 26, 150, 34, 62


def draw_bar(svg, x, bottom, scale, metric, colour, form, name):
    """One metric; scale: points of height for one of its unit."""
    median, high = metric["median"], scale * metric["median"]
    top, low = bottom - scale * max(metric["samples"]), bottom - scale * min(metric["samples"])
    svg.append(f'<rect x="{x}" y="{bottom - high:.1f}" width="{BAR - 4}" height="{high:.1f}" '
               f'fill="{colour}"><title>{name}: {median:.4g} {metric["unit"]}</title></rect>')
    middle = x + (BAR - 4) / 2
    svg.append(f'<path d="M{middle} {low:.1f}V{top:.1f}" stroke="black" fill="none"/>')
    svg.append(f'<text x="{middle}" y="{top - 3:.1f}" text-anchor="middle" font-size="8">'
               f'{form.format(median)}</text>')


def draw_panel(svg, results, y, panel):
    """All sizes side by side; returns how wide it is."""
    title, form, rows = panel
    present = [(n, c) for n, c in rows if any(n in r["metrics"] for r in results)]
    largest = [max(r["metrics"][n]["samples"]) for r in results for n, _ in present
               if n in r["metrics"]]
    x, bottom = 20, y + HEAD + HIGH
    if not largest:
        return x
    scale = HIGH / (max(largest) or 1)
    svg.append(f'<text x="20" y="{y + 14}" font-weight="bold">{title}</text>')
    for result in results:
        begin = x
        for name, colour in present:
            if name in result["metrics"]:
                draw_bar(svg, x, bottom, scale, result["metrics"][name], colour, form, name)
            x += BAR
        svg.append(f'<path d="M{begin} {bottom}H{x - 4}" stroke="black" fill="none"/>')
        svg.append(f'<text x="{(begin + x) / 2}" y="{bottom + 14}" text-anchor="middle">'
                   f'{result["mib"]} MiB</text>')
        x += 24
    draw_legend(svg, present, bottom + 34)
    return x


def draw_legend(svg, present, y):
    x = 20
    for name, colour in present:
        svg.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
                   f'<text x="{x + 13}" y="{y}">{name}</text>')
        x += 24 + 7 * len(name)


def plot(results, note, path):
    """results: of each size, metrics by name with median and samples; note: one line of text."""
    svg, width, y = [], 720, 24
    for panel in PANELS:
        width = max(width, draw_panel(svg, results, y, panel))
        y += HEAD + HIGH + FOOT
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
            'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="20" y="16">{note}</text>')
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join([head] + svg + ["</svg>"]) + "\n")
