#!/usr/bin/env python3
"""How many groups of 8 features a row must be scored in f32 so that its k largest keys are certain, by the arithmetic of the screen.

    screening_candidates.py SAE ACTIVATIONS [--rows 1000] [--json FILE]     SAE: a directory in SAELens's layout (TopK)
    screening_candidates.py --random D,N,K [--rows 200] [--json FILE]       Gaussian rows and weights of norm 1

A group must be scored if its upper bound, screened key plus margin, reaches the k-th largest key of the row. Margins are by Cauchy and
Schwarz from the norms of what rounding leaves over, |x - x'| (|w| + |w - w'|) + |x| |w - w'|, as in shaders/screen/; 8 bits are rows and
weights scaled by their largest element, whose products are summed exactly. "f16 at worst" has the margin of the most that rounding can lose. Needs numpy and safetensors.
"""
import argparse
import json

import numpy as np
from safetensors.numpy import load_file

GROUP = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sae", nargs="?")
    parser.add_argument("activations", nargs="?")
    parser.add_argument("--random")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--json")
    return parser.parse_args()


def case(options):
    """Weights [n, d], bias [n], centred rows and k."""
    if options.random:
        d, n, k = map(int, options.random.split(","))
        random = np.random.default_rng(0)
        weights = random.standard_normal((n, d))
        return weights / norms(weights)[:, None], np.zeros(n), random.standard_normal((options.rows, d)), k
    sae = load_file(f"{options.sae}/sae_weights.safetensors")
    k = json.load(open(f"{options.sae}/cfg.json"))["k"]
    weights, bias, decoder_bias = (sae[name].astype(np.float64) for name in ("W_enc", "b_enc", "b_dec"))
    rows = load_file(options.activations)["activations"].astype(np.float64)
    rows = rows[:: max(1, len(rows) // options.rows)][: options.rows] - decoder_bias
    return np.ascontiguousarray(weights.T), bias, rows, k


def norms(rows):
    return np.linalg.norm(rows, axis=1)


def in_f16(rows):
    scale = 2.0 ** (14 - np.floor(np.log2(np.abs(rows).max(axis=1, keepdims=True))))
    return (rows * scale).astype(np.float16).astype(np.float64) / scale


def in_8_bits(rows):
    scale = 127 / np.abs(rows).max(axis=1, keepdims=True)
    return np.round(rows * scale) / scale


def groups_needed(bounds, keys, k):
    threshold = np.partition(keys, -k, axis=1)[:, -k]
    return (bounds.reshape(len(bounds), -1, GROUP).max(axis=2) >= threshold[:, None]).sum(axis=1)


def main():
    options = arguments()
    weights, bias, rows, k = case(options)
    d = rows.shape[1]
    keys = rows @ weights.T + bias
    sums = (d + 8) * 2.0**-22
    needed = {}
    for name, rounded, loss in (("f16", in_f16, sums), ("8 bits", in_8_bits, 0)):
        x, w = rounded(rows), rounded(weights)
        screened = x @ w.T + bias
        x_norms, x_lost, w_norms, w_lost = norms(rows)[:, None], norms(rows - x)[:, None], norms(weights), norms(weights - w)
        of_sums = loss * (x_norms * w_norms + np.abs(bias))
        margin = x_lost * (w_norms + w_lost) + x_norms * w_lost + of_sums
        needed[name] = groups_needed(screened + margin, keys, k)
        if name == "f16":
            margin = (2.0**-10 + 2.0**-22) * x_norms * w_norms + of_sums
            needed["f16 at worst"] = groups_needed(screened + margin, keys, k)
    needed["exact"] = groups_needed(keys, keys, k)

    result = {"features": len(bias), "d": d, "k": k, "rows": len(rows), "groups": len(bias) // GROUP}
    print(f"{len(rows)} rows, {len(bias)} features in {result['groups']} groups, d {d}, k {k}; groups that must be scored:")
    print(f"{'screen':14}{'mean':>10}{'99 %':>10}{'most':>10}")
    for name, counts in needed.items():
        mean, tail, most = counts.mean(), np.percentile(counts, 99), counts.max()
        result[name] = {"mean": mean, "percentile_99": tail, "most": int(most)}
        print(f"{name:14}{mean:10.1f}{tail:10.0f}{most:10}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


main()
