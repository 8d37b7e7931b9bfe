#!/usr/bin/env python3
"""Write what SAELens computes in f64 with `normalize_activations="layer_norm"`, in the layout of tests/vectors.

    pip install sae-lens safetensors torch
    python tests/interop/layer_norm_vectors.py tests/vectors

Training steps of TopK, Standard and JumpReLU on fixed random rows whose means and lengths differ, and a directory that
SAELens saved. SAELens cannot train Matryoshka so (it undoes the norm once for several reconstructions), and its gated
SAE leaves the norm out of one of its losses.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sae_lens import __version__
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
from sae_lens.saes.sae import SAE, TrainStepInput
from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

D, FEATURES, ROWS, STEPS = 24, 96, 40, 3
ADAM = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
COMMON = {"d_in": D, "d_sae": FEATURES, "device": "cpu", "normalize_activations": "layer_norm"}
CASES = {
    "topk_layer_norm": (TopKTrainingSAE, TopKTrainingSAEConfig(**COMMON, k=6, rescale_acts_by_decoder_norm=False), {}),
    "relu_l1_layer_norm": (StandardTrainingSAE, StandardTrainingSAEConfig(**COMMON), {"l1": 0.5}),
    "jumprelu_step_layer_norm": (
        JumpReLUTrainingSAE,
        JumpReLUTrainingSAEConfig(**COMMON, jumprelu_sparsity_loss_mode="step", jumprelu_bandwidth=0.5),
        {"l0": 0.25},
    ),
}


def random(seed: int, *shape: int) -> torch.Tensor:
    """Numbers that f32 holds."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).double()


def rows() -> torch.Tensor:
    lengths = (1 + random(2, STEPS, ROWS, 1).abs()) * 0.75
    return (random(1, STEPS, ROWS, D) * lengths + 2 * random(3, STEPS, ROWS, 1)).float().double()


def main(directory: Path) -> None:
    x = rows()
    no_dead = torch.zeros(FEATURES, dtype=torch.bool)
    for name, (kind, config, coefficients) in CASES.items():
        sae = kind(config).double()
        sae.dtype = torch.float64
        for at, (parameter_name, parameter) in enumerate(sae.named_parameters()):
            value = 0.4 * random(10 + at, *parameter.shape)
            parameter.data = (value.abs() if parameter_name == "threshold" else value).float().double()
        tensors = {"x": x.float(), "dead_mask": no_dead.to(torch.uint8)}
        tensors |= {f"init.{key}": value.detach().float().clone() for key, value in sae.named_parameters()}
        adam = torch.optim.Adam(sae.parameters(), ADAM["lr"], (ADAM["beta1"], ADAM["beta2"]), ADAM["eps"])
        for step in range(STEPS):
            given = TrainStepInput(x[step], coefficients, no_dead, step, False)
            output = sae.training_forward_pass(given)
            adam.zero_grad()
            output.loss.backward()
            found = {"loss": output.loss[None], "feature_acts": output.feature_acts, "reconstruction": output.sae_out}
            found |= {f"loss.{key}": value.reshape(1) for key, value in output.losses.items()}
            found |= {f"grad.{key}": value.grad for key, value in sae.named_parameters()}
            adam.step()
            found |= {f"after.{key}": value for key, value in sae.named_parameters()}
            tensors |= {f"step{step}.{key}": value.detach().double().clone() for key, value in found.items()}
        case = {"name": name, "class": kind.__name__, "config": config.to_dict(), "coefficients": coefficients,
                "adam": ADAM, "sae_lens": __version__}
        save_file(tensors, directory / f"{name}.safetensors", {"case": json.dumps(case)})
    saved = directory / "saelens-topk_layer_norm"
    sae = TopKTrainingSAE(CASES["topk_layer_norm"][1])
    for at, parameter in enumerate(sae.parameters()):
        parameter.data = 0.4 * random(20 + at, *parameter.shape).float()
    sae.save_inference_model(str(saved))
    loaded = SAE.load_from_disk(saved, dtype="float64")
    codes = loaded.encode(x[0])
    expected = {"x": x[0].float(), "feature_acts": codes, "reconstruction": loaded.decode(codes)}
    save_file({key: value.detach().contiguous() for key, value in expected.items()}, saved / "expected.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
