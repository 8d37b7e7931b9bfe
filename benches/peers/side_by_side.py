#!/usr/bin/env python3
"""monosem's training step and its peers', in alternating rounds, so that what else the machine does meets all of them.

    side_by_side.py BENCH [--d 384] [--n 16384] [--k 32] [--batch 2048] [--rounds 3] [--threads 2] [--json FILE]

BENCH is the compiled benchmark (`cargo bench --no-run` names it), or a command that ends with it: "env NAME=VALUE BENCH".
The peers' packages (wheels.txt) must be importable. Prints the median over rounds of each one's median step.
"""
import argparse, json, os, re, shlex, statistics, subprocess, sys
from pathlib import Path

UNIT = {"s": 1e3, "ms": 1.0, "µs": 1e-3}


def monosem(command, sizes):
    """Milliseconds a step, by criterion's estimate; and the device's name."""
    text = subprocess.run(
        shlex.split(command) + ["--bench", "--noplot", "step/"],
        env=os.environ | {"MONOSEM_BENCH": sizes}, check=True, capture_output=True, text=True).stdout
    low, _, middle, unit, high, _ = re.search(r"time:\s+\[" + r"\s+".join([r"([\d.]+) (\S+?)"] * 3) + r"\]", text).groups()
    return float(middle) * UNIT[unit], text.splitlines()[0]


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
    parser.add_argument("bench", nargs="+", metavar="BENCH")
    for name, default in [("d", 384), ("n", 16384), ("k", 32), ("batch", 2048), ("rounds", 3), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    times = {}
    for _ in range(a.rounds):
        for bench in a.bench:
            ms, device = monosem(bench, f"{a.d},{a.n},{a.k},{a.batch}")
            times.setdefault(f"monosem on {device}", []).append(ms)
        for peer, ms in peers(*map(str, (a.d, a.n, a.k, a.batch, a.threads))).items():
            times.setdefault(peer, []).append(ms)
    print("| | ms a step, by round | median |\n|---|---|---|")
    for name, rounds in times.items():
        print(f"| {name} | {', '.join(f'{ms:.0f}' for ms in rounds)} | **{statistics.median(rounds):.0f}** |")
    if a.json:
        a.json.write_text(json.dumps({"sizes": {key: vars(a)[key] for key in ("d", "n", "k", "batch")}, "ms": times}, indent=1) + "\n")


main()
