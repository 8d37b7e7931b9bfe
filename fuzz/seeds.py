"""Writes the first inputs of each target to corpus/TARGET: small files that real writers make.

Needs numpy, pyarrow and safetensors: python seeds.py
"""

import io
import itertools
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

CORPUS = pathlib.Path(__file__).parent / "corpus"
count = itertools.count()


def seed(target, data):
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"seed-{next(count):02}").write_bytes(data)


def arrow(table, writer=pa.ipc.new_stream, **options):
    sink = io.BytesIO()
    with writer(sink, table.schema, **options) as out:
        out.write_table(table, max_chunksize=3)
    return sink.getvalue()


def fixed(values, *lengths):
    array = pa.array(values.reshape(-1))
    for length in lengths:
        array = pa.FixedSizeListArray.from_arrays(array, length)
    return array


rows = np.arange(20, dtype=np.float32).reshape(5, 4)
tokens = pa.array(range(5), pa.int32())

for array in [rows, rows.astype("<f2"), rows.astype(">f4"), rows.T, rows[0], rows.astype("<f8"), rows.view("V2")]:
    sink = io.BytesIO()
    np.save(sink, array)
    seed("npy", sink.getvalue())

bf16 = pa.schema([pa.field("activations", pa.list_(pa.uint16(), 8), metadata={"dtype": "bf16"})])
contexts = pa.array(rows.reshape(1, 5, 4).repeat(4, 0).tolist(), pa.list_(pa.list_(pa.float32())))
tables = [
    pa.table({"activations": fixed(rows, 4), "token_ids": tokens, "sequence": tokens, "position": tokens}),
    pa.table({"activations": fixed(rows.astype("f2"), 4), "text": ["a", "b", None, "d", "e"]}),
    pa.table([fixed(rows.view("u2"), 8)], bf16.with_metadata({"model_name": "gpt2"})),
    pa.table({"activations": fixed(rows, 2, 5), "token_ids": fixed(np.arange(10, dtype=np.int32), 5)}),
    pa.table({"blocks.0.hook": contexts, "token_ids": fixed(np.arange(20, dtype=np.int32), 5)}),
    pa.table({"activations": pa.array(rows.tolist(), pa.large_list(pa.float32()))}),
    pa.table({"activations": fixed(rows, 4), "word": pa.array(list("abcab")).dictionary_encode()}),
]
for table in tables:
    seed("arrow_stream", arrow(table))
    seed("arrow_dataset", arrow(table))
    seed("arrow_dataset", arrow(table, pa.ipc.new_file))
zstd = pa.ipc.IpcWriteOptions(compression="zstd")
seed("arrow_dataset", arrow(tables[0], options=zstd))

for table in tables[:2] + tables[5:6]:
    for compression in ["none", "snappy", "zstd"]:
        sink = io.BytesIO()
        pq.write_table(table, sink, compression=compression, row_group_size=3)
        seed("parquet", sink.getvalue())

metadata = {"model_name": "gpt2", "context_size": "128"}
seed("safetensors", save({"activations": rows, "token_ids": np.arange(5, dtype=np.int64)}, metadata))
seed("safetensors", save({"activations": rows.astype("f2"), "position": np.arange(5, dtype=np.uint32)}))
