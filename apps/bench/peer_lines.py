"""How a peer of `build/bench --peer` is asked: lines on stdin and stdout."""
import json
import sys


def serve(info, timed):
    """Prints `ready {json}` of `info`; then answers each line `run N` with timed(N): the seconds of N steps, separated
    by spaces, or `out of memory` and what does not fit."""
    print("ready", json.dumps(info), flush=True)
    for line in sys.stdin:
        words = line.split()
        if len(words) != 2 or words[0] != "run":
            sys.exit(f"expected 'run N', got {line!r}")
        try:
            print(" ".join(f"{s:.6f}" for s in timed(int(words[1]))), flush=True)
        except RuntimeError as error:  # PyTorch's and JAX's alike
            said = str(error)
            if not any(words in said.lower() for words in ("out of memory", "can't allocate memory")):
                raise
            print("out of memory:", " ".join(said.split()), flush=True)
