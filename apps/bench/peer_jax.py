#!/usr/bin/env python3
"""JAX's side of `build/bench likelihood --peer`: HET-XL's Monte Carlo likelihood as one writes it, compiled by XLA.

    build/bench likelihood --peer python3 --peer-script apps/bench/peer_jax.py --peer-modes compile

Takes the options that peer_torch.py takes for it, and speaks the lines of peer_lines.py. Needs only jax.
"""
import argparse
import math
import os
import time

from peer_lines import serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["likelihood"], default="likelihood")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=21843)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16: of the factors of products")
    parser.add_argument("--mode", choices=["compile"], default="compile")
    args = parser.parse_args()
    # XLA's threads are as many as the cores that it may use when it is imported.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])
    import jax
    import jax.numpy as jnp

    rounded = jnp.bfloat16 if args.precision == "bf16" else jnp.float32
    keys = jax.random.split(jax.random.key(0), 6)
    parameters = {
        "phi": jax.random.normal(keys[0], (args.batch, args.width)),
        "weight": jax.random.normal(keys[1], (args.classes, args.width)) / args.width**0.5,
        "bias": jnp.zeros(args.classes),
        "d": jax.random.uniform(keys[2], (args.batch, args.width)),
        "v": jax.random.normal(keys[3], (args.batch, args.width)),
        "factors": jax.random.normal(keys[4], (args.width, args.rank)) / args.rank**0.5,
    }
    labels = jnp.arange(args.batch) % args.classes

    def loss_of(p, key):
        of_factors, of_diagonal = jax.random.split(key)
        eps = jax.random.normal(of_factors, (args.batch, args.samples, args.rank))
        z = p["phi"][:, None] + p["v"][:, None] * (eps @ p["factors"].T)
        z = z + p["d"][:, None] * jax.random.normal(of_diagonal, (args.batch, args.samples, args.width))
        u = jnp.einsum("bsd,kd->bsk", z.astype(rounded), p["weight"].astype(rounded),
                       preferred_element_type=jnp.float32) + p["bias"]
        c = jnp.take_along_axis(jax.nn.log_softmax(u, -1), labels[:, None, None], 2)[..., 0]
        return -(jax.nn.logsumexp(c, 1) - math.log(args.samples)).mean()

    step = jax.jit(jax.value_and_grad(loss_of))
    key = keys[5]

    def timed(steps):
        """Seconds of each step."""
        nonlocal key
        seconds = []
        for _ in range(steps):
            key, noise = jax.random.split(key)
            begin = time.perf_counter()
            jax.block_until_ready(step(parameters, noise))
            seconds.append(time.perf_counter() - begin)
        return seconds

    serve({"jax": jax.__version__, "threads": args.threads, "device": args.device, "precision": args.precision,
           "mode": args.mode}, timed)


if __name__ == "__main__":
    main()
