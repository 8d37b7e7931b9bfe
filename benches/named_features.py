#!/usr/bin/env python3
"""Find the feature of an SAE that best tells each of some concepts, and measure it on held-out rows.

    named_features.py --sae SAE --select FILE --held-out FILE --tokenizer tokenizer.json --out named-features.json

A concept is the tokens whose last byte lies in a match of a regular expression over a window's text, in rows of some
sources. Feature, best dimension (with its sign) and cut (the best F1) are chosen on the first --rows rows of --select;
all figures are of --held-out. `token_shuffled` is the AUROC after activations are permuted among rows of equal tokens,
so what the token alone tells; `shared` figures are of the tokens that occur both inside and outside the concept, and
`within_sources` of the rows of the concept's sources. A concept needs context where on shared tokens the AUROC is at
least 0.9, and that of shuffled activations at least 0.2 lower. The interval holds 95 % of 100 resamples of windows.
Needs numpy, safetensors, torch. --sae is the directory of any SAE but topk and gated ones, as monosem exports it, in
SAELens's layout.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

# Name, sources (None for all), pattern. Patterns with a group take the group's span.
# Written from text and features of the selection rows.
CONCEPTS = (
    ("scripture", ("kjv",), rb"(?s).+"),
    ("verse reference", ("kjv",), rb"\b[1-3]?[A-Z][a-z]+\d+:\d+"),
    ("Spanish handbook", ("handbook-es",), rb"(?s).+"),
    ("Rust code", ("rust",), rb"(?s).+"),
    ("Python code", ("python",), rb"(?s).+"),
    ("manual page", ("man",), rb"(?s).+"),
    ("Rust line comment", ("rust",), rb"//[^\n]*"),
    ("Rust attribute", ("rust",), rb"#!?\[[^\]\n]*\]"),
    ("string literal in code", ("rust", "python"), rb'"([^"\n]{1,80})"'),
    ("cross-reference of FOLDOC", ("foldoc",), rb"\{([^{}]{1,60})\}"),
    ("date stamp of FOLDOC", ("foldoc",), rb"\((\d{4}-\d\d-\d\d)\)"),
    ("subject field of FOLDOC", ("foldoc",), rb"\n\s*<([a-z, ]{2,40})>"),
    ("synonyms of WordNet", ("wn",), rb"\[syn:\s*([^\]]{1,300})\]"),
    ("usage example of WordNet", ("wn",), rb'; "([^"]{1,200})"'),
    ("etymology of a dictionary", ("gcide",), rb"\b(?:n|a|v\. [ti]|adv)\. \[([^\]]{1,400})\]"),
    ("source mark of a dictionary", ("gcide",), rb"\[(1913 Webster)\]"),
    ("pronunciation of a headword", ("gcide",), rb"\\([A-Z][^\\\n]{1,40})\\"),
    ("attribution of a dictionary's quotation", ("gcide",), rb"--([A-Z][^\n\[]{1,40})"),
    ("attribution of a fortune", ("fortunes",), rb"-- ([A-Z][^\n]{1,80})"),
    ("command-line option", ("man",), rb"--?[a-z][a-z-]+"),
    ("heading of a manual page", ("man",), rb'\n"?([A-Z][A-Z ]{3,40})"?\n'),
    ("path of Rust", ("rust",), rb"\b\w+(?:::\w+)+"),
    ("number of a verse", ("kjv",), rb"\d+:(\d+)"),
    ("number of a sense in WordNet", ("wn",), rb"\n\s+(\d+): "),
    ("part of speech in WordNet", ("wn",), rb"\n\s+(n|v|adj|adv) (?:1|:)"),
    ("mark of synonyms in WordNet", ("wn",), rb"\[(syn:)"),
    ("God or the Lord in scripture", ("kjv",), rb"\b(?:LORD|Lord|God)\b"),
    ("self in code", ("rust", "python"), rb"\bself\b"),
    ("year", None, rb"\b(?:1[5-9]|20)\d\d\b"),
    ("modal verb", None, rb"\b(?:would|could|should|may|might|can|will|shall|must)\b"),
    ("form of to be", None, rb"\b(?:is|are|was|were|be|been)\b"),
    ("relative pronoun", None, rb"\b(?:who|which|that)\b"),
    ("first person", None, rb"\b(?:I|my|me)\b"),
    ("the word the", None, rb"\b[Tt]he\b"),
    ("the word of", None, rb"\bof\b"),
    ("the word to", None, rb"\bto\b"),
    ("possessive", None, rb"'s\b"),
    ("double colon", None, rb"::"),
    ("opening parenthesis", None, rb"\("),
    ("word after an opening quotation mark", None, rb' "([A-Za-z]+)'),
    ("word after an opening parenthesis", None, rb"\(([A-Za-z]+)"),
    ("word after an opening brace", None, rb"\{([A-Za-z]+)"),
    ("word after an opening bracket", None, rb"\[(\w{1,12})"),
    ("word after a comma", None, rb", ([a-z]+)"),
    ("name after the dashes of an attribution", ("gcide",), rb"--([A-Z][a-z]*)"),
    ("part of speech after a pronunciation", ("gcide",), rb"\\, (n|a|v|adv)\."),
)


class Rows:
    """The first rows of a file, and their windows' texts."""

    def __init__(self, path, count, texts):
        with safe_open(path, "pt") as file:
            get = lambda name: file.get_slice(name)[:count]
            self.x = get("activations").float()
            columns = ("token_ids", "source", "sequence")
            self.token, self.source, self.window = (get(name).to(torch.int64).numpy() for name in columns)
            self.names = json.loads(file.metadata()["sources"])
        self.pieces = [texts[token] for token in self.token]
        self.bounds = np.flatnonzero(np.diff(self.window, prepend=-1, append=-1))

    def label(self, sources, pattern):
        labels = np.zeros(len(self.token), bool)
        for first, end in zip(self.bounds, self.bounds[1:]):
            last = np.cumsum([len(piece) for piece in self.pieces[first:end]]) - 1
            for match in re.finditer(pattern, b"".join(self.pieces[first:end])):
                begin, stop = match.span(match.re.groups)
                labels[first + np.searchsorted(last, begin):first + np.searchsorted(last, stop)] |= begin >= 0
        return labels & self.of(sources)

    def of(self, sources):
        """Rows of these sources, or all."""
        known = [self.names.index(name) for name in sources or self.names if name in self.names]
        return np.isin(self.source, known)


