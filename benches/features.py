#!/usr/bin/env python3
"""Time `monosem features` beside plain `encode`, and the neighbours of all features; print a line of JSON for each.

    features.py --data activations --tokenizer tokenizer.json --features 262144 --k 32 \
        --program target/release/monosem

The SAE is one that has hardly been trained: it has the sizes, and no meaning. --only runs some of encode, features
(without neighbours, with the pages of its report) and neighbors. Seconds are the whole command's; memory is the
largest resident set, which holds the device's buffers where the device is the CPU.
"""

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path


def timed(program, name, *words):
    """Runs a subcommand: its seconds, and the largest resident set in GiB."""
    begun = time.time()
    child = subprocess.Popen([*shlex.split(program), *map(str, words)])
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, f"{name} ended with {status}"
    return {"what": name, "seconds": time.time() - begun, "peak_gib": usage.ru_maxrss / (1 << 20)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--features", type=int, default=262144)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--program", default="target/release/monosem", help="monosem, after a wrapper if need be")
    parser.add_argument("--directory", default=".", help="of what is written meanwhile")
    parser.add_argument("--only", nargs="+", choices=("encode", "features", "neighbors"),
                        default=("encode", "features", "neighbors"))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.directory) as directory:
        run = Path(directory, "run")
        timed(flags.program, "train", "train", "--quiet", "--data", flags.data, "--out", run, "--features",
              flags.features, "--k", flags.k, "--batch", 256, "--steps", 2, "--checkpoint-every", 0, "--no-autotune")
        applied = ["--sae", run, "--data", flags.data, "--batch", flags.batch]
        commands = {
            "encode": [("encode", "encode", *applied, "--out", Path(directory, "codes.safetensors"))],
            "features": [("features", "features", *applied, "--tokenizer", flags.tokenizer, "--neighbors", 0,
                          "--out", Path(directory, "features")),
                         ("report", "report", "--features", Path(directory, "features"))],
            "neighbors": [("neighbors", "neighbors", "--sae", run, "--batch", flags.batch, "--out",
                           Path(directory, "neighbors.safetensors"))],
        }
        sizes = {key: getattr(flags, key) for key in ("features", "k", "batch")} | {"data": Path(flags.data).name}
        for name in flags.only:
            for command in commands[name]:
                print(json.dumps({**sizes, **timed(flags.program, *command)}), flush=True)


if __name__ == "__main__":
    main()
