#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy", "safetensors", "tokenizers"]
# ///
"""Count how well words tell where a feature is active, on rows that `monosem encode` has encoded.

    uv run check_label.py codes.safetensors --tokenizer tokenizer.json --feature 891 --words they them these are

Without uv: pip install numpy safetensors tokenizers
"""

import argparse
from collections import Counter

from safetensors.numpy import load_file
from tokenizers import Tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", help="of an SAE with k active features per row, and of data with token_ids")
    parser.add_argument("--tokenizer", required=True, metavar="FILE")
    parser.add_argument("--feature", type=int, required=True)
    parser.add_argument("--words", nargs="+", required=True,
                        help="tokens that the label means, as the tokenizer has them")
    flags = parser.parse_args()
    codes, tokenizer = load_file(flags.codes), Tokenizer.from_file(flags.tokenizer)
    if unknown := [word for word in flags.words if tokenizer.token_to_id(word) is None]:
        parser.error(f"no tokens of this tokenizer: {' '.join(unknown)}")
    active = ((codes["indices"] == flags.feature) & (codes["values"] > 0)).any(axis=1)
    tokens = [tokenizer.id_to_token(int(token)) for token in codes["token_ids"]]
    meant = [token in flags.words for token in tokens]
    others = Counter(token for token, fires, is_meant in zip(tokens, active, meant) if fires and not is_meant)
    both = sum(active) - others.total()
    print(f"active on {both} of the {sum(meant)} rows that the label means, and on {others.total()} of the "
          f"{len(tokens) - sum(meant)} others:")
    print(" ".join(f"{token} x{count}" for token, count in others.most_common(20)))


if __name__ == "__main__":
    main()
