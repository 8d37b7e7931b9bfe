#!/usr/bin/env python3
"""Trains dictionary_learning's own TopKTrainer on a file of activations and prints its FVU on another, as JSON.

    quality.py --train a.safetensors --val b.safetensors --n 4096 --k 32 --batch 2048 --steps 1500 \\
        --lr 1.0328e-3 --warmup 100 --decay 300 --seed 0

The rows are shuffled each epoch. Rate, warm-up and linear decay to 0 over the last steps are the peer's own options;
without --lr and --decay its defaults. FVU is that of docs/metrics.md, by the peer's top k. Packages: wheels.txt, torch.
"""

import argparse
import json
import os
import platform
import time

import bench_peers  # stands in for what a peer imports and does not need
import torch
from safetensors.torch import load_file


def batches(rows, batch, generator):
    """Batches of an endless stream of whole epochs, each in an order of its own."""
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < batch:
            order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
        yield rows[order[:batch]].float()
        order = order[batch:]


@torch.no_grad()
def fvu(sae, rows):
    rows = rows.float()
    error = sum(((sae(part) - part).double() ** 2).sum() for part in rows.split(2048))
    return float(error / ((rows.double() - rows.double().mean(0)) ** 2).sum())


def main():
    from dictionary_learning.trainers.top_k import TopKTrainer

    parser = argparse.ArgumentParser()
    for name in ("train", "val"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("n", 4096), ("k", 32), ("batch", 2048), ("steps", 1500), ("warmup", 100), ("decay", 0),
                          ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float)
    flags = parser.parse_args()
    train, held_out = (load_file(path)["activations"] for path in (flags.train, flags.val))
    trainer = TopKTrainer(steps=flags.steps, activation_dim=train.shape[1], dict_size=flags.n, k=flags.k, layer=0,
                          lm_name="none", lr=flags.lr, warmup_steps=flags.warmup, seed=flags.seed,
                          decay_start=flags.steps - flags.decay if flags.decay else None, device=str(bench_peers.dev))
    stream = batches(train, flags.batch, torch.Generator().manual_seed(flags.seed))
    begun = time.time()
    for step in range(flags.steps):
        trainer.update(step, next(stream))
    result = {"fvu": fvu(trainer.ae, held_out), "lr": trainer.lr, "seconds": time.time() - begun}
    machine = {"torch": torch.__version__, "machine": platform.platform(), "threads": torch.get_num_threads()}
    print(json.dumps({**vars(flags), **result, **machine, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
