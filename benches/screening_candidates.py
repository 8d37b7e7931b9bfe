#!/usr/bin/env python3
"""How many groups of 8 features a row must be scored in f32 so that its k largest keys are certain, by the arithmetic of the screen.

    screening_candidates.py SAE ACTIVATIONS [--rows 1000] [--json FILE]        SAE: a directory in SAELens's layout (TopK)

A group must be scored if its upper bound, screened key plus margin, reaches the k-th largest key of the row. Margins are by Cauchy and
Schwarz from the norms of what rounding leaves over, |x - x'| (|w| + |w - w'|) + |x| |w - w'|, as in shaders/screen/; 8 bits are rows and
weights scaled by their largest element, whose products are summed exactly. Needs numpy and safetensors.
"""
import argparse
import json

import numpy as np
from safetensors.numpy import load_file

GROUP = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sae")
    parser.add_argument("activations")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--json")
    return parser.parse_args()


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
    sae = load_file(f"{options.sae}/sae_weights.safetensors")
    k = json.load(open(f"{options.sae}/cfg.json"))["k"]
    weights, bias, decoder_bias = (sae[name].astype(np.float64) for name in ("W_enc", "b_enc", "b_dec"))
    weights = np.ascontiguousarray(weights.T)
    rows = load_file(options.activations)["activations"].astype(np.float64)
    rows = rows[:: max(1, len(rows) // options.rows)][: options.rows] - decoder_bias
    d = rows.shape[1]
    keys = rows @ weights.T + bias
    sums = (d + 8) * 2.0**-22
    needed = {}
    for name, rounded, loss in (("f16", in_f16, sums), ("8 bits", in_8_bits, 0)):
        x, w = rounded(rows), rounded(weights)
        x_norms, x_lost, w_norms, w_lost = norms(rows)[:, None], norms(rows - x)[:, None], norms(weights), norms(weights - w)
        margin = x_lost * (w_norms + w_lost) + x_norms * w_lost + loss * (x_norms * w_norms + np.abs(bias))
        needed[name] = groups_needed(x @ w.T + bias + margin, keys, k)
    needed["exact"] = groups_needed(keys, keys, k)

    result = {"sae": options.sae, "features": len(bias), "d": d, "k": k, "rows": len(rows), "groups": len(bias) // GROUP}
    print(f"{len(rows)} rows, {len(bias)} features in {result['groups']} groups, d {d}, k {k}; groups that must be scored:")
    print(f"{'screen':8}{'mean':>10}{'99 %':>10}{'most':>10}")
    for name, counts in needed.items():
        mean, tail, most = counts.mean(), np.percentile(counts, 99), counts.max()
        result[name] = {"mean": mean, "percentile_99": tail, "most": int(most)}
        print(f"{name:8}{mean:10.1f}{tail:10.0f}{most:10}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


main()
