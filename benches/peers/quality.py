#!/usr/bin/env python3
"""Train an SAE by its authors' own trainer on activations, and print its figures on held-out ones as a line of JSON.

    quality.py --trainer saelens --arch relu --coefficient 2 --train DIR --val DIR --features 4096 --batch 1024 \\
        --steps 1500 --lr 2e-3 --seed 0

--trainer dictionary_learning trains topk, batchtopk and matryoshka, and saelens relu, jumprelu and gated. Start, loss
and AuxK are the trainer's defaults. The learning rate, its linear warm-up and its linear decay to 0 over the last
steps are given, Adam (0.9, 0.999) and clipping at 1 are common to all; SAELens's sparsity coefficients rise over the
first twentieth of the steps, as its documentation advises. Rows are scaled by one factor to a mean norm of sqrt(d), as
both libraries do, and come in a new order each epoch.

The figures are those of docs/metrics.md. batchtopk and matryoshka are measured with the trainer's own cut, k a row on
average in each batch, and by the threshold that the trainer keeps for inference (`at_threshold`).
Packages: wheels.txt, torch, safetensors.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import bench_peers  # stands in for what a peer imports and does not need
import torch
from safetensors.torch import load_file

WIDTHS = (1 / 32, 2 / 32, 4 / 32, 8 / 32, 17 / 32)  # of matryoshka's groups


def read(directory):
    files = sorted(Path(directory).glob("*.safetensors"))
    return torch.cat([load_file(file)["activations"] for file in files])


def batches(rows, batch, scale, generator):
    """Batches of an endless stream of whole epochs, each in an order of its own."""
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < batch:
            order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
        yield rows[order[:batch]].float() * scale
        order = order[batch:]


@torch.no_grad()
def figures(reconstruct, rows, batch, scale):
    """FVU, L0 and the share of features that fire on no row. `reconstruct` gives x-hat and the activations."""
    squares, active, fired, count = 0.0, 0, None, 0
    mean, deviation = torch.zeros(rows.shape[1], dtype=torch.double), 0.0
    for part in rows.split(batch):
        mean += part.double().sum(0) * scale
    mean /= len(rows)
    for part in rows.split(batch):
        part = part.float() * scale
        output, codes = reconstruct(part)
        squares += float(((output - part).double() ** 2).sum())
        deviation += float(((part.double() - mean) ** 2).sum())
        active += int((codes > 0).sum())
        fires = (codes > 0).any(0)
        fired = fires if fired is None else fired | fires
        count += len(part)
    return {"fvu": squares / deviation, "l0": active / count, "unfired_fraction": float((~fired).double().mean())}


def train_dictionary_learning(flags, d, stream):
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    kinds = {"topk": TopKTrainer, "batchtopk": BatchTopKTrainer, "matryoshka": MatryoshkaBatchTopKTrainer}
    options = {"group_fractions": list(WIDTHS)} if flags.arch == "matryoshka" else {}
    # The threshold's mean (0.999) starts at step 1000 by default, of 20,000 and more.
    start = {} if flags.arch == "topk" else {"threshold_start_step": flags.steps // 2}
    trainer = kinds[flags.arch](steps=flags.steps, activation_dim=d, dict_size=flags.features, k=flags.k, layer=0,
                                lm_name="none", lr=flags.lr, warmup_steps=flags.warmup, seed=flags.seed,
                                decay_start=flags.steps - flags.decay, device=str(bench_peers.dev), **options, **start)
    for step in range(flags.steps):
        trainer.update(step, next(stream))

    def reconstruct(rows, **how):
        codes = trainer.ae.encode(rows, **how)
        return trainer.ae.decode(codes), codes

    if flags.arch == "topk":
        return {"": reconstruct}
    return {"": lambda rows: reconstruct(rows, use_threshold=False), "at_threshold": reconstruct}


def train_saelens(flags, d, stream):
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    kind, config, penalty = {
        "relu": (StandardTrainingSAE, StandardTrainingSAEConfig, "l1"),
        "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig, "l0"),
        "gated": (GatedTrainingSAE, GatedTrainingSAEConfig, "l1"),
    }[flags.arch]
    torch.manual_seed(flags.seed)
    coefficient = {f"{penalty}_coefficient": flags.coefficient, f"{penalty}_warm_up_steps": flags.steps // 20}
    sae = kind(config(d_in=d, d_sae=flags.features, device=str(bench_peers.dev), **coefficient))
    schedule = SAETrainerConfig(total_training_samples=flags.steps * flags.batch,
                                train_batch_size_samples=flags.batch, lr=flags.lr, lr_warm_up_steps=flags.warmup,
                                lr_decay_steps=flags.decay, lr_end=flags.lr, device=str(bench_peers.dev))
    SAETrainer(schedule, sae, stream).fit()

    def reconstruct(rows):
        codes = sae.encode(rows)
        return sae.decode(codes), codes

    return {"": reconstruct}


def run(flags, train, held_out):
    """The figures of one run, with its flags: `flags` as the command line's, the rows as `read` gives them."""
    d = train.shape[1]
    norms = sum(part.float().norm(dim=1).double().sum() for part in train.split(1 << 16))
    scale = float(d**0.5 * len(train) / norms)
    stream = batches(train, flags.batch, scale, torch.Generator().manual_seed(flags.seed))
    begun = time.time()
    trainers = {"dictionary_learning": train_dictionary_learning, "saelens": train_saelens}
    trained = trainers[flags.trainer](flags, d, stream)
    result = {"seconds": time.time() - begun}
    for name, reconstruct in trained.items():
        measured = figures(reconstruct, held_out, flags.batch, scale)
        result |= {name: measured} if name else measured
    machine = {"torch": torch.__version__, "machine": platform.platform(), "threads": torch.get_num_threads()}
    names = {"train": Path(flags.train).name, "val": Path(flags.val).name}
    return {**vars(flags), **names, **result, **machine, "cpus": os.cpu_count()}


def arguments(words=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", choices=("dictionary_learning", "saelens"), required=True)
    parser.add_argument("--arch", required=True)
    for name in ("train", "val"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("features", "batch", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--k", type=int)
    parser.add_argument("--coefficient", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warmup", type=int, help="steps; default: a fifteenth")
    parser.add_argument("--decay", type=int, help="steps; default: the last fifth")
    flags = parser.parse_args(words)
    flags.warmup = flags.steps // 15 if flags.warmup is None else flags.warmup
    flags.decay = flags.steps // 5 if flags.decay is None else flags.decay
    return flags


if __name__ == "__main__":
    flags = arguments()
    print(json.dumps(run(flags, read(flags.train), read(flags.val))))
