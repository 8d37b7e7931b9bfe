"""Load what Monosem exports in SAELens: every architecture must give the same activations and reconstructions.

Run by hand, because PyTorch is too large for every push:

    pip install pytest sae-lens safetensors torch
    pytest tests/interop/test_saelens.py

The SAEs are written by the test `what_is_exported_is_what_it_was` (tests/it/oracle/directories.rs), beside what the f64
reference makes of them. The other direction, what SAELens wrote, is tested in Rust on tests/vectors/saelens-*.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sae_lens import SAE

ROOT = Path(__file__).parents[2]
TEST = "what_is_exported_is_what_it_was"

# The class in SAELens, and what it was trained as.
EXPORTED = {
    "topk": ("TopKSAE", "topk"),
    "topk_not_centred": ("TopKSAE", "topk"),
    "topk_layer_norm": ("TopKSAE", "topk"),
    "batchtopk": ("JumpReLUSAE", "batchtopk"),
    "batchtopk_rescaled": ("JumpReLUSAE", "batchtopk"),
    "matryoshka": ("JumpReLUSAE", "matryoshka_batchtopk"),
    "relu": ("StandardSAE", "standard"),
    "jumprelu": ("JumpReLUSAE", "jumprelu"),
    "jumprelu_logarithms": ("JumpReLUSAE", "jumprelu"),
    "gated": ("GatedSAE", "gated"),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports")
    command = ["cargo", "test", "--release", "--locked", "--test", "it", TEST]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"MONOSEM_EXPORTS": str(directory)}, check=True)
    return directory


def test_all_are_tried(exports: Path) -> None:
    assert {directory.name for directory in exports.iterdir()} == set(EXPORTED)


@pytest.mark.parametrize("name", EXPORTED)
def test_an_export_is_the_same_sae(exports: Path, name: str) -> None:
    directory = exports / name
    kind, trained_as = EXPORTED[name]
    sae = SAE.load_from_disk(directory, dtype="float64")
    assert type(sae).__name__ == kind
    assert sae.cfg.metadata.training_architecture == trained_as
    assert json.loads((directory / "cfg.json").read_text())["dtype"] == "float32"

    expected = load_file(directory / "expected.safetensors")
    activations = sae.encode(expected["x"])
    differences = {
        "feature_acts": activations - expected["feature_acts"],
        "reconstruction": sae.decode(activations) - expected["reconstruction"],
    }
    for tensor, difference in differences.items():
        largest = (difference.abs().max() / expected[tensor].abs().max()).item()
        print(f"{name}: {tensor} differs by at most {largest:.1e} of the largest")
        assert largest < 1e-6
    # The same features, not only nearly the same values.
    assert torch.equal(activations > 0, expected["feature_acts"] > 0)
