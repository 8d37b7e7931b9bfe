#!/usr/bin/env python3
"""Times a training step at five numbers of features, kernel by kernel, and draws docs/step-time.svg.

    python3 benches/step_time.py RESULT.json        runs the benchmark where RESULT.json is not there yet

d 384, k 32, 256 rows. Needs nothing but Python and cargo.
"""

import json
import os
import subprocess
import sys

SIZES = [16384, 32768, 65536, 131072, 262144]
COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#bbbbbb"]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 420, 70, 50, 30


def measure(path):
    runs = []
    for features in SIZES:
        sizes = ["--d", "384", "--features", str(features), "--k", "32", "--batch", "256"]
        command = ["cargo", "run", "-q", "--release", "--locked", "--", "bench", "--json", *sizes]
        bench = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        run = {"sizes": [384, features, 32, 256], "device": f"{bench['device']} ({bench['driver']})"}
        run["seconds"] = {kernel["kernel"]: kernel["seconds"] for kernel in bench["kernels"]}
        run["selection"] = bench["selection"]
        runs.append(run)
        print(features, round(sum(run["seconds"].values()), 3), "s", run["selection"], flush=True)
    with open(path, "w") as file:
        json.dump(runs, file, indent=1)
        file.write("\n")


def line_through(points):
    """Least squares: (intercept, slope, largest deviation as a share of the value)."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    intercept = mean_y - slope * mean_x
    return intercept, slope, max(abs(intercept + slope * x - y) / y for x, y in points)


def draw(runs, path):
    totals = [(run["sizes"][1], sum(run["seconds"].values())) for run in runs]
    intercept, slope, deviation = line_through(totals)
    names = sorted(runs[-1]["seconds"], key=lambda name: -runs[-1]["seconds"][name])
    shown = names[: len(COLOURS) - 1]
    top = 1.1 * totals[-1][1]
    x = lambda features: LEFT + (WIDTH - LEFT - 200) * features / SIZES[-1]
    y = lambda seconds: HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * seconds / top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    below = [0.0] * len(runs)
    for colour, name in zip(COLOURS, shown + ["the rest"]):
        rest = [other for other in names if other not in shown] if name == "the rest" else [name]
        above = [base + sum(run["seconds"].get(part, 0.0) for part in rest) for base, run in zip(below, runs)]
        edge = [(x(run["sizes"][1]), y(value)) for run, value in zip(runs, above)]
        base = [(x(run["sizes"][1]), y(value)) for run, value in zip(runs, below)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in edge + base[::-1])
        parts.append(f'<polygon points="{points}" fill="{colour}"/>')
        share = (above[-1] - below[-1]) / totals[-1][1]
        row = TOP + 20 * (len(shown) - COLOURS.index(colour))
        parts.append(f'<rect x="{WIDTH - 185}" y="{row}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - 168}" y="{row + 10}">{name} {100 * share:.1f} %</text>')
        below = above
    first, last = SIZES[0], SIZES[-1]
    ends = [(x(size), y(intercept + slope * size)) for size in (first, last)]
    parts.append('<path d="M{:.1f} {:.1f} L{:.1f} {:.1f}" stroke="black" stroke-dasharray="4 3"/>'.format(*ends[0], *ends[1]))
    for features in SIZES:
        parts.append(f'<text x="{x(features):.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{features // 1024}k</text>')
    for tick in range(5):
        value = totals[-1][1] * tick / 4
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.1f} s</text>')
        parts.append(f'<path d="M{LEFT} {y(value):.1f} H{WIDTH - 200}" stroke="#00000020"/>')
    parts.append(f'<text x="{LEFT}" y="18">Seconds of a step against features, by kernel (shares: at the end); the least-squares line is off by at most {100 * deviation:.0f} %</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - 200) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">features (d 384, k 32, 256 rows)</text>')
    parts.append("</svg>\n")
    with open(path, "w") as file:
        file.write("\n".join(parts))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not os.path.exists(sys.argv[1]):
        measure(sys.argv[1])
    with open(sys.argv[1]) as file:
        draw(json.load(file), os.path.join(os.path.dirname(__file__), "..", "docs", "step-time.svg"))
