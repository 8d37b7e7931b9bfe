"""The text that harvest.py reads, as documents and as the windows of tokens that a model reads at once."""

import argparse
import gzip
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from row_output import HarvestError

MAX_SOURCES = 1 << 16
DOCUMENTS_AT_ONCE = 256


class Document(NamedTuple):
    """A text, its source, and where it stands."""

    place: str
    text: str
    source: str


class Window(NamedTuple):
    """Tokens that the model reads together, and the source of each."""

    token_ids: np.ndarray
    sources: np.ndarray

    def part(self, start: int, end: int | None = None) -> "Window":
        return Window(self.token_ids[start:end], self.sources[start:end])


def read_documents(args: argparse.Namespace) -> Iterator[Document]:
    for path in args.text or []:
        yield Document(path, "".join(read_lines(path)), os.path.basename(path))
    for place, record, source in read_records(args):
        record = record if isinstance(record, dict) else {}
        for field in filter(None, (args.text_field, args.source_field)):
            if not isinstance(record.get(field), str):
                there = ", ".join(record) or "none"
                raise HarvestError(f"{place}: the field {field!r} is missing or no string; fields: {there}")
        yield Document(place, record[args.text_field], record[args.source_field] if args.source_field else source)


def read_records(args: argparse.Namespace) -> Iterator[tuple[str, Any, str]]:
    """The place, the record and the name of the file or dataset."""
    if args.dataset:
        import datasets

        try:
            records = datasets.load_dataset(args.dataset, args.subset, split=args.split, streaming=True)
        except (OSError, ValueError) as error:
            raise HarvestError(f"the dataset {args.dataset!r} cannot be opened: {error}") from None
        yield from ((f"{args.dataset}, record {number}", record, args.dataset) for number, record in enumerate(records))
    for path in args.jsonl or []:
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                place = f"{path}, line {number}"
                try:
                    yield place, json.loads(line), os.path.basename(path)
                except json.JSONDecodeError as error:
                    raise HarvestError(f"{place} is not JSON: {error}") from None


def read_lines(path: str) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8") as file:
            yield from file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise HarvestError(f"{path} cannot be read: {error}") from None


def list_sources(args: argparse.Namespace) -> list[str]:
    """The names of all sources, in an order that the text alone decides."""
    if args.sources:
        names = args.sources.split(",")
    elif args.source_field and args.dataset:
        raise HarvestError("--source-field of a dataset needs --sources NAME,..: all values of the field")
    elif args.source_field:
        names = list(dict.fromkeys(document.source for document in read_documents(args)))
    else:
        names = [args.dataset] if args.dataset else list(dict.fromkeys(map(os.path.basename, args.text or args.jsonl)))
    if len(names) > MAX_SOURCES:
        raise HarvestError(f"the text has {len(names):,} sources; at most {MAX_SOURCES:,} are possible")
    return names


def around_documents(tokenizer: Any, causal: bool, bos: bool | None) -> tuple[list[int], list[int]]:
    """The special tokens before and after each document."""
    if bos is False:
        return [], []
    if causal:
        if bos and tokenizer.bos_token_id is None:
            raise HarvestError("--bos: the tokenizer has no BOS token")
        return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id], []
    text, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    for start in range(len(whole)):
        if whole[start:][: len(text)] == text:
            return whole[:start], whole[start + len(text) :]
    raise HarvestError("the tokenizer's special tokens do not stand before and after the text; give --no-bos")


def tokenise(documents: Iterator[Document], sources: list[str], tokenizer: Any) -> Iterator[Window]:
    """Each document's tokens, without special ones; documents without tokens are left out."""
    numbers = {name: number for number, name in enumerate(sources)}
    while group := list(itertools.islice(documents, DOCUMENTS_AT_ONCE)):
        texts = [document.text for document in group]
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for document, ids in zip(group, encoded):
            if document.source not in numbers:
                raise HarvestError(f"{document.place}: the source {document.source!r} is not one of --sources")
            if ids:
                yield Window(np.array(ids, np.int32), np.full(len(ids), numbers[document.source], np.uint16))


def surround(window: Window, around: tuple[list[int], list[int]]) -> Window:
    before, after = around
    token_ids = np.concatenate([np.array(before, np.int32), window.token_ids, np.array(after, np.int32)])
    return Window(token_ids, np.full(len(token_ids), window.sources[0], np.uint16))


def pack(documents: Iterator[Window], around: tuple[list[int], list[int]], size: int) -> Iterator[Window]:
    """Windows of `size` tokens, cut from all documents end to end; the last may be shorter."""
    rest = Window(np.zeros(0, np.int32), np.zeros(0, np.uint16))
    for document in documents:
        joined = Window(*map(np.concatenate, zip(rest, surround(document, around))))
        whole = len(joined.token_ids) // size * size
        yield from (joined.part(start, start + size) for start in range(0, whole, size))
        rest = joined.part(whole)
    if len(rest.token_ids):
        yield rest


def split_documents(documents: Iterator[Window], around: tuple[list[int], list[int]], size: int) -> Iterator[Window]:
    """Windows of up to `size` tokens, of one document each."""
    room = size - sum(map(len, around))
    for document in documents:
        for start in range(0, len(document.token_ids), room):
            yield surround(document.part(start, start + room), around)
