#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["datasets", "numpy>=1.24", "pyarrow", "safetensors", "torch>=2.4", "tqdm", "transformers>=4.56"]
# ///
"""Collect the activations of a Hugging Face model on text, as `monosem train --data` reads them.

    uv run harvest.py --model MODEL --layer 6 --jsonl text.jsonl.gz --rows 10000000 --out activations
    uv run harvest.py --model MODEL --layer 6 --dataset NAME --stream | monosem train --data - --out run ...

Without uv: pip install datasets numpy pyarrow safetensors torch tqdm transformers
row_output.py and text_windows.py must lie beside it.

Windows. Each document is tokenised by itself. A causal model's documents begin with BOS, if the tokenizer has one, and
are packed: laid end to end and cut into windows of --context-size tokens, so that documents share a window, a long one
goes on in the next, and a token attends to all that stands before it in its window. An encoder's windows hold one
document each (a long one is cut into several) between the tokenizer's special tokens. Short windows are padded and
masked, and padding is never a row. --windows takes the other rule. Documents without tokens are left out.

Rows. A row is a token, in the order of the text. Special tokens are rows too: their ids are in the metadata
`special_token_ids`, for `monosem train --exclude-tokens`. A causal model's first position of each window is dropped:
as an attention sink its norm is often hundreds of times the rest.

Files. --out gets part-00000.safetensors and so on, each whole or not there: `activations` [rows, d] and, [rows] each,
`token_ids` i32, `source` u16 (a place in the metadata's `sources`), `sequence` u32 (the window's number) and `position`
u32 (in the window). A file holds whole batches of windows, so that a harvest that was cut off and is continued with
--resume has the bytes of one that was not, on the same machine. Resuming reads the text from its start, but runs the
model only on what is missing.

Sources. They are the values of --source-field, or else the names of the files or the dataset. Every file lists all of
them, so JSON lines are read once more beforehand, and a dataset needs --sources.
"""

import argparse
import difflib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import transformers
from tqdm import tqdm
from transformers.models.auto import modeling_auto as auto_models

from row_output import Batch, HarvestError, Progress, find_progress, write_files, write_stream
from text_windows import Window, around_documents, list_sources, pack, read_documents, split_documents, tokenise

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


class ForwardEnded(Exception):
    """Ends a forward pass at the module that was asked for, so that later modules cost nothing."""


def is_causal(config: Any) -> bool:
    # Encoders are in both lists: transformers can make decoders of them.
    is_encoder = config.model_type in auto_models.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    is_decoder = getattr(config, "is_decoder", False)
    return config.model_type in auto_models.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (is_decoder or not is_encoder)


class Model:
    """A model that runs up to one of its modules, and its tokenizer."""

    def __init__(self, args: argparse.Namespace):
        found = [name for name in ("cuda", "mps") if getattr(torch, name).is_available()]
        self.device = args.device or [*found, "cpu"][0]
        # Most CPUs are slower with halves.
        dtype = "f32" if args.model_dtype == "auto" and self.device == "cpu" else args.model_dtype
        try:
            config = transformers.AutoConfig.from_pretrained(args.model)
            self.causal = is_causal(config)
            loader = transformers.AutoModelForCausalLM if self.causal else transformers.AutoModel
            self.model = loader.from_pretrained(args.model, dtype=DTYPES.get(dtype, "auto")).to(self.device).eval()
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise HarvestError(f"the model {args.model!r} cannot be loaded: {error}") from None
        self.config = config.get_text_config()
        self.model.config.get_text_config().use_cache = False
        self.around = around_documents(self.tokenizer, self.causal, args.bos)
        limit = getattr(self.config, "max_position_embeddings", None) or sys.maxsize
        self.context_size = args.context_size or min(512, limit, self.tokenizer.model_max_length)
        if not sum(map(len, self.around)) < self.context_size <= limit:
            raise HarvestError(f"--context-size {self.context_size}: the model has {limit} positions")
        self.hook_name, module, takes_input = self.find_module(args)
        if takes_input:
            module.register_forward_pre_hook(
                lambda _, given, named: self.end(given[0] if given else named["hidden_states"]), with_kwargs=True
            )
        else:
            module.register_forward_hook(lambda _, given, output: self.end(output))

    def find_module(self, args: argparse.Namespace) -> tuple[str, torch.nn.Module, bool]:
        """The name for the metadata, the module, and whether its input is meant."""
        layer, hook, modules = args.layer, args.hook, dict(self.model.named_modules())
        if layer is None:
            if hook not in modules:
                near = ", ".join(difflib.get_close_matches(hook, modules, 5, 0.4))
                raise HarvestError(f"the model has no module {hook!r}; close to it: {near or 'none'}")
            return hook, modules[hook], False
        count = getattr(self.config, "num_hidden_layers", -1)
        lists = [name for name, module in modules.items() if isinstance(module, torch.nn.ModuleList)]
        lists = [name for name in lists if len(modules[name]) == count]
        lists = [name for name in lists if not any(name.startswith(f"{outer}.") for outer in lists)]
        if len(lists) != 1:
            raise HarvestError(f"the model's blocks are not clear (found: {lists}); name a module with --hook")
        if not 0 <= layer <= count:
            raise HarvestError(f"--layer {layer}: this model has layers 0 to {count}")
        name = f"{lists[0]}.{max(layer - 1, 0)}"
        return name if layer else f"{name}.input", modules[name], layer == 0

    def end(self, value: Any) -> None:
        self.seen = value[0] if isinstance(value, (tuple, list)) else value
        raise ForwardEnded

    @torch.inference_mode()
    def activations(self, token_ids: np.ndarray, mask: np.ndarray) -> torch.Tensor:
        """[windows, positions, d]"""
        self.seen = None
        ids, attention_mask = (torch.from_numpy(array).to(self.device) for array in (token_ids, mask))
        try:
            self.model(input_ids=ids, attention_mask=attention_mask)
        except ForwardEnded:
            pass
        if not isinstance(self.seen, torch.Tensor) or self.seen.shape[:-1] != token_ids.shape:
            given = list(getattr(self.seen, "shape", [])) or type(self.seen).__name__
            raise HarvestError(f"{self.hook_name} gives {given}, not [windows, positions, d]; name another module")
        return self.seen


