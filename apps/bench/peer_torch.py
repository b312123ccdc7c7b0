#!/usr/bin/env python3
"""PyTorch's side of `build/bench steps --peer`: the same training steps, timed on request.

Speaks lines on stdin/stdout: after printing `ready {json}`, each line `run N` runs N steps and answers with their
seconds, separated by spaces. Needs only torch. By hand:

    echo "run 5" | python3 apps/bench/peer_torch.py --model resnet18 --batch 64 --threads 2
"""
import argparse
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 with the 3x3 stem for 32x32 images."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = [64, 64, 128, 256, 512]
        self.blocks = nn.Sequential(*[
            BasicBlock(widths[s] if b == 0 else widths[s + 1], widths[s + 1], 2 if s > 0 and b == 0 else 1)
            for s in range(4) for b in range(2)])
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.bn1(self.conv1(x)), inplace=True)).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).reshape(n, t, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, classes, size=224, patch=16, width=384, depth=12, heads=6):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class NaiveLikelihood(nn.Module):
    """HET-XL's Monte Carlo likelihood as one writes it: all B x S x K sampled logits at once."""

    def __init__(self, batch, samples, width, classes, rank):
        super().__init__()
        self.samples, self.rank = samples, rank
        self.phi = nn.Parameter(torch.randn(batch, width))
        self.weight = nn.Parameter(torch.randn(classes, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.d = nn.Parameter(torch.rand(batch, width))
        self.v = nn.Parameter(torch.randn(batch, width))
        self.factors = nn.Parameter(torch.randn(width, rank) / rank**0.5)

    def forward(self, labels):
        batch, width = self.phi.shape
        eps = torch.randn(batch, self.samples, self.rank)
        z = self.phi[:, None] + self.v[:, None] * (eps @ self.factors.T)
        z = z + self.d[:, None] * torch.randn(batch, self.samples, width)
        log_p = F.log_softmax(F.linear(z, self.weight, self.bias), -1)  # (B, S, K)
        c = log_p.gather(2, labels[:, None, None].expand(-1, self.samples, 1))[..., 0]
        return -(torch.logsumexp(c, 1) - math.log(self.samples)).mean()


class NaiveContrastive(nn.Module):
    """HET-XL's contrastive loss as one writes it: all B x S x B similarities at once."""

    def __init__(self, batch, samples, width, rank):
        super().__init__()
        self.samples, self.rank = samples, rank
        self.image = nn.Parameter(torch.randn(batch, width))
        self.text = nn.Parameter(torch.randn(batch, width))
        self.image_projection = nn.Linear(width, width, bias=False)
        self.text_projection = nn.Linear(width, width, bias=False)
        self.diagonal = nn.Linear(width, width)
        self.factors = nn.Linear(width, width)
        self.v = nn.Parameter(torch.randn(width, rank) / rank**0.5)
        self.t = nn.Parameter(torch.zeros(()))

    def forward(self, labels):
        phi = self.image_projection(self.image)
        batch, width = phi.shape
        eps = torch.randn(batch, self.samples, self.rank)
        z = phi[:, None] + self.factors(phi)[:, None] * (eps @ self.v.T)
        z = F.normalize(z + F.softplus(self.diagonal(phi))[:, None] * torch.randn(batch, self.samples, width), dim=-1)
        texts = F.normalize(self.text_projection(self.text), dim=-1) / (0.005 + 0.19 * torch.sigmoid(self.t))
        u = z @ texts.T  # (B, S, B)
        pairs = torch.arange(batch)
        rows = F.log_softmax(u, 2)[pairs, :, pairs]  # (B, S)
        columns = F.log_softmax(u, 0)[pairs, :, pairs]
        return -(torch.logsumexp(rows, 1) + torch.logsumexp(columns, 1) - 2 * math.log(self.samples)).mean() / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["resnet18", "vit-s", "likelihood", "contrastive"], default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=64, help="of the losses")
    parser.add_argument("--width", type=int, default=1024, help="of the likelihood")
    parser.add_argument("--rank", type=int, default=8, help="of the likelihood")
    parser.add_argument("--layout", choices=["channels_first", "channels_last"], default="channels_first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.model == "likelihood":
        model, images = NaiveLikelihood(args.batch, args.samples, args.width, args.classes, args.rank), None
    elif args.model == "contrastive":
        model, images = NaiveContrastive(args.batch, args.samples, args.width, args.rank), None
    else:
        model = ResNet18(args.classes) if args.model == "resnet18" else ViT(args.classes, args.size)
        images = torch.randn(args.batch, 3, args.size, args.size)
    if images is not None and args.layout == "channels_last":
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    labels = torch.arange(args.batch) % args.classes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(labels) if images is None else F.cross_entropy(model(images), labels)
        loss.backward()
        if images is not None:
            optimizer.step()
        return loss.item()

    print("ready", json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "layout": args.layout}),
          flush=True)
    for line in sys.stdin:
        words = line.split()
        if len(words) != 2 or words[0] != "run":
            sys.exit(f"expected 'run N', got {line!r}")
        seconds = []
        for _ in range(int(words[1])):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        print(" ".join(f"{s:.6f}" for s in seconds), flush=True)


if __name__ == "__main__":
    main()
