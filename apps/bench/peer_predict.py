#!/usr/bin/env python3
"""Probabilities of a folder of JPEG files, end to end: build/predict beside PyTorch (eager and compiled, f32 and bf16)
and ONNX Runtime with the same weights, threads and files, in turn.

    python3 apps/bench/peer_predict.py --run runs/first --images photos --threads 2 --rounds 3

The run is of build/train: a ResNet-18 or -50 (torchvision has the same names) or a ViT-S/16 (timm) with head det, whose
eval_pipeline resizes to 256, crops to 224 and normalizes by ImageNet's mean and deviation. Times are from the first
file read to the last probability; of build/predict that of the whole program, start and all. Needs torchvision, timm,
safetensors, onnx, onnxscript and onnxruntime. Prints medians, and the largest difference of a probability from
build/predict's in f32.
"""
import argparse
import csv
import pathlib
import statistics
import subprocess
import tempfile
import time

import timm
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from torchvision.transforms import v2

BATCH = 32


class Photos(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths
        self.transform = v2.Compose([
            v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i])
        image.draft("RGB", (256, 256))  # libjpeg's reduced sizes: what makes Pillow's decoding fastest
        return self.transform(image.convert("RGB"))


def network(run):
    weights = {}
    with safe_open(next(p for p in (run / "best.safetensors", run / "last.safetensors") if p.exists()), "pt") as file:
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
    return model.eval()


def probabilities(paths, workers, forward):
    """(seconds, probabilities) of all files."""
    begin = time.perf_counter()
    loader = torch.utils.data.DataLoader(Photos(paths), BATCH, num_workers=workers)
    rows = torch.cat([forward(batch) for batch in loader])
    return time.perf_counter() - begin, rows


def torch_forward(model, bf16):
    def forward(batch):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(batch.contiguous(memory_format=torch.channels_last)).float().softmax(1)
    return forward


def onnx_forward(model, threads):
    import onnxruntime
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(model, (torch.zeros(BATCH, 3, 224, 224),), file.name, dynamo=False, opset_version=17,
                          input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"x": batch.numpy()})[0]).softmax(1)


def ours(args, precision):
    """(seconds of the whole program, paths, probabilities)."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "p.csv"
        begin = time.perf_counter()
        subprocess.run([args.predict, args.run, args.images, "--threads", str(args.threads), "--precision", precision,
                        "--predictions", file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        with open(file, newline="") as text:
            rows = list(csv.DictReader(text))
    columns = [name for name in rows[0] if name.startswith("probabilities/")]
    return seconds, [row["ids"] for row in rows], torch.tensor([[float(row[c]) for c in columns] for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--predict", default="build/predict")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="of DataLoader")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    _, paths, expected = ours(args, "f32")
    model = network(args.run).to(memory_format=torch.channels_last)
    forwards = {"ONNX Runtime f32": onnx_forward(model, args.threads)}
    for bf16 in (False, True):
        precision = "bf16" if bf16 else "f32"
        forwards["PyTorch eager " + precision] = torch_forward(model, bf16)
        forwards["PyTorch compile " + precision] = torch_forward(torch.compile(model, dynamic=True), bf16)
    seconds, differences = {}, {}

    def note(name, taken, rows):
        seconds.setdefault(name, []).append(taken)
        differences[name] = (rows - expected).abs().max().item()

    for forward in forwards.values():  # compiles
        probabilities(paths[:BATCH + 1], 0, forward)
    for _ in range(args.rounds):
        for precision in ("f32", "bf16"):
            taken, _, rows = ours(args, precision)
            note("build/predict " + precision, taken, rows)
        for name, forward in forwards.items():
            for workers in args.workers:
                note(f"{name}, {workers} workers", *probabilities(paths, workers, forward))
    print(f"{len(paths)} files, {args.threads} threads, torch {torch.__version__}")
    for name, taken in seconds.items():
        print(f"{name:32} {statistics.median(taken):8.2f} s {len(paths) / statistics.median(taken):8.1f} images/s"
              f"   difference {differences[name]:.1e}")


if __name__ == "__main__":
    main()
