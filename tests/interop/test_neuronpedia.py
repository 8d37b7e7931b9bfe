"""Take what `monosem neuronpedia` writes as Neuronpedia does: by its classes, and by its importer's SQL on its tables.

Run by hand, with a clone of https://github.com/hijohnnylin/neuronpedia at COMMIT:

    cargo build --release --locked
    pip install pytest psycopg[binary]
    NEURONPEDIA=path/to/clone pytest tests/interop/test_neuronpedia.py

MONOSEM names another binary than target/release/monosem, EXPORT a directory MODEL/LAYER-SET that was written before,
instead of one of a small SAE that is trained here. POSTGRES names an empty database, as in
"host=/tmp dbname=neuronpedia": without it the tables are not tried.
"""

import gzip
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMIT = "ebb8426"
ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples/data"
CREATOR = "clkht01d40000jv08hvalcvly"

# A kind of file, its class in db_models, its table.
RECORDS = {
    "release": ("source_release", "SourceRelease"),
    "model": ("model", "Model"),
    "sourceset": ("source_set", "SourceSet"),
    "source": ("source", "Source"),
}
BATCHES = {
    "features": ("feature", "Feature", "Neuron"),
    "activations": ("activation", "Activation", "Activation"),
    "explanations": ("explanation", "Explanation", "Explanation"),
}


def show(path: str) -> str:
    """A file of Neuronpedia."""
    command = ["git", "-C", os.environ["NEURONPEDIA"], "show", f"{COMMIT}:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def class_of(module: str, name: str, directory: Path) -> type:
    path = directory / f"{module}.py"
    path.write_text(show(f"utils/neuronpedia-utils/neuronpedia_utils/db_models/{module}.py"))
    spec = importlib.util.spec_from_file_location(module, path)
    sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[module])
    return getattr(sys.modules[module], name)


def batches(export: Path, kind: str) -> list[str]:
    """The files' text, as the importer has it: importJsonlString replaces what stands for NUL."""
    paths = sorted((export / kind).glob("*.jsonl.gz"))
    assert paths, kind
    return [gzip.decompress(path.read_bytes()).decode().replace("\\u0000", " ") for path in paths]


def lines(export: Path, kind: str) -> list[dict]:
    return [json.loads(line) for batch in batches(export, kind) for line in batch.strip().split("\n")]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "EXPORT" in os.environ:
        return Path(os.environ["EXPORT"])
    directory = tmp_path_factory.mktemp("neuronpedia")

    def monosem(*arguments: object) -> None:
        program = os.environ.get("MONOSEM", ROOT / "target/release/monosem")
        subprocess.run([program, *map(str, arguments)], cwd=directory, check=True)

    sizes = ["--features", 64, "--k", 8, "--steps", 50]
    monosem("train", "--data", DATA / "sample-train.safetensors", "--out", "run", *sizes)
    data = ["--data", DATA / "sample-val.safetensors", "--tokenizer", DATA / "tokenizer.json"]
    monosem("features", "--sae", "run", *data, "--out", "set")
    label = {"feature": 3, "label": "a NUL, \0, and a backslash before u: \\u0000", "score": 0.5, "source": "a test"}
    (directory / "labels.jsonl").write_text(json.dumps(label))
    monosem("label", "import", "--features", "set", "--labels", "labels.jsonl")
    named = ["--source-set", "res-64", "--creator-id", CREATOR, "--creator-name", "A test", "--layer", 3]
    monosem("neuronpedia", "--features", "set", "--out", "export", *named)
    (source,) = (directory / "export").glob("*/*")
    return source


def test_their_classes_take_every_line(export: Path, tmp_path: Path) -> None:
    for kind, (module, name) in RECORDS.items():
        (line,) = (export / f"{kind}.jsonl").read_text().splitlines()
        class_of(module, name, tmp_path)(**json.loads(line))
    for kind, (module, name, _) in BATCHES.items():
        theirs = class_of(module, name, tmp_path)
        for line in lines(export, kind):
            theirs(**line)


