#!/usr/bin/env python3
"""scikit-learn's LogisticRegression and `build/train`, in turn, on the same vectors with the same penalty.

Prints the test NLL and the seconds of both: of the fit alone, of the first fit that stops early with an NLL within 1e-3
of the last one, of our training steps, and of our whole program (files read and checked, statistics, test and
checkpoint). Needs numpy and scikit-learn:

    make data DATASETS=embeddings MIRROR=FOLDER
    python3 apps/bench/peer_sklearn.py --threads 2
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", default="datasets/embeddings/cifar10", help="PREFIX of PREFIX-train-features.npy …")
parser.add_argument("--program", default="build/train")
parser.add_argument("--config", default="apps/configs/embeddings-logistic.json")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=3, help="the two in turn; medians are reported")
args = parser.parse_args()
for library in ("OMP", "OPENBLAS", "MKL"):  # before numpy is loaded
    os.environ[library + "_NUM_THREADS"] = str(args.threads)

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

warnings.filterwarnings("ignore", category=ConvergenceWarning)


def load(part):
    features = np.load(f"{args.data}-{part}-features.npy").astype(np.float32)
    return features, np.load(f"{args.data}-{part}-labels.npy")


def fit(iterations):
    """(seconds, test NLL, iterations) of the default solver, lbfgs, with the default C = 1 and tolerance."""
    begin = time.perf_counter()
    model = LogisticRegression(C=1.0, max_iter=iterations).fit(x, y)
    seconds = time.perf_counter() - begin
    p = model.predict_proba(x_test).astype(np.float64)
    return seconds, -np.log(p[np.arange(len(y_test)), y_test]).mean(), int(model.n_iter_[0])


def train():
    """(seconds of the steps, seconds of the program, test NLL)."""
    with tempfile.TemporaryDirectory() as folder:
        decay = f"optimizer.weight_decay={1 / len(y)}"
        command = [args.program, "--config", args.config, "--set", f"data.path={args.data}", "--set", decay,
                   "--threads", str(args.threads), "--out", folder + "/run"]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        if done.returncode != 0:
            sys.exit(done.stderr)
        with open(folder + "/run/summary.json") as file:
            summary = json.load(file)
        return summary["train_seconds"], seconds, summary["test"]["nll"]


x, y = load("train")
x_test, y_test = load("test")
mean, deviation = x.mean(0), x.std(0)
x, x_test = (x - mean) / deviation, (x_test - mean) / deviation

load_average = os.getloadavg()[0]
_, final, needed = fit(1000)
early = next(n for n in [*range(4, needed, 4), needed] if abs(fit(n)[1] - final) < 1e-3)
whole, stopped, ours = [], [], []
for _ in range(args.rounds):
    whole.append(fit(1000)[0])
    stopped.append(fit(early)[0])
    ours.append(train())
steps, program = (statistics.median(seconds) for seconds in list(zip(*ours))[:2])
nll = ours[0][2]
print(f"threads {args.threads} · load average {load_average:.2f} at start · medians of {args.rounds} rounds in turn")
print(f"scikit-learn, lbfgs           NLL {final:.5f}  {statistics.median(whole):6.2f} s  ({needed} iterations)")
print(f"scikit-learn, stopped early   NLL {fit(early)[1]:.5f}  {statistics.median(stopped):6.2f} s  ({early} iterations)")
print(f"build/train, steps            NLL {nll:.5f}  {steps:6.2f} s")
print(f"build/train, whole program                 {program:6.2f} s")
sys.exit(0 if abs(nll - final) < 1e-3 else 1)
