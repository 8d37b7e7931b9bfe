"""Where harvest.py puts rows: safetensors files, each whole or not there, or an Arrow IPC stream."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

FILE_BYTES = 512 << 20


class HarvestError(Exception):
    """What the user can put right."""


class Batch(NamedTuple):
    """Rows by column, and the number of the window after them. The activations of bf16 are its bits, as u16."""

    columns: dict[str, np.ndarray]
    next_window: int

    def rows(self) -> int:
        return len(self.columns["token_ids"])

    def width(self) -> int:
        return self.columns["activations"].shape[1]


class Progress(NamedTuple):
    """What there is already."""

    files: int = 0
    rows: int = 0
    next_window: int = 0
    width: int | None = None

    def after(self, batch: Batch) -> "Progress":
        return Progress(self.files, self.rows + batch.rows(), batch.next_window, batch.width())


def find_progress(directory: Path, settings: dict[str, Any], resume: bool) -> Progress:
    """What the directory's files hold, which must have been made with these settings."""
    at = Progress()
    names = sorted(entry.name for entry in directory.iterdir())
    names = [name for name in names if not re.fullmatch(r"\.part-\d+\.safetensors\.unfinished", name)]
    for number, name in enumerate(names):
        path = directory / name
        if name != f"part-{number:05}.safetensors":
            raise HarvestError(f"{path} is not the next file of a harvest; give an empty directory")
        if not resume:
            raise HarvestError(f"{directory} holds a harvest: continue it with --resume, or give another --out")
        try:
            with safe_open(path, "np") as file:
                metadata, shape = file.metadata() or {}, file.get_slice("activations").get_shape()
            made_with, next_window = json.loads(metadata["harvest"]), int(metadata["next_window"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise HarvestError(f"{path} is not a file of a harvest: {error!r}") from None
        for key in sorted(settings.keys() | made_with.keys()):
            was, now = made_with.get(key), settings.get(key)
            if was != now:
                raise HarvestError(f"{directory} was harvested with another {key}: {was!r}, and {now!r} now")
        at = Progress(number + 1, at.rows + shape[0], next_window, shape[1])
    return at


def write_files(
    batches: Iterator[Batch], directory: Path, at: Progress, limit: int | None, metadata: dict[str, str], dtype: str
) -> None:
    """Writes files of at most `limit` rows, or of FILE_BYTES, but of a whole batch at least."""
    held: list[Batch] = []
    files, rows = at.files, 0
    for batch in batches:
        most = limit or FILE_BYTES // batch.columns["activations"][0].nbytes
        if held and rows + batch.rows() > most:
            write_file(directory / f"part-{files:05}.safetensors", held, metadata, dtype)
            held, files, rows = [], files + 1, 0
        held.append(batch)
        rows += batch.rows()
    if held:
        write_file(directory / f"part-{files:05}.safetensors", held, metadata, dtype)


def write_file(path: Path, batches: list[Batch], metadata: dict[str, str], dtype: str) -> None:
    # The safetensors package orders metadata at random, so that equal harvests would differ.
    # Types of four bytes come before those of two, so that all are aligned.
    types = {"token_ids": "I32", "sequence": "U32", "position": "U32", "activations": dtype.upper(), "source": "U16"}
    header: dict[str, Any] = {"__metadata__": metadata | {"next_window": str(batches[-1].next_window)}}
    end = 0
    for name, stored in types.items():
        parts = [batch.columns[name] for batch in batches]
        start, end = end, end + sum(part.nbytes for part in parts)
        shape = [sum(map(len, parts)), *parts[0].shape[1:]]
        header[name] = {"dtype": stored, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in types:
                file.writelines(np.ascontiguousarray(batch.columns[name]).data for batch in batches)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            problem = f"{path} cannot be written: {error.strerror}"
            raise HarvestError(f"{problem}; the files before it are whole, and --resume continues after them") from None
        raise


def write_stream(batches: Iterator[Batch], output: BinaryIO, metadata: dict[str, str], dtype: str) -> None:
    """Writes a record batch for each batch. After an error the stream has no end mark, so that its reader notices."""
    import pyarrow

    writer = None
    for batch in batches:
        columns = {name: pyarrow.array(column.ravel()) for name, column in batch.columns.items()}
        columns["activations"] = pyarrow.FixedSizeListArray.from_arrays(columns["activations"], batch.width())
        if writer is None:
            schema = pyarrow.schema([(name, column.type) for name, column in columns.items()], metadata)
            schema = schema.set(0, schema.field(0).with_metadata({"dtype": dtype}))
            writer = pyarrow.ipc.new_stream(output, schema)
        writer.write_batch(pyarrow.record_batch(list(columns.values()), schema=schema))
        output.flush()
    if writer is not None:
        writer.close()
        output.flush()
