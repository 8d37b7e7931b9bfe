#!/usr/bin/env python3
"""Train SAEs of every architecture by monosem and by their authors' trainers, and compare what they end with.

    quality.py peers   --train DIR --val DIR --out quality.jsonl     # PyTorch; the packages of peers/wheels.txt
    quality.py monosem --train DIR --val DIR --out quality.jsonl --program target/release/monosem
    quality.py table   --out quality.jsonl
    quality.py seconds --train DIR --val DIR --out seconds.jsonl --program target/release/monosem

Each run is a line of JSON in --out, and one that is there already is not run again. Both sides get the same rows,
scaled to a mean norm of sqrt(d), the same number of steps and rows a step, and the same schedule: a linear warm-up
over a fifteenth of the steps, and a linear decay to 0 over the last fifth. For each architecture each side runs three
learning rates, and at its best one a second seed and the other sparsity coefficients. The best rate is the one with the
lowest FVU where L0 is given (k), else with the lowest FVU x sqrt(L0): along a frontier FVU falls about as 1/sqrt(L0).
`seconds` times both sides by turns on a machine that does nothing else: a fifth of the steps of each architecture, at
the middle rate and coefficient.
"""

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

FEATURES, BATCH, STEPS, K = 4096, 256, 1200, 32
RATES = (1e-3, 2e-3, 4e-3)
# The trainer that is the peer, and the coefficients of each side; the second is that of the comparison of rates.
PEERS = {
    "topk": ("dictionary_learning", None, None),
    "batchtopk": ("dictionary_learning", None, None),
    "matryoshka": ("dictionary_learning", None, None),
    "relu": ("saelens", (1.0, 2.0, 4.0), (1.0, 2.0, 4.0)),
    "jumprelu": ("saelens", (0.5, 1.0, 2.0), (0.1, 0.5, 2.0)),
    "gated": ("saelens", (1.0, 2.0, 4.0), (1.0, 2.0, 4.0)),
}
SETTING = ("trainer", "arch", "features", "batch", "steps", "lr", "k", "coefficient", "seed")


class Runs:
    """The runs of a file, and the means to make one."""

    def __init__(self, path, train, steps=STEPS):
        self.path, self.train, self.steps = path, train, steps
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def get(self, trainer, arch, lr, coefficient, seed):
        setting = dict(zip(SETTING, (trainer, arch, FEATURES, BATCH, self.steps, lr, None if coefficient else K,
                                     coefficient, seed)))
        for line in self.lines:
            if all(line[key] == value for key, value in setting.items()):
                return line
        if not self.train:
            return None
        line = self.train(setting)
        print(json.dumps(line), flush=True)
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line


def of_architecture(runs, trainer, arch, coefficients):
    """The runs of one side: at each rate, at the best one with another seed, and with the other coefficients."""
    coefficient = coefficients[1] if coefficients else None
    rates = [runs.get(trainer, arch, lr, coefficient, 0) for lr in RATES]
    if None in rates:
        return None
    best = min(rates, key=lambda run: run["fvu"] * (math.sqrt(run["l0"]) if coefficients else 1))
    others = [runs.get(trainer, arch, best["lr"], other, 0) for other in coefficients or () if other != coefficient]
    return {"rates": rates, "best": best, "seed": runs.get(trainer, arch, best["lr"], coefficient, 1),
            "frontier": sorted((run for run in [best, *others] if run), key=lambda run: run["l0"])}


def peer(flags):
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    import quality
    import torch

    torch.set_num_threads(flags.threads)
    train, held_out = quality.read(flags.train), quality.read(flags.val)

    def run(setting):
        words = [f"--{key}={value}" for key, value in setting.items() if value is not None]
        return quality.run(quality.arguments([*words, f"--train={flags.train}", f"--val={flags.val}"]), train, held_out)

    return run