def narrow(values: torch.Tensor, dtype: str, place: Callable[[int], str]) -> np.ndarray:
    narrowed = values.to(DTYPES[dtype])
    bad = ~narrowed.isfinite().all(dim=1)
    if bad.any():
        row = int(bad.nonzero()[0])
        if values[row].isfinite().all():
            largest = values[row].abs().max().item()
            raise HarvestError(f"{place(row)}: the activation {largest:g} overflows {dtype}; take another --dtype")
        raise HarvestError(f"{place(row)}: an activation is not finite; try another --model-dtype")
    narrowed = narrowed.cpu()
    return narrowed.view(torch.int16).numpy().view(np.uint16) if dtype == "bf16" else narrowed.numpy()


def run_batch(windows: list[Window], model: Model, args: argparse.Namespace, start: Progress) -> Batch:
    shape = len(windows), max(len(window.token_ids) for window in windows)
    # Padding may be any token: it is masked, and no row.
    token_ids, mask, sources = (np.zeros(shape, dtype) for dtype in (np.int64, np.int64, np.uint16))
    for number, window in enumerate(windows):
        end = len(window.token_ids)
        token_ids[number, :end], sources[number, :end], mask[number, :end] = *window, 1
    kept = mask.astype(bool)
    kept[:, : args.drop_first] = False
    sequence, position = np.nonzero(kept)
    sequence += start.next_window
    room = None if args.rows is None else args.rows - start.rows
    values = model.activations(token_ids, mask)[torch.from_numpy(kept).to(model.device)][:room]
    if start.width not in (None, values.shape[1]):
        raise HarvestError(f"row {start.rows}: its d is {values.shape[1]}, and {start.width} before")

    def place(row: int) -> str:
        return f"row {start.rows + row} (sequence {sequence[row]}, position {position[row]})"

    columns = {
        "activations": narrow(values, args.dtype, place),
        "token_ids": token_ids[kept].astype(np.int32),
        "source": sources[kept],
        "sequence": sequence.astype(np.uint32),
        "position": position.astype(np.uint32),
    }
    return Batch({name: column[:room] for name, column in columns.items()}, start.next_window + len(windows))


def harvest(model: Model, windows: Iterator[Window], args: argparse.Namespace, at: Progress) -> Iterator[Batch]:
    """Batches from `at` on; what is in one depends on the windows' numbers alone."""
    windows = itertools.islice(windows, at.next_window, None)
    with tqdm(total=args.rows, initial=at.rows, unit=" rows", unit_scale=True, file=sys.stderr) as bar:
        while at.rows != args.rows and (taken := list(itertools.islice(windows, args.batch_size))):
            batch = run_batch(taken, model, args, at)
            at = at.after(batch)
            bar.update(batch.rows())
            if batch.rows():
                yield batch
    if not at.rows:
        raise HarvestError("the text gave no rows: it is empty, or --drop-first drops all positions")


def whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return parse


