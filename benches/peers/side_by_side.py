#!/usr/bin/env python3
"""monosem's training step and its peers', in alternating rounds, so that what else the machine does meets all of them.

    side_by_side.py MONOSEM [--d 384] [--n 16384] [--k 32] [--batch 2048] [--rounds 3] [--threads 2] [--json FILE]

MONOSEM is the program, or a command that ends with it: "env NAME=VALUE target/release/monosem".
The peers' packages (wheels.txt) must be importable. Prints the median over rounds of each one's median step, and its ratio to
the fastest of SAELens and dictionary_learning.
"""
import argparse, json, shlex, statistics, subprocess, sys
from pathlib import Path


def monosem(command, d, n, k, batch):
    """Milliseconds a step, the median of five, and the device's name."""
    sizes = ["--d", d, "--features", n, "--k", k, "--batch", batch]
    text = subprocess.run(
        shlex.split(command) + ["bench", "--json", *map(str, sizes)], check=True, stdout=subprocess.PIPE, text=True).stdout
    bench = json.loads(text)
    return 1e3 * bench["step_seconds"], f"{bench['device']} ({bench['driver']})"


def peers(d, n, k, batch, threads):
    """Milliseconds a step of each peer that ran."""
    script = Path(__file__).with_name("bench_peers.py")
    text = subprocess.run(
        [sys.executable, script, "--d", d, "--n", n, "--k", k, "--batch", batch, "--steps", "5", "--threads", threads],
        check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in text.splitlines() if line.startswith('{"peer"')]
    return {row["peer"]: row["ms"] for row in rows if isinstance(row.get("ms"), (int, float))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("monosem", nargs="+", metavar="MONOSEM")
    for name, default in [("d", 384), ("n", 16384), ("k", 32), ("batch", 2048), ("rounds", 3), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    times = {}
    for _ in range(a.rounds):
        for command in a.monosem:
            ms, device = monosem(command, a.d, a.n, a.k, a.batch)
            times.setdefault(f"monosem on {device}", []).append(ms)
        for peer, ms in peers(*map(str, (a.d, a.n, a.k, a.batch, a.threads))).items():
            times.setdefault(peer, []).append(ms)
    medians = {name: statistics.median(rounds) for name, rounds in times.items()}
    usual = min((ms for name, ms in medians.items() if name.startswith(("sae_lens", "dictionary_learning"))), default=None)
    print("| | ms a step, by round | median | ratio |\n|---|---|---|---|")
    for name, rounds in times.items():
        ratio = f"{medians[name] / usual:.2f}" if usual else "-"
        print(f"| {name} | {', '.join(f'{ms:.0f}' for ms in rounds)} | **{medians[name]:.0f}** | {ratio} |")
    if a.json:
        a.json.write_text(json.dumps({"sizes": {key: vars(a)[key] for key in ("d", "n", "k", "batch")}, "ms": times}, indent=1) + "\n")


main()
