#!/usr/bin/env python3
"""Writes rows that an SAE can learn, in f16, where no activations of that width are at hand: sums of 24 of 8 d directions, and noise.

    synthetic_rows.py FILE.safetensors [--d 768] [--rows 131072] [--seed 0]

Needs numpy.
"""
import argparse, json, struct

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    for name, default in [("d", 768), ("rows", 131072), ("seed", 0)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    rng = np.random.default_rng(a.seed)
    directions = rng.standard_normal((8 * a.d, a.d), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    header = {"__metadata__": {"hook_name": "synthetic"},
              "activations": {"dtype": "F16", "shape": [a.rows, a.d], "data_offsets": [0, 2 * a.rows * a.d]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(a.file, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for first in range(0, a.rows, 4096):
            count = min(4096, a.rows - first)
            rows = 0.05 * rng.standard_normal((count, a.d), dtype=np.float32)
            for _ in range(24):
                weights = rng.uniform(0.5, 1.5, (count, 1)).astype(np.float32)
                rows += weights * directions[rng.integers(len(directions), size=count)]
            file.write(rows.astype("<f2").tobytes())


main()
