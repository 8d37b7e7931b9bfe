"""Test examples/python/harvest.py and load.py on tiny models made on the spot.

Run by hand, because PyTorch is too large for every push:

    pip install datasets numpy pyarrow pytest sae-lens safetensors torch transformers
    pytest tests/interop/test_harvest.py
"""

import gzip
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"
sys.path.insert(0, str(EXAMPLES))
import harvest
import load

WORDS = [f"w{number}" for number in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[CLS]", "[SEP]"]
BOS, CLS, SEP = 2, 3, 4
SIZES = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}


def save_model(directory: Path, kind: str) -> Path:
    torch.manual_seed(1)
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    size = {"vocab_size": len(vocabulary), "max_position_embeddings": 64}
    if kind == "bert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
        )
        model = transformers.BertModel(transformers.BertConfig(**SIZES, **size))
        special = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    elif kind == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=3, n_head=2, n_embd=16, **size))
        special = {"bos_token": "[BOS]"}
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **size))
        special = {"bos_token": "[BOS]"}
    model.save_pretrained(directory)
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **special)
    whole.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def models_of(tmp_path_factory):
    return {kind: save_model(tmp_path_factory.mktemp(kind), kind) for kind in ("llama", "gpt2", "bert")}


@pytest.fixture(scope="session")
def documents():
    """Documents of 0 to 39 tokens, as (source, token ids)."""
    random = np.random.default_rng(3)
    ids = [random.integers(len(SPECIAL), len(SPECIAL) + len(WORDS), length).tolist() for length in [7, 0, *range(39)]]
    return [(["books", "code"][number % 2], tokens) for number, tokens in enumerate(ids)]


def write_jsonl(path: Path, documents) -> Path:
    names = SPECIAL + WORDS
    lines = [json.dumps({"from": source, "body": " ".join(names[id] for id in ids)}) for source, ids in documents]
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write("\n".join(lines) + "\n\n")
    return path


@pytest.fixture(scope="session")
def jsonl(tmp_path_factory, documents):
    path = write_jsonl(tmp_path_factory.mktemp("text") / "text.jsonl.gz", documents)
    return ["--jsonl", path, "--text-field", "body", "--source-field", "from"]