def monosem(flags):
    def run(setting):
        model = {"topk": ["--k", K], "batchtopk": ["--k", K],
                 # dictionary_learning's weights: 1/5 each, and the mean of the five.
                 "matryoshka": ["--k", K, "--width-weights", ",".join(["0.04"] * 5)],
                 "relu": ["--l1", setting["coefficient"]], "jumprelu": ["--l0-coefficient", setting["coefficient"]],
                 "gated": ["--l1", setting["coefficient"]]}[setting["arch"]]
        with tempfile.TemporaryDirectory(dir=flags.out.parent) as directory:
            out = Path(directory, "run")
            steps = setting["steps"]
            words = ["--normalize-activations", "expected-norm", "--arch", setting["arch"], *model,
                     "--features", FEATURES, "--batch", BATCH, "--steps", steps, "--lr", setting["lr"],
                     "--warmup", steps // 15, "--decay", steps // 5, "--seed", setting["seed"],
                     "--eval-every", steps, "--checkpoint-every", 0]
            program(flags, "train", "--quiet", "--data", flags.train, "--val", flags.val, "--out", out, *words)
            *_, before, last = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            record = json.loads((out / "run.json").read_text())
            measured = json.loads(program(flags, "eval", "--json", "--at-k", "none", "--sae", out, "--data", flags.val))
        origin = {key: measured[key] for key in ("version", "commit", "device", "driver")}
        line = {**setting, "train": Path(flags.train).name, "val": Path(flags.val).name,
                "flags": shlex.join(map(str, words)), "seconds": before["seconds"] * steps / before["step"],
                "steps_by_path": record.get("steps_by_path"), **origin}
        figures = {key: measured[key] for key in ("fvu", "l0", "unfired_fraction")}
        if setting["arch"] in ("batchtopk", "matryoshka"):  # eval's cut is the threshold; training's the batch's own
            return {**line, "fvu": last["val_fvu"], "l0": last["val_l0"],
                    "unfired_fraction": figures["unfired_fraction"], "at_threshold": figures}
        return {**line, **figures}

    return run


def program(flags, *words):
    command = [*shlex.split(flags.program), *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def at_l0(frontier, l0):
    """FVU at an L0, by a line between the two nearest points of a frontier in logarithms of both, and whether the L0 is
    between the frontier's ends, give or take a tenth."""
    pairs = list(zip(frontier, frontier[1:]))
    low, high = next((pair for pair in pairs if l0 <= pair[1]["l0"]), pairs[-1])
    share = math.log(l0 / low["l0"]) / math.log(high["l0"] / low["l0"])
    fvu = math.exp(math.log(low["fvu"]) + share * math.log(high["fvu"] / low["fvu"]))
    return fvu, 0.9 * frontier[0]["l0"] <= l0 <= 1.1 * frontier[-1]["l0"]


def table(runs):
    print("| architecture | side | rate | coefficient | seed | L0 | FVU | unfired | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for arch, (trainer, coefficients, own) in PEERS.items():
        sides = {trainer: of_architecture(runs, trainer, arch, coefficients),
                 "monosem": of_architecture(runs, "monosem", arch, own)}
        for side, made in sides.items():
            lines = [] if made is None else [*made["rates"], *made["frontier"], made["seed"]]
            for run in {id(run): run for run in lines if run}.values():
                best = "**" if run is made["best"] else ""
                print(f"| {arch} | {side} | {best}{run['lr']:g}{best} | {run['coefficient'] or ''} | {run['seed']} "
                      f"| {run['l0']:.1f} | {run['fvu']:.4f} | {100 * run['unfired_fraction']:.1f} % "
                      f"| {run['seconds']:.0f} |")
    print("\n| architecture | L0 | peer's FVU | monosem's FVU at this L0 | difference |\n|---|---|---|---|---|")
    for arch, (trainer, coefficients, own) in PEERS.items():
        theirs, ours = of_architecture(runs, trainer, arch, coefficients), of_architecture(runs, "monosem", arch, own)
        if theirs is None or ours is None:
            continue
        for run in theirs["frontier"] if coefficients else [theirs["best"], theirs["seed"]]:
            if not coefficients:
                fvu, inside = (ours["best"] if run["seed"] == 0 else ours["seed"])["fvu"], True
            else:
                fvu, inside = at_l0(ours["frontier"], run["l0"])
            found = f"{fvu:.4f} | {100 * (fvu / run['fvu'] - 1):+.1f} %" if inside else "not met | -"
            print(f"| {arch} | {run['l0']:.1f} | {run['fvu']:.4f} | {found} |")


def seconds(flags):
    theirs, ours = (Runs(flags.out, side(flags), STEPS // 5) for side in (peer, monosem))
    for arch, (trainer, coefficients, own) in PEERS.items():
        if flags.arch in (None, arch):
            theirs.get(trainer, arch, RATES[1], coefficients and coefficients[1], 0)
            ours.get("monosem", arch, RATES[1], own and own[1], 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("peers", "monosem", "table", "seconds"))
    parser.add_argument("--train")
    parser.add_argument("--val")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--program", default="target/release/monosem", help="monosem, after a wrapper if need be")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--arch", choices=PEERS, help="only this one")
    flags = parser.parse_args()
    if flags.what == "table":
        return table(Runs(flags.out, None))
    if flags.what == "seconds":
        return seconds(flags)
    runs = Runs(flags.out, {"peers": peer, "monosem": monosem}[flags.what](flags))
    for arch, (trainer, coefficients, own) in PEERS.items():
        if flags.arch in (None, arch):
            if flags.what == "peers":
                of_architecture(runs, trainer, arch, coefficients)
            else:
                of_architecture(runs, "monosem", arch, own)


if __name__ == "__main__":
    main()
