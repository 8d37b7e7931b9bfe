"""How fast activations are read, format by format and order by order, by turns with dd on the same warm files.

    cargo build --release --bench host
    python benches/reading.py DIRECTORY        # needs numpy, pyarrow and datasets; 5 GB of disk, in memory for the runs

Prints a Markdown table: GB/s of stored bytes and milliseconds for each batch of 4,096 rows of d 768, the medians of
turns with dd in each, with everything that the rows of a training step need before they are uploaded; the sequential
order as a share of the same turn's dd, median, least and most; then the time of uploads. On a machine with other work,
`chrt -r 50 python ...` keeps the processors for what is measured.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Array2D, Dataset, Features, Sequence, Value

ROWS, D, CONTEXT, HOOK = 300_000, 768, 100, "blocks.0.hook_resid_pre"
ORDERS = ["sequential", "mixed", "rows"]
TURNS = 7

# Of which the first few load a mixing buffer into memory that is new.
STEPS = 600


def safetensors(path, dtype, values):
    entry = {"dtype": dtype, "shape": [ROWS, D], "data_offsets": [0, values.nbytes]}
    header = json.dumps({"activations": entry}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())


def make(directory):
    """A file or directory of each format, and the column that holds the rows."""
    wide = np.random.default_rng(0).standard_normal((ROWS, D)).astype("f4")
    half = wide.astype("f2")
    paths = {
        "safetensors, f16": directory / "f16.safetensors",
        "safetensors, bf16": directory / "bf16.safetensors",
        "safetensors, f32": directory / "f32.safetensors",
        "NumPy, f16": directory / "f16.npy",
        "Arrow, f16": directory / "f16.arrow",
        "SAELens's cache, f16": directory / "saelens",
        "Parquet, f32, Snappy": directory / "f32.parquet",
    }
    f16, bf16, f32, npy, arrow, saelens, parquet = paths.values()
    safetensors(f16, "F16", half)
    safetensors(bf16, "BF16", (wide.view("u4") >> 16).astype("u2"))
    safetensors(f32, "F32", wide)
    np.save(npy, half)
    table = pa.table({"activations": pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), D)})
    with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=4096)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(wide.ravel()), D).cast(pa.list_(pa.float32()))
    options = {"compression": "snappy", "row_group_size": 65_536, "use_dictionary": False}
    pq.write_table(pa.table({"activations": lists}), parquet, **options)

    def contexts():
        for first in range(0, ROWS, CONTEXT):
            yield {HOOK: half[first : first + CONTEXT], "token_ids": list(range(CONTEXT))}

    tokens = Sequence(Value("int32"), length=CONTEXT)
    features = Features({HOOK: Array2D((CONTEXT, D), "float16"), "token_ids": tokens})
    Dataset.from_generator(contexts, features=features).save_to_disk(saelens)
    return paths


def dd(path):
    """GB/s of dd, of the first file if there are several."""
    file = next(path.glob("*.arrow")) if path.is_dir() else path
    said = subprocess.run(["dd", f"if={file}", "of=/dev/null", "bs=1M"], capture_output=True, text=True, check=True)
    return file.stat().st_size / float(said.stderr.split(" s,")[0].split()[-1]) / 1e9


def host(program, path, order, *more):
    column = HOOK if path.is_dir() else "activations"
    command = [program, "--data", path, "--tensor", column, "--order", order, "--steps", str(STEPS), *more]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    directory = Path(sys.argv[1])
    directory.mkdir(exist_ok=True)
    built = Path(os.environ.get("CARGO_TARGET_DIR", "target"), "release/deps").glob("host-*")
    program = max((path for path in built if path.suffix == ""), key=lambda path: path.stat().st_mtime)
    print("| format | dd, GB/s | sequential of dd |", *(f"{order}, GB/s (ms) |" for order in ORDERS))
    print("|---|---|---|" + "---|" * len(ORDERS))
    for name, path in make(directory).items():
        dd(path)
        speeds, reads = [], {order: [] for order in ORDERS}
        for _ in range(TURNS):
            speeds.append(dd(path))
            for order in ORDERS:
                # A row group is decoded whole for every row of it: not an order to use.
                if path.suffix != ".parquet" or order != "rows":
                    reads[order].append(host(program, path, order, "--read-only"))
        cells = []
        for runs in reads.values():
            median = lambda key: statistics.median(run[key] for run in runs)
            speed, time = "gigabytes_per_second", "milliseconds_per_step"
            cells.append(f"{median(speed):.1f} ({median(time):.2f})" if runs else "not measured")
        shares = [run["gigabytes_per_second"] / speed for run, speed in zip(reads["sequential"], speeds)]
        shares = [f"{100 * share:.0f}" for share in (statistics.median(shares), min(shares), max(shares))]
        share = "{} % ({} to {})".format(*shares)
        print(f"| {name} | {statistics.median(speeds):.1f} | {share} |", *(f"{cell} |" for cell in cells), flush=True)
    print()
    for name in ["f16", "f32"]:
        runs = [host(program, directory / f"{name}.safetensors", "sequential") for _ in range(TURNS)]
        uploads = sorted(run["milliseconds_of_uploads"] for run in runs)
        median, least, most = statistics.median(uploads), uploads[0], uploads[-1]
        print(f"upload of a batch in {name}: {median:.2f} ms ({least:.2f} to {most:.2f})")


main()
