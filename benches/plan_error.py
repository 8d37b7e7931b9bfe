#!/usr/bin/env python3
"""How far `monosem plan` is off: seconds of a step as it predicts them, and as `monosem bench` then measures them.

    plan_error.py FILE [MONOSEM]     writes FILE; MONOSEM is the program, or a command that ends with it (default: cargo run)

SIZES="d,features,k,batch ..." sets other sizes. Rounds alternate, so that what else the machine does meets both; medians of three.
"""
import json
import os
import shlex
import statistics
import subprocess
import sys

SIZES = os.environ.get("SIZES", "384,16384,32,256 384,65536,32,256 384,262144,32,256 384,16384,32,2048")
ROUNDS = 3


def run(command, subcommand, sizes):
    flags = [text for name, size in zip(("--d", "--features", "--k", "--batch"), sizes) for text in (name, str(size))]
    output = subprocess.run([*command, subcommand, "--json", *flags], stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output)


def main():
    path = sys.argv[1]
    command = shlex.split(" ".join(sys.argv[2:])) or ["cargo", "run", "-q", "--release", "--locked", "--"]
    results = []
    print("| d, features, k, rows | predicted, s | kernels, s | off by | host's clock, s |\n|---|---|---|---|---|")
    for text in SIZES.split():
        sizes = [int(size) for size in text.split(",")]
        predicted, kernels, steps = [], [], []
        for _ in range(ROUNDS):
            predicted.append(run(command, "plan", sizes)["seconds_per_step"])
            bench = run(command, "bench", sizes)
            kernels.append(bench["kernels_seconds"])
            steps.append(bench["step_seconds"])
        plan, kernel, step = map(statistics.median, (predicted, kernels, steps))
        error = plan / kernel - 1
        print(f"| {', '.join(map(str, sizes))} | {plan:.3f} | {kernel:.3f} | {100 * error:+.0f} % | {step:.3f} |", flush=True)
        results.append({"sizes": sizes, "device": f"{bench['device']} ({bench['driver']})", "predicted_seconds": predicted,
                        "kernels_seconds": kernels, "step_seconds": steps, "error": error})
    with open(path, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


main()