@pytest.fixture
def run(monkeypatch):
    """Runs harvest.py in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harvest.py", *map(str, arguments)])
        harvest.main()

    return run


@pytest.fixture
def problem(run):
    """What harvest.py ends with."""

    def problem(*arguments) -> str:
        with pytest.raises(SystemExit) as ended:
            run(*arguments)
        assert isinstance(ended.value.code, str), ended.value.code
        return ended.value.code

    return problem


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, EXAMPLES / "harvest.py", *map(str, arguments)], **options)


def read(directory: Path) -> dict[str, torch.Tensor]:
    files = [load_file(path) for path in sorted(directory.glob("*.safetensors"))]
    return {name: torch.cat([file[name] for file in files]) for name in files[0]}


def metadata(directory: Path) -> dict[str, str]:
    with safe_open(directory / "part-00000.safetensors", "np") as file:
        return file.metadata()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def hidden_states(directory: Path, kind: str, ids: list[int]) -> list[torch.Tensor]:
    loader = transformers.AutoModel if kind == "bert" else transformers.AutoModelForCausalLM
    with torch.inference_mode():
        model = loader.from_pretrained(directory, dtype=torch.float32).eval()
        return [states[0] for states in model(torch.tensor([ids]), output_hidden_states=True).hidden_states]


def packed(documents, size: int) -> list[tuple[list[int], list[int]]]:
    """Windows as (token ids, sources)."""
    tokens = [(id, ["books", "code"].index(source)) for source, ids in documents if ids for id in [BOS, *ids]]
    return [tuple(map(list, zip(*tokens[at : at + size]))) for at in range(0, len(tokens), size)]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_packed_rows_are_the_hidden_states_of_each_window(models_of, kind, layer, jsonl, documents, run, tmp_path):
    model, size = models_of[kind], 20
    arguments = ["--context-size", size, "--batch-size", 3, "--dtype", "f32", "--shard-rows", 130]
    run("--model", model, "--layer", layer, *jsonl, *arguments, "--out", tmp_path)
    rows, windows = read(tmp_path), packed(documents, size)
    assert len(list(tmp_path.iterdir())) > 3 and 0 < len(windows[-1][0]) < size and len(windows) % 3
    assert rows["token_ids"].tolist() == [id for ids, _ in windows for id in ids[1:]]
    assert rows["source"].tolist() == [source for _, sources in windows for source in sources[1:]]
    assert rows["position"].tolist() == [at for ids, _ in windows for at in range(1, len(ids))]
    assert rows["sequence"].tolist() == [number for number, (ids, _) in enumerate(windows) for _ in ids[1:]]
    assert BOS in rows["token_ids"].tolist()
    expected = torch.cat([hidden_states(model, kind, ids)[layer][1:] for ids, _ in windows])
    torch.testing.assert_close(rows["activations"], expected, rtol=1e-5, atol=1e-6)
    types = {name: values.dtype for name, values in rows.items()}
    assert types.pop("activations") == torch.float32
    assert types == {"token_ids": torch.int32, "source": torch.uint16} | dict.fromkeys(
        ["sequence", "position"], torch.uint32
    )
    said = metadata(tmp_path)
    block = {"llama": "model.layers", "gpt2": "transformer.h"}[kind]
    assert said["hook_name"] == (f"{block}.{layer - 1}" if layer else f"{block}.0.input")
    assert (said["model_name"], said["context_size"], said["dataset_path"]) == (str(model), "20", str(jsonl[1]))
    assert json.loads(said["sources"]) == ["books", "code"] and json.loads(said["special_token_ids"]) == [1, BOS]


def test_the_last_layer_is_before_the_final_norm(models_of, jsonl, documents, run, tmp_path):
    run("--model", models_of["llama"], "--layer", 3, *jsonl, "--dtype", "f32", "--drop-first", 0, "--out", tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(models_of["llama"])
    (ids, _), *_ = packed(documents, 64)
    with torch.inference_mode():
        normed = model.model.norm(read(tmp_path)["activations"][:64])
    torch.testing.assert_close(normed, hidden_states(models_of["llama"], "llama", ids)[3], rtol=1e-4, atol=1e-5)


def test_a_module_by_name_and_without_bos(models_of, jsonl, documents, run, tmp_path):
    hook = "model.layers.1.self_attn"
    run("--model", models_of["llama"], "--hook", hook, *jsonl, "--no-bos", "--dtype", "f32", "--out", tmp_path)
    rows, given = read(tmp_path), []
    ids = [id for _, ids in documents for id in ids][:64]
    assert rows["token_ids"][:63].tolist() == ids[1:] and metadata(tmp_path)["hook_name"] == hook
    model = transformers.AutoModelForCausalLM.from_pretrained(models_of["llama"])
    model.get_submodule(hook).register_forward_hook(lambda _, taken, output: given.append(output[0][0]))
    with torch.inference_mode():
        model(torch.tensor([ids]))
    torch.testing.assert_close(rows["activations"][:63], given[0][1:], rtol=1e-5, atol=1e-6)


def test_an_encoder_reads_each_document_alone(models_of, jsonl, documents, run, tmp_path):
    size = 22
    arguments = ["--context-size", size, "--batch-size", 4, "--dtype", "f32"]
    run("--model", models_of["bert"], "--layer", 2, *jsonl, *arguments, "--out", tmp_path)
    rows, room = read(tmp_path), size - 2
    pieces = [ids[at : at + room] for _, ids in documents for at in range(0, len(ids), room)]
    windows = [[CLS, *piece, SEP] for piece in pieces]
    assert rows["token_ids"].tolist() == [id for ids in windows for id in ids]
    assert rows["position"].tolist() == [at for ids in windows for at in range(len(ids))]
    expected = torch.cat([hidden_states(models_of["bert"], "bert", ids)[2] for ids in windows])
    torch.testing.assert_close(rows["activations"], expected, rtol=1e-4, atol=1e-5)


def test_a_causal_model_can_read_each_document_alone(models_of, jsonl, documents, run, tmp_path):
    run(
        "--model",
        models_of["gpt2"],
        "--layer",
        2,
        *jsonl,
        "--windows",
        "documents",
        "--dtype",
        "f32",
        "--out",
        tmp_path,
    )
    rows, windows = read(tmp_path), [[BOS, *ids] for _, ids in documents if ids]
    assert rows["token_ids"].tolist() == [id for ids in windows for id in ids[1:]]
    expected = torch.cat([hidden_states(models_of["gpt2"], "gpt2", ids)[2][1:] for ids in windows])
    torch.testing.assert_close(rows["activations"], expected, rtol=1e-5, atol=1e-6)


def test_plain_text_and_datasets_give_the_same_rows(models_of, documents, run, monkeypatch, tmp_path):
    names, files = SPECIAL + WORDS, []
    for number, (_, ids) in enumerate(documents[4:9]):
        files.append(tmp_path / f"{number}.txt")
        files[-1].write_text(" ".join(names[id] for id in ids))
    common = ["--model", models_of["llama"], "--layer", 1, "--context-size", 9]
    run(*common, "--text", *files, "--out", tmp_path / "text")
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "train.jsonl", [(f"{at}.txt", ids) for at, (_, ids) in enumerate(documents[4:9])])
    fields = ["--text-field", "body", "--source-field", "from", "--sources", ",".join(file.name for file in files)]
    run(*common, "--dataset", tmp_path / "data", *fields, "--out", tmp_path / "dataset")
    text, dataset = read(tmp_path / "text"), read(tmp_path / "dataset")
    assert all(torch.equal(text[name], dataset[name]) for name in text) and text["source"].unique().numel() == 5
    assert metadata(tmp_path / "text")["sources"] == metadata(tmp_path / "dataset")["sources"]
    assert metadata(tmp_path / "dataset")["dataset_path"] == str(tmp_path / "data")


def test_types_round_the_same_values(models_of, jsonl, run, tmp_path):
    for dtype in ("bf16", "f16", "f32"):
        run(
            "--model",
            models_of["llama"],
            "--layer",
            2,
            *jsonl,
            "--dtype",
            dtype,
            "--rows",
            333,
            "--out",
            tmp_path / dtype,
        )
    exact = read(tmp_path / "f32")["activations"]
    assert exact.shape == (333, 16)
    assert torch.equal(read(tmp_path / "bf16")["activations"], exact.bfloat16())
    assert torch.equal(read(tmp_path / "f16")["activations"], exact.half())


@pytest.mark.parametrize(
    "value, dtype, expected", [(1e5, "f16", "the activation 100000 overflows f16"), (np.nan, "f32", "not finite")]
)
def test_values_that_cannot_be_written_are_named(models_of, documents, problem, value, dtype, expected, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(models_of["llama"])
    with torch.no_grad():
        model.model.embed_tokens.weight[5, 3] = value
    model.save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(models_of["llama"]).save_pretrained(tmp_path / "model")
    text = write_jsonl(tmp_path / "text.jsonl", [("", [6] * 10), ("", [7] * 15 + [5] * 3)])
    arguments = ["--context-size", 8, "--batch-size", 2, "--text-field", "body", "--dtype", dtype]
    said = problem("--model", tmp_path / "model", "--layer", 0, "--jsonl", text, *arguments, "--out", tmp_path / "out")
    # BOS, 10 tokens, BOS and 15 tokens stand before: token 27, of window 3, after 3 positions that were dropped.
    assert "row 23 (sequence 3, position 3)" in said and expected in said
    assert contents(tmp_path / "out") == {}


def long_harvest(models_of, documents, directory: Path) -> list:
    text = write_jsonl(directory / "long.jsonl", documents * 12)
    files = ["--context-size", 16, "--batch-size", 4, "--shard-rows", 130]
    fields = ["--text-field", "body", "--source-field", "from"]
    return ["--model", models_of["llama"], "--layer", 2, "--jsonl", text, *fields, *files]


@pytest.mark.parametrize("rows", [[], ["--rows", 7001]])
def test_a_killed_harvest_goes_on_with_the_same_bytes(models_of, documents, run, rows, tmp_path):
    arguments, whole, killed = [*long_harvest(models_of, documents, tmp_path), *rows], tmp_path / "a", tmp_path / "b"
    run(*arguments, "--out", whole)
    process = start(*arguments, "--out", killed)
    while not (killed / "part-00007.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    expected, kept = contents(whole), contents(killed)
    assert 8 <= len([name for name in kept if not name.startswith(".")]) < len(expected)
    assert all(expected[name] == kept[name] for name in kept if not name.startswith("."))
    (killed / ".part-00008.safetensors.unfinished").write_bytes(b"half")
    run(*arguments, "--out", killed, "--resume")
    assert contents(killed) == expected
    run(*arguments, "--out", killed, "--resume")
    assert contents(killed) == expected
    assert len(read(killed)["token_ids"]) == (7001 if rows else len(read(whole)["token_ids"]))


def test_resuming_refuses_what_would_give_other_rows(models_of, documents, problem, run, tmp_path):
    arguments, out = long_harvest(models_of, documents, tmp_path), ["--out", tmp_path / "out"]
    run(*arguments, *out, "--rows", 300)
    before = contents(tmp_path / "out")
    assert "--resume" in problem(*arguments, *out, "--rows", 300)
    for name, changed in [
        ("batch_size", ["--batch-size", 5]),
        ("layer", ["--layer", 1]),
        ("dtype", ["--dtype", "f32"]),
    ]:
        assert f"another {name}: " in problem(*arguments, *changed, *out, "--rows", 300, "--resume")
    assert "another rows: 300, and None now" in problem(*arguments, *out, "--resume")
    write_jsonl(tmp_path / "long.jsonl", documents * 13)
    assert "another text_bytes" in problem(*arguments, *out, "--rows", 300, "--resume")
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "notes.txt is not the next file of a harvest" in problem(*arguments, *out, "--resume")
    (tmp_path / "out" / "notes.txt").unlink()
    (tmp_path / "out" / "part-00000.safetensors").write_bytes(b"other")
    assert "part-00000.safetensors is not a file of a harvest" in problem(*arguments, *out, "--resume")


def test_a_full_disk_leaves_whole_files_only(models_of, jsonl, problem, run, tmp_path):
    arguments = ["--model", models_of["llama"], "--layer", 1, *jsonl, "--batch-size", 1, "--out", tmp_path]
    # A file holds at least one batch, here of 63 rows.
    small, limits = ["--shard-rows", 1], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        said = problem(*arguments, *small)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "part-00000.safetensors cannot be written: File too large" in said and contents(tmp_path) == {}
    run(*arguments, *small, "--resume")
    assert len(read(tmp_path)["token_ids"]) > 700


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_a_stream_has_the_rows_of_the_files(models_of, jsonl, run, dtype, tmp_path):
    arguments = [
        "--model",
        models_of["llama"],
        "--layer",
        2,
        *jsonl,
        "--batch-size",
        5,
        "--dtype",
        dtype,
        "--rows",
        600,
    ]
    run(*arguments, "--out", tmp_path / "files")
    process = start(*arguments, "--stream", stdout=subprocess.PIPE)
    bytes = process.stdout.read()
    assert process.wait() == 0 and bytes.endswith(b"\xff\xff\xff\xff\0\0\0\0")
    reader = pyarrow.ipc.open_stream(bytes)
    batches = list(reader)
    table, rows = pyarrow.Table.from_batches(batches), read(tmp_path / "files")
    assert [len(batch) for batch in batches] == [315, 285]
    stored = {"bf16": pyarrow.uint16(), "f16": pyarrow.float16(), "f32": pyarrow.float32()}[dtype]
    field = reader.schema.field("activations")
    assert field.type == pyarrow.list_(stored, 16) and field.metadata == {b"dtype": dtype.encode()}
    values = pyarrow.concat_arrays(table["activations"].chunks).flatten().to_numpy(zero_copy_only=False)
    view = {"bf16": torch.int16, "f16": torch.int16, "f32": torch.int32}[dtype]
    assert values.tobytes() == rows["activations"].view(view).numpy().tobytes()
    types = {"token_ids": "int32", "source": "uint16", "sequence": "uint32", "position": "uint32"}
    assert {name: str(reader.schema.field(name).type) for name in types} == types
    assert all(table[name].to_pylist() == rows[name].tolist() for name in types)
    said = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}
    assert said == {key: value for key, value in metadata(tmp_path / "files").items() if key != "next_window"}


def test_a_stream_that_breaks_off_has_no_end(models_of, documents, tmp_path):
    text = write_jsonl(tmp_path / "text.jsonl", documents)
    text.write_text(text.read_text() + "not JSON\n")
    common = ["--model", models_of["llama"], "--layer", 1, "--text-field", "body", "--batch-size", 1, "--stream"]
    process = start(*common, "--jsonl", *[text] * 2, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    bytes, said = process.communicate()
    assert process.returncode == 1 and b"not JSON" in said and b"Traceback" not in said
    assert not bytes.endswith(b"\xff\xff\xff\xff\0\0\0\0")

    many = write_jsonl(tmp_path / "many.jsonl", documents * 50)
    process = start(*common, "--jsonl", many, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1000)
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 0 and b"the reader has closed the stream" in said and b"Traceback" not in said


def test_errors_say_what_to_do(models_of, jsonl, problem, tmp_path):
    model, out = ["--model", models_of["llama"]], ["--out", tmp_path / "out"]
    assert "this model has layers 0 to 3" in problem(*model, "--layer", 4, *jsonl, *out)
    assert "close to it: model.layers.1.mlp" in problem(*model, "--hook", "layers.1.mlp", *jsonl, *out)
    assert "not [windows, positions, d]" in problem(*model, "--hook", "model.rotary_emb", *jsonl, *out)
    assert "the model has 64 positions" in problem(*model, "--layer", 1, "--context-size", 65, *jsonl, *out)
    assert "line 1: the field 'text' is missing" in problem(*model, "--layer", 1, "--jsonl", jsonl[1], *out)
    assert "No such file" in problem(*model, "--layer", 1, "--text", tmp_path / "none", *out)
    (tmp_path / "text.gz").write_text("not compressed")
    assert "text.gz cannot be read" in problem(*model, "--layer", 1, "--text", tmp_path / "text.gz", *out)
    assert "cannot be loaded" in problem("--model", tmp_path / "none", "--layer", 1, *jsonl, *out)
    (tmp_path / "empty").write_text("")
    assert "no rows" in problem(*model, "--layer", 1, "--text", tmp_path / "empty", *out)
    assert "is not one of --sources" in problem(*model, "--layer", 1, *jsonl, "--sources", "code", *out)


def test_load_reads_an_sae_and_codes(monkeypatch, capsys, tmp_path):
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    torch.manual_seed(2)
    trained = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=16, d_sae=40, k=4))
    trained.save_inference_model(tmp_path / "sae")
    codes = trained.encode(torch.randn(50, 16)).detach()
    values, indices = codes.topk(4, dim=1)
    order = indices.sort(dim=1).indices
    file = {"indices": indices.gather(1, order).int(), "values": values.gather(1, order)}
    file["token_ids"] = torch.arange(100, 150, dtype=torch.int32)
    save_file(file, tmp_path / "codes.safetensors")

    feature = int(indices[0, 0])
    monkeypatch.setattr(sys, "argv", ["load.py", *map(str, [tmp_path / "sae", tmp_path / "codes.safetensors"])])
    sys.argv += ["--feature", str(feature)]
    load.main()
    assert torch.equal(load.dense_rows(file, 10, 30, 40), codes[10:30])
    assert torch.equal(load.sparse_rows(file, 40).to_dense(), codes)
    rows, found = load.top_rows(file, feature, 3)
    assert torch.equal(found, codes[:, feature].topk(len(rows)).values) and torch.equal(codes[rows, feature], found)
    assert f"row {rows[0]}: token {100 + rows[0]}, activation {found[0]:.4g}" in capsys.readouterr().out
