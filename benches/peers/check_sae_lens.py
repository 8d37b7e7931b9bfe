#!/usr/bin/env python3
"""Loads an SAE that monosem saved into SAELens, and compares codes and reconstructions on the same rows.

    monosem encode --sae RUN --data ROWS.safetensors --out CODES.safetensors
    benches/peers/check_sae_lens.py RUN/sae ROWS.safetensors CODES.safetensors      (needs sae-lens 6.54 and safetensors)

Codes may differ only where the k-th and the next pre-activation differ by less than 1e-5 of their size.
"""
import sys

import torch
from safetensors.torch import load_file
from sae_lens import SAE

directory, rows, codes = sys.argv[1:]
sae = SAE.load_from_disk(directory, device="cpu")
x = load_file(rows)["activations"].float()
ours = load_file(codes)
k = sae.cfg.k
with torch.no_grad():
    theirs = sae.encode(x)
    dense = torch.zeros_like(theirs).scatter_(1, ours["indices"].long(), ours["values"])
    pre = sae.hook_sae_acts_pre((x - sae.b_dec * sae.cfg.apply_b_dec_to_input) @ sae.W_enc + sae.b_enc)
    if sae.cfg.rescale_acts_by_decoder_norm:
        pre = pre * sae.W_dec.norm(dim=-1)
    top = pre.topk(k + 1, dim=1).values
    edge = (top[:, k - 1] - top[:, k]) < 1e-5 * top[:, k].abs()
    differing = ((dense > 0) != (theirs > 0)).any(dim=1)
    apart = (dense - theirs).abs().max(dim=1).values
    same = ~differing
    decoded = (sae.decode(dense) - sae.decode(theirs)).abs()[same]
print(f"SAELens loads {type(sae).__name__}: d_in {sae.cfg.d_in}, d_sae {sae.cfg.d_sae}, k {k}")
print(f"{len(x)} rows: {int(differing.sum())} with other features, {int((differing & ~edge).sum())} of them without an edge within 1e-5")
print(f"largest difference of a code {apart[same].max():.2e} (codes up to {theirs.max():.2f}), of a reconstruction {decoded.max():.2e}")
sys.exit(int((differing & ~edge).any() or apart[same].max() > 1e-4 * theirs.max()))
