#!/usr/bin/env python3
"""Probabilities of a folder of JPEG files, end to end: build/predict beside PyTorch and ONNX Runtime with the same
weights, threads and files, in turn.

    python3 apps/bench/peer_predict.py --run runs/first --images photos --threads 2 --rounds 3

The run is of build/train: a ResNet-18 or -50 (torchvision has the same names) or a ViT-S/16 (timm) with head det, whose
eval_pipeline resizes to 256, crops to 224 and normalizes by ImageNet's mean and deviation. Every program gets the same
files, is timed from the first file read to the last probability, and reads each file once a round; of build/predict that
is the time of the whole program, start and all, while the others have compiled and are warm. PyTorch's modes: eager;
compile; frozen, which is compile with the weights as constants (prepacked, batch norm folded). Images are channels
last. Batches of each program, all of one size, its decoder (Pillow or torchvision) and its workers of DataLoader are
those that were fastest on the first --trial files, one after the other. Needs torchvision, timm, safetensors, onnx and onnxruntime.

Prints a line for every program of every round as it ends, then medians, the ratio to build/predict in the same
precision, and the largest difference of a probability from build/predict's in f32.
"""
import argparse
import csv
import itertools
import pathlib
import statistics
import subprocess
import tempfile
import time

import timm
import torch
import torch._inductor.config
import torchvision
from PIL import Image
from safetensors import safe_open
from torchvision.transforms import v2

RESIZE = [v2.Resize(256, antialias=True), v2.CenterCrop(224)]
FINISH = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]


class Photos(torch.utils.data.Dataset):
    def __init__(self, paths, decoder):
        self.paths, self.decoder = paths, decoder
        self.resize, self.finish = v2.Compose(RESIZE), v2.Compose(FINISH)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        if self.decoder == "torchvision":
            image = torchvision.io.decode_image(self.paths[i], torchvision.io.ImageReadMode.RGB)
        else:
            image = Image.open(self.paths[i])
            image.draft("RGB", (256, 256))  # libjpeg's reduced sizes, where they suffice
            image = image.convert("RGB")
        return self.finish(v2.functional.to_image(self.resize(image)))


def network(run):
    weights = {}
    found = [p for p in (run / "best.safetensors", run / "last.safetensors") if p.exists()]
    if not found:
        raise SystemExit(f"{run}: expected a run folder, got no best.safetensors or last.safetensors there")
    with safe_open(found[0], "pt") as file:
        for name in file.keys():
            if not name.startswith("optimizer."):
                weights[name] = file.get_tensor(name)
    classes = weights["head.weight"].shape[0]
    if "patch_embed.proj.weight" in weights:
        model = timm.create_model("vit_small_patch16_224", num_classes=classes)
    else:
        model = (torchvision.models.resnet50 if "layer1.0.conv3.weight" in weights
                 else torchvision.models.resnet18)(num_classes=classes)
        for part in ("weight", "bias"):
            weights["fc." + part] = weights.pop("head." + part)
    known = model.state_dict()
    missing = [name for name in known if name not in weights and not name.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{run}: expected the weights of the network, without {missing[:3]}")
    model.load_state_dict({name: weights[name] for name in known if name in weights}, strict=False)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def probabilities(paths, forward, size, decoder, workers):
    """(seconds, probabilities) of all files. A last batch that is not full is filled up, so that shapes stay."""
    begin, rows = time.perf_counter(), []
    for batch in torch.utils.data.DataLoader(Photos(paths, decoder), size, num_workers=workers):
        count = len(batch)
        if count < size:
            batch = torch.cat([batch, batch[:1].expand(size - count, -1, -1, -1)])
        rows.append(forward(batch)[:count])
    return time.perf_counter() - begin, torch.cat(rows)


def torch_forward(model, mode, bf16):
    if mode != "eager":
        model = torch.compile(model, dynamic=False)

    def forward(batch):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16), \
                torch._inductor.config.patch(freezing=mode == "frozen"):
            return model(batch.contiguous(memory_format=torch.channels_last)).float().softmax(1)
    return forward


def onnx_forward(model, threads):
    import onnxruntime
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(model, (torch.zeros(2, 3, 224, 224),), file.name, dynamo=False, opset_version=17,
                          input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"x": batch.numpy()})[0]).softmax(1)


