"""Read the event files of a run, resumed once, with TensorBoard's own reader.

Run by hand:

    cargo build --release --locked
    pip install numpy pytest safetensors tensorboard
    pytest tests/interop/test_tensorboard.py

MONOSEM names another binary than target/release/monosem.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing.directory_loader import DirectoryLoader
from tensorboard.backend.event_processing.event_file_loader import TimestampedEventFileLoader

MONOSEM = os.environ.get("MONOSEM", str(Path(__file__).parents[2] / "target" / "release" / "monosem"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tensorboard")
    rows = np.random.default_rng(1).standard_normal((500, 10), dtype=np.float32)
    save_file({"activations": rows}, directory / "data.safetensors")
    out = directory / "run"
    train = [MONOSEM, "train", "--out", out]
    data = ["--data", directory / "data.safetensors", "--val", directory / "data.safetensors", "--eval-every", "8"]
    sizes = ["--features", "64", "--k", "4", "--batch", "25", "--steps", "30", "--log-every", "3"]
    subprocess.run([*train, *data, *sizes, "--checkpoint-every", "10", "--device", "cpu"], check=True)
    # As if the power had failed after the checkpoint of step 20.
    record = out / "run.json"
    record.write_text(record.read_text().replace('"done"', '"running"'))
    subprocess.run([*train, "--resume", "--log-every", "2"], check=True)
    return out


def load(run: Path) -> event_accumulator.EventAccumulator:
    events = event_accumulator.EventAccumulator(str(run), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    return events


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_scalars_are_the_metrics_and_what_was_resumed_counts_once(run):
    events, lines = load(run), metrics(run)
    assert len(list(run.glob("events.out.tfevents.*"))) == 2
    assert [line["step"] for line in lines if line["step"] > 20] == [22, 24, 26, 28, 30]
    names = {name for line in lines for name, value in line.items() if value is not None and name != "step"}
    tags = {name: f"val/{name[4:]}" if name.startswith("val_") else f"train/{name}" for name in names}
    assert set(events.Tags()["scalars"]) == set(tags.values())
    for name, tag in tags.items():
        expected = [(line["step"], np.float32(line[name])) for line in lines if line.get(name) is not None]
        found = [(scalar.step, np.float32(scalar.value)) for scalar in events.Scalars(tag)]
        # Times are those of the process that took the step.
        assert [step for step, _ in found] == [step for step, _ in expected], tag
        if name not in ("seconds", "tokens_per_second"):
            assert found == expected, tag


def test_histograms_count_every_feature(run):
    events = load(run)
    assert set(events.Tags()["histograms"]) == {"features/log10_density", "features/decoder_norm"}
    for tag in events.Tags()["histograms"]:
        histograms = events.Histograms(tag)
        assert [histogram.step for histogram in histograms] == [8, 16, 24, 30]
        for histogram in histograms:
            value = histogram.histogram_value
            assert value.num == sum(value.bucket) == 64
            assert len(value.bucket) == len(value.bucket_limit)
            assert value.min <= value.sum / value.num <= value.max


def test_every_record_is_sound(run):
    loader = DirectoryLoader(str(run), TimestampedEventFileLoader, lambda path: "tfevents" in path)
    events = list(loader.Load())
    assert [event.step for event in events if event.HasField("session_log")] == [1, 21]
