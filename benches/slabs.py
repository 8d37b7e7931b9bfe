#!/usr/bin/env python3
"""Time a relu step by lists and by slabs, at several shares of active features, and print a line of JSON for each.

    slabs.py --program target/release/monosem --d 256 --features 4096 --batch 1024 --steps 12

Each share is the start's (`--init-l0`), which a vanishing learning rate keeps. A list that holds all of a batch forces
lists, one of a single entry forces slabs. Seconds are those from the second logged step to the last: without the start,
whose shaders are compiled. The two are run alternately.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path


def step(flags, data, active, capacity):
    with tempfile.TemporaryDirectory(dir=flags.directory) as directory:
        out = Path(directory, "run")
        words = ["train", "--quiet", "--data", data, "--out", out, "--arch", "relu", "--l1", "1", "--init-l0", active,
                 "--features", flags.features, "--batch", flags.batch, "--steps", flags.steps, "--lr", "1e-9",
                 "--log-every", "1", "--list-capacity", capacity, "--checkpoint-every", "0", "--no-autotune"]
        subprocess.run([*shlex.split(flags.program), *map(str, words)], check=True)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    paths = {line.get("path", "lists") for line in lines[1:]}
    assert len(paths) == 1, f"one run took {paths}"
    seconds = (lines[-1]["seconds"] - lines[1]["seconds"]) / (len(lines) - 2)
    return paths.pop(), {"seconds": seconds, "l0": lines[-1]["l0"], "fvu": lines[-1]["fvu"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("d", 256), ("features", 4096), ("batch", 1024), ("steps", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--program", default="target/release/monosem", help="monosem, after a wrapper if need be")
    parser.add_argument("--directory", default=".", help="of the runs while they last")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.directory) as directory:
        data = Path(directory, "rows.safetensors")
        rows = Path(__file__).with_name("synthetic_rows.py")
        subprocess.run([sys.executable, rows, data, "--rows", str(4 * flags.batch), "--d", str(flags.d)], check=True)
        for share in (64, 32, 16, 8, 4, 2):
            active = flags.features // share
            result = {"d": flags.d, "features": flags.features, "batch": flags.batch, "active": active}
            for capacity in (flags.batch * flags.features, 1):
                path, measured = step(flags, data, active, capacity)
                result[path] = measured
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