def ours(args, files, precision):
    """(seconds of the whole program, probabilities)."""
    with tempfile.TemporaryDirectory() as folder:
        listed, file = pathlib.Path(folder) / "files", pathlib.Path(folder) / "p.csv"
        listed.write_text("\n".join(files))
        begin = time.perf_counter()
        subprocess.run([args.predict, args.run, "--list", listed, "--threads", str(args.threads), "--precision",
                        precision, "--predictions", file], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        with open(file, newline="") as text:
            rows = list(csv.DictReader(text))
    columns = [name for name in rows[0] if name.startswith("probabilities/")]
    return seconds, torch.tensor([[float(row[c]) for c in columns] for row in rows])


def forwards_of(args):
    """By precision and name: what computes the probabilities of a batch."""
    forwards = {}
    for precision, mode in itertools.product(args.precisions, args.modes):
        model = network(args.run)
        if mode == "onnx":
            if precision == "f32":
                forwards[precision, "ONNX Runtime"] = onnx_forward(model, args.threads)
        else:
            forwards[precision, "PyTorch " + mode] = torch_forward(model, mode, precision == "bf16")
    return forwards


def fastest(args, files, name, forward):
    """What probabilities() takes beside the files, the fastest of what args offers; compiles."""
    size, decoder, workers = args.batches[0], args.decoders[0], args.workers[0]

    def seconds(*how):
        taken = probabilities(files[:args.trial], forward, *how)[0]
        print(f"{' '.join(name)}: batches of {how[0]}, {how[1]}, {how[2]} workers: {taken:.2f} s", flush=True)
        return taken

    for one in args.batches[:None if args.trial else 1]:
        probabilities(files[:one], forward, one, decoder, workers)
    if args.trial:
        size = min(args.batches, key=lambda one: seconds(one, decoder, workers))
        decoder, workers = min(itertools.product(args.decoders, args.workers), key=lambda how: seconds(size, *how))
    print(f"{' '.join(name)}: chosen {size}, {decoder}, {workers} workers", flush=True)
    return forward, size, decoder, workers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=pathlib.Path, required=True, help="a folder with .jpg files, at any depth")
    parser.add_argument("--files", type=int, default=1000, help="the first so many of them")
    parser.add_argument("--predict", default="build/predict")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="*", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--modes", nargs="*", default=["eager", "compile", "frozen", "onnx"],
                        choices=["eager", "compile", "frozen", "onnx"])
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 32], help="sizes to be tried")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="of DataLoader, to be tried")
    parser.add_argument("--decoders", nargs="*", default=["pillow", "torchvision"], choices=["pillow", "torchvision"])
    parser.add_argument("--trial", type=int, default=128,
                        help="files that sizes, decoders and workers are tried on; 0: the first of each is taken")
    args = parser.parse_args()
    if min(args.batches) < 1 or min(args.workers) < 0:
        parser.error(f"expected --batches of at least 1 and --workers of at least 0, got {args.batches} and {args.workers}")
    torch.set_num_threads(args.threads)
    files = sorted(str(path) for path in args.images.rglob("*.jpg"))[:args.files]
    if not files:
        raise SystemExit(f"{args.images}: expected a folder with .jpg files, got none")
    print(f"{len(files)} files, {args.threads} threads, torch {torch.__version__}", flush=True)

    chosen = {}  # what probabilities() takes beside the files
    for name, forward in forwards_of(args).items():
        chosen[name] = fastest(args, files, name, forward)

    expected, taken, apart = None, {}, {}

    def note(name, seconds, rows):
        nonlocal expected
        expected = rows if expected is None else expected
        taken.setdefault(name, []).append(seconds)
        apart[name] = (rows - expected).abs().max().item()
        print(f"  {' '.join(name):24} {seconds:8.2f} s {len(files) / seconds:8.1f} images/s", flush=True)

    for round_number in range(args.rounds):
        print(f"round {round_number + 1}", flush=True)
        for precision in args.precisions:
            note((precision, "predict"), *ours(args, files, precision))
            for name, how in chosen.items():
                if name[0] == precision:
                    note(name, *probabilities(files, *how))
    print("medians")
    for (precision, name), seconds in taken.items():
        median, own = statistics.median(seconds), statistics.median(taken[precision, "predict"])
        print(f"  {precision + ' ' + name:24} {len(files) / median:8.1f} images/s   time / predict's {median / own:5.2f}"
              f"   difference {apart[precision, name]:.1e}", flush=True)


if __name__ == "__main__":
    main()