def parse_arguments() -> argparse.Namespace:
    count = whole_number(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="name on the hub, or directory")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--layer", type=int, help="residual stream after N blocks, before a final norm", metavar="N")
    where.add_argument("--hook", help="output of the module NAME (of a tuple, its first)", metavar="NAME")
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--jsonl", nargs="+", help="JSON lines, a document each; may end in .gz", metavar="FILE")
    text.add_argument("--text", nargs="+", help="plain text, a document each file; may end in .gz", metavar="FILE")
    text.add_argument("--dataset", help="dataset on the hub, or directory, streamed", metavar="NAME")
    add("--subset", help="configuration of the dataset", metavar="NAME")
    add("--split", default="train", help="split of the dataset (%(default)s)", metavar="NAME")
    add("--text-field", default="text", help="field of the text (%(default)s)", metavar="FIELD")
    add("--source-field", help="field that names a document's source", metavar="FIELD")
    add("--sources", help="all values of --source-field", metavar="NAME,..")
    add("--license", help="the text's license, for the metadata", metavar="TEXT")
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--out", type=Path, help="write safetensors files into DIR", metavar="DIR")
    to.add_argument("--stream", action="store_true", help="write an Arrow IPC stream to standard output")
    add("--resume", action="store_true", help="continue after the last file in --out, if there is one")
    add("--rows", type=count, help="stop after N rows (when the text ends)", metavar="N")
    add("--shard-rows", type=count, help="rows per file, at most (as many as 512 MiB hold)", metavar="N")
    add("--dtype", choices=DTYPES, default="bf16", help="type of the activations written (%(default)s)")
    add("--context-size", type=count, help="tokens per window (512, or fewer if the model has fewer)", metavar="N")
    add("--windows", choices=["packed", "documents"], help="packed for causal models, documents for encoders")
    add("--bos", action=argparse.BooleanOptionalAction, help="BOS, or an encoder's special tokens (if there are any)")
    add("--drop-first", type=whole_number(0), help="positions dropped of a window (causal 1, encoder 0)", metavar="N")
    add("--batch-size", type=count, default=32, help="windows that the model reads at once (%(default)s)", metavar="N")
    add("--model-dtype", choices=["auto", *DTYPES], default="auto", help="auto: the model's own; on a CPU f32")
    add("--device", help="cuda, mps or cpu (the first that there is)")
    args = parser.parse_args()
    if args.resume and args.stream:
        parser.error("--resume continues files; a stream starts anew")
    if args.stream and sys.stdout.isatty():
        parser.error("--stream writes binary data: pipe it to `monosem train --data -`")
    return args


def run(args: argparse.Namespace, output: BinaryIO | None) -> None:
    model = Model(args)
    args.windows = args.windows or ("packed" if model.causal else "documents")
    args.drop_first = int(model.causal) if args.drop_first is None else args.drop_first
    args.device, args.model_dtype, args.context_size = model.device, str(model.model.dtype), model.context_size
    sources = list_sources(args)
    files = args.text or args.jsonl or []
    settings = {name: value for name, value in vars(args).items() if name not in ("out", "stream", "resume")}
    settings["text_bytes"] = [os.path.getsize(file) for file in files]
    settings["model_commit"] = getattr(model.model.config, "_commit_hash", None)
    settings["torch"], settings["transformers"] = str(torch.__version__), transformers.__version__
    metadata = {
        "model_name": args.model,
        "hook_name": model.hook_name,
        "context_size": str(args.context_size),
        "dataset_path": args.dataset or ", ".join(files[:8] + ["..."] * (len(files) > 8)),
        "sources": json.dumps(sources),
        "special_token_ids": json.dumps(sorted(set(model.tokenizer.all_special_ids))),
        "harvest": json.dumps(settings, sort_keys=True),
        **({"license": args.license} if args.license else {}),
    }
    at = Progress()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        at = find_progress(args.out, settings, args.resume)
    cut = pack if args.windows == "packed" else split_documents
    windows = cut(tokenise(read_documents(args), sources, model.tokenizer), model.around, model.context_size)
    batches = harvest(model, windows, args, at)
    if output:
        write_stream(batches, output, metadata, args.dtype)
    else:
        write_files(batches, args.out, at, args.shard_rows, metadata, args.dtype)


def main() -> None:
    args = parse_arguments()
    output = None
    if args.stream:
        # What libraries print must not come into the stream.
        output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
    try:
        run(args, output)
    except BrokenPipeError:
        print("harvest.py: the reader has closed the stream", file=sys.stderr)
        if output:
            # What is still to be flushed goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    except (HarvestError, OSError) as error:
        sys.exit(f"harvest.py: {error}")
    except torch.cuda.OutOfMemoryError as error:
        sys.exit(f"harvest.py: the device has too little memory; take a smaller --batch-size ({error})")
    except KeyboardInterrupt:
        sys.exit("harvest.py: interrupted" + "; --resume continues after the last whole file" * (not args.stream))


if __name__ == "__main__":
    main()
