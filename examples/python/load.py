#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["sae-lens>=6", "safetensors", "torch>=2.4"]
# ///
"""Open an SAE that monosem trained in SAELens, and the codes of `monosem encode` in PyTorch.

    monosem encode --sae run --data activations --out codes.safetensors
    uv run load.py run/sae codes.safetensors --feature 7

Without uv: pip install sae-lens safetensors torch
"""

import argparse

import torch
from sae_lens import SAE
from safetensors.torch import load_file


def dense_rows(codes: dict[str, torch.Tensor], start: int, end: int, features: int) -> torch.Tensor:
    """Rows as [rows, features]."""
    indices, values = codes["indices"][start:end].long(), codes["values"][start:end]
    return values.new_zeros(len(values), features).scatter_(1, indices, values)


def sparse_rows(codes: dict[str, torch.Tensor], features: int) -> torch.Tensor:
    """All rows as a sparse matrix [rows, features], for `rows @ W_dec` and the like."""
    rows, k = codes["values"].shape
    places = torch.stack([torch.arange(rows).repeat_interleave(k), codes["indices"].long().ravel()])
    return torch.sparse_coo_tensor(places, codes["values"].ravel(), (rows, features), check_invariants=True)


def top_rows(codes: dict[str, torch.Tensor], feature: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows on which a feature is most active, and its activations there."""
    activations = codes["values"].masked_fill(codes["indices"] != feature, 0).amax(dim=1)
    top = activations.topk(min(count, int((activations > 0).sum())))
    return top.indices, top.values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sae", help="directory `sae` of a run")
    parser.add_argument("codes", help="file of `monosem encode`")
    parser.add_argument("--feature", type=int, default=0, help="feature by number (%(default)s)")
    args = parser.parse_args()
    sae, codes = SAE.load_from_disk(args.sae), load_file(args.codes)
    print(f"{sae.cfg.architecture()}: {sae.cfg.d_sae} features of d {sae.cfg.d_in}; {sae.cfg.metadata.hook_name}")
    with torch.no_grad():
        first = dense_rows(codes, 0, 8, sae.cfg.d_sae)
        print(f"active features of the first rows: {(first > 0).sum(dim=1).tolist()}")
        print(f"norms of their reconstructions: {sae.decode(first).norm(dim=1).tolist()}")
    print(f"rows on which feature {args.feature} is most active:")
    for row, value in zip(*top_rows(codes, args.feature, 10)):
        token = f"token {codes['token_ids'][row]}, " if "token_ids" in codes else ""
        print(f"  row {row}: {token}activation {value:.4g}")


if __name__ == "__main__":
    main()