def byte_texts(path):
    """The bytes of each token of a byte-level tokenizer."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}
    made = json.loads(path.read_text())
    texts = {token: bytes(table[c] for c in text) for text, token in made["model"]["vocab"].items()}
    return texts | {added["id"]: b"" for added in made["added_tokens"]}


def encode(sae, x):
    """Codes [rows, features], a batch at a time."""
    with safe_open(sae / "sae_weights.safetensors", "pt") as file:
        w = {name: file.get_tensor(name).float() for name in file.keys()}
    for part in x.split(4096):
        z = (part - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
        yield torch.where(z > w.get("threshold", 0), z, 0).clamp(min=0)


def auroc(values, labels):
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    p, n = labels.sum(), (~labels).sum()
    return float((ranks[labels].sum() - p * (p + 1) / 2) / (p * n))


def mean_auroc(several, labels):
    return float(np.mean([auroc(values, labels) for values in several])) if len(labels) else None


def best_feature(entries, labels, features):
    """The feature of the largest AUROC; entries are sorted by feature and falling activation."""
    row, feature = entries
    y = labels[row]
    above = np.cumsum(y)
    starts = np.searchsorted(feature, np.arange(features))
    above = above - np.concatenate(([0], above))[starts][feature]
    active = np.bincount(feature, minlength=features)
    positive = np.bincount(feature, y, features)
    p, n = labels.sum(), (~labels).sum()
    silent = n - (active - positive)
    wins = np.bincount(feature, ~y * above, features) + silent * positive + (p - positive) * silent / 2
    return int(np.argmax(wins))


def best_cut(values, labels):
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(labels[order])
    return float(values[order][np.argmax(2 * hits / (np.arange(len(hits)) + 1 + labels.sum()))])


def shuffled(values, token, rng):
    made = np.empty_like(values)
    made[np.argsort(token, kind="stable")] = values[np.lexsort((rng.random(len(token)), token))]
    return made


def interval(values, labels, bounds, rng):
    """The middle 95 % of the AUROC over resamples of windows."""
    found, windows = [], len(bounds) - 1
    for _ in range(100):
        drawn = rng.integers(windows, size=windows)
        rows = np.concatenate([np.arange(bounds[at], bounds[at + 1]) for at in drawn])
        if labels[rows].any():
            found.append(auroc(values[rows], labels[rows]))
    return [float(end) for end in np.quantile(found, [0.025, 0.975])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sae", "select", "held-out", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    flags = parser.parse_args()
    texts, rng = byte_texts(flags.tokenizer), np.random.default_rng(0)
    select, held = Rows(flags.select, flags.rows, texts), Rows(flags.held_out, flags.rows, texts)
    parts, first = [], 0
    for codes in encode(flags.sae, select.x):
        row, feature = codes.nonzero(as_tuple=True)
        parts.append((row.numpy() + first, feature.numpy(), codes[row, feature].numpy()))
        first, features = first + len(codes), codes.shape[1]
    row, feature, value = map(np.concatenate, zip(*parts))
    order = np.lexsort((-value, feature))
    row, feature, value = row[order], feature[order], value[order]
    ranks = torch.argsort(torch.argsort(select.x, 0), 0).float()
    found = []
    for name, sources, pattern in CONCEPTS:
        labels, truth = select.label(sources, pattern), held.label(sources, pattern)
        if labels.sum() < 20 or truth.sum() < 20:
            found.append({"name": name, "sources": sources, "pattern": pattern.decode(), "too_few": True,
                          "select_positives": int(labels.sum()), "positives": int(truth.sum())})
            continue
        best = best_feature((row, feature), labels, features)
        mean = ranks[torch.from_numpy(labels)].mean(0) - ranks.mean(0)
        dimension = int(mean.abs().argmax())
        own = np.zeros(len(labels), np.float32)
        own[row[feature == best]] = value[feature == best]
        found.append({"name": name, "sources": sources, "pattern": pattern.decode(), "feature": best,
                      "dimension": dimension, "sign": float(mean[dimension].sign()), "cut": best_cut(own, labels),
                      "select_positives": int(labels.sum()), "select_auroc": auroc(own, labels), "truth": truth})
    measured = [line for line in found if "feature" in line]
    chosen = torch.tensor([line["feature"] for line in measured])
    acts = torch.cat([codes[:, chosen] for codes in encode(flags.sae, held.x)]).numpy()
    for line, values in zip(measured, acts.T):
        truth = line.pop("truth")
        counts = [np.bincount(held.token[side], minlength=max(texts) + 1) for side in (truth, ~truth)]
        shared = np.minimum(*counts)[held.token] > 0
        mixed = [shuffled(values, held.token, rng) for _ in range(3)]
        fired = values >= max(line["cut"], 1e-9)
        near = held.of(line["sources"])
        line |= {"positives": int(truth.sum()), "auroc": auroc(values, truth),
                 "interval": interval(values, truth, held.bounds, rng),
                 "within_sources": auroc(values[near], truth[near]) if (near & ~truth).any() else None,
                 "token_shuffled": mean_auroc(mixed, truth),
                 "best_dimension": auroc(line["sign"] * held.x[:, line["dimension"]].numpy(), truth),
                 "shared_auroc": auroc(values[shared], truth[shared]) if shared.any() else None,
                 "shared_token_shuffled": mean_auroc([m[shared] for m in mixed], truth[shared]),
                 "precision": float(truth[fired].mean()) if fired.any() else None,
                 "recall": float(fired[truth].mean()), "snippets": []}
        if shared.any() and (shared & truth).any() and (shared & ~truth).any():
            line["needs_context"] = bool(line["shared_auroc"] >= 0.9
                                         and line["shared_auroc"] - line["shared_token_shuffled"] >= 0.2)
        for top in np.argsort(-values)[:60:20]:
            near = [b"".join(held.pieces[max(top + a, 0):top + b]) for a, b in ((-6, 0), (0, 1), (1, 4))]
            line["snippets"].append("{}<<{}>>{}".format(*(part.decode(errors="replace") for part in near)))
    result = {"rows": len(held.token), "concepts": found}
    flags.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