def test_derived_fields_are_the_converters(export: Path) -> None:
    """What convert-saedashboard-to-neuronpedia-export.py computes itself."""
    greatest: dict[str, float] = {}
    for line in lines(export, "activations"):
        assert len(line["tokens"]) == len(line["values"])
        assert line["maxValue"] == max(line["values"])
        assert line["maxValueTokenIndex"] == line["values"].index(max(line["values"]))
        assert line["minValue"] == min(line["values"])
        greatest[line["index"]] = max(greatest.get(line["index"], 0), line["maxValue"])
    for line in lines(export, "features"):
        assert line["maxActApprox"] == greatest.get(line["index"], 0), line["index"]
        assert len(line["freq_hist_data_bar_heights"]) == len(line["freq_hist_data_bar_values"])
        assert len(line["topkCosSimIndices"]) == len(line["topkCosSimValues"])


@pytest.mark.skipif("POSTGRES" not in os.environ, reason="POSTGRES names no database")
def test_their_importer_takes_every_line(export: Path) -> None:
    import psycopg

    folder = "apps/webapp/prisma/migrations"
    listed = ["git", "-C", os.environ["NEURONPEDIA"], "ls-tree", "--name-only", f"{COMMIT}:{folder}"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    with psycopg.connect(os.environ["POSTGRES"], autocommit=True) as connection:
        has_vector = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
        for name in sorted(name for name in names if re.match(r"\d", name)):
            sql = show(f"{folder}/{name}/migration.sql")
            if not has_vector:
                # No embedding is written: their columns need only be there.
                sql = re.sub(r'CREATE EXTENSION[^;]*"vector";', "", sql).replace("vector(256)", "TEXT")
                sql = re.sub(r"CREATE INDEX[^;]*USING (hnsw|ivfflat)[^;]*;", "", sql)
            connection.execute(sql)
        of_user = 'INSERT INTO "User" (id, name, "emailUnsubscribeCode") VALUES (%s, %s, %s)'
        connection.execute(of_user, [CREATOR, "me", "x"])
        tables = {"release": "SourceRelease", "model": "Model", "sourceset": "SourceSet", "source": "Source"}
        for kind, table in tables.items():
            # Prisma creates these one by one; their columns and references are what is tried here.
            take(connection, table, (export / f"{kind}.jsonl").read_text())
            assert count(connection, table) == 1
        for kind, (_, _, table) in BATCHES.items():
            # A second time changes nothing.
            for _ in range(2):
                for batch in batches(export, kind):
                    take(connection, table, batch)
            assert count(connection, table) == len(lines(export, kind))
        of_activations = connection.execute('SELECT id, tokens, values FROM "Activation"').fetchall()
        written = {line["id"]: (line["tokens"], line["values"]) for line in lines(export, "activations")}
        assert {id: (tokens, values) for id, tokens, values in of_activations} == written


def count(connection, table: str) -> int:
    return connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]


def take(connection, table: str, text: str) -> None:
    """importJsonlString of apps/webapp/lib/db/import.ts."""
    rows = text.strip().split("\n")
    columns = connection.execute(
        """
      SELECT
        column_name,
        CASE
          WHEN data_type = 'ARRAY' THEN
            udt_name::regtype::text || '[]'
          WHEN data_type = 'USER-DEFINED' THEN (
            SELECT t.typname::text
            FROM pg_type t
            WHERE t.typname = c.udt_name
          )
          ELSE
            data_type
        END as data_type
      FROM information_schema.columns c
      WHERE table_name = %s
        AND column_name = ANY(%s)
      ORDER BY ordinal_position;
    """,
        [table, list(json.loads(rows[0]))],
    ).fetchall()
    quoted = ", ".join(f'"{name}"' for name, _ in columns)
    typed = ", ".join(f'"{name}" "{kind}"' if kind == "Visibility" else f'"{name}" {kind}' for name, kind in columns)
    query = f"""
      INSERT INTO "{table}" ({quoted})
      SELECT {quoted} FROM jsonb_to_recordset(%s::jsonb) as t({typed})
      ON CONFLICT DO NOTHING
    """
    for first in range(0, len(rows), 65000):
        connection.execute(query, [f"[{','.join(rows[first:first + 65000])}]"])
