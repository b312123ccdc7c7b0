#!/usr/bin/env python3
"""PyTorch's side of `build/bench --peer`: the same training steps and losses, timed on request.

Speaks the lines of peer_lines.py; on a GPU, where steps overlap with the host, each step's seconds are the mean of the
N. Needs only torch. By hand:

    echo "run 5" | python3 apps/bench/peer_torch.py --model resnet18 --batch 64 --threads 2
    echo "run 50" | python3 apps/bench/peer_torch.py --model vit-s --batch 256 --size 224 --device cuda \\
        --precision bf16 --mode max-autotune
"""
import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

from peer_lines import serve


def shortcut(inputs, outputs, stride):
    """Past a residual block: x itself, or projected where its shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        width = outputs // 4
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """ResNet-18 with the 3x3 stem for 32x32 images, or ResNet-50 (v1.5) with ImageNet's."""

    def __init__(self, classes, deep):
        super().__init__()
        block, expansion, depths = (Bottleneck, 4, [3, 4, 6, 3]) if deep else (BasicBlock, 1, [2, 2, 2, 2])
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False) if deep else nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1) if deep else nn.Identity()
        blocks, inputs = [], 64
        for stage, depth in enumerate(depths):
            outputs = 64 * 2**stage * expansion
            for b in range(depth):
                blocks.append(block(inputs, outputs, 2 if stage > 0 and b == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(self.blocks(self.pool(F.relu(self.bn1(self.conv1(x)), inplace=True))).mean((2, 3)))


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
        eps = torch.randn(batch, self.samples, self.rank, device=self.phi.device)
        z = self.phi[:, None] + self.v[:, None] * (eps @ self.factors.T)
        z = z + self.d[:, None] * torch.randn(batch, self.samples, width, device=self.phi.device)
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


MODELS = {
    "resnet18": lambda a: ResNet(a.classes, deep=False),
    "resnet50": lambda a: ResNet(a.classes, deep=True),
    "vit-s": lambda a: ViT(a.classes, a.size),
    "vit-b": lambda a: ViT(a.classes, a.size, width=768, heads=12),
    "likelihood": lambda a: NaiveLikelihood(a.batch, a.samples, a.width, a.classes, a.rank),
    "contrastive": lambda a: NaiveContrastive(a.batch, a.samples, a.width, a.rank),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=64, help="of the losses")
    parser.add_argument("--width", type=int, default=1024, help="of the likelihood")
    parser.add_argument("--rank", type=int, default=8, help="of the likelihood")
    parser.add_argument("--layout", choices=["channels_first", "channels_last"], default="channels_first")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32", help="bf16: by autocast")
    parser.add_argument("--mode", choices=["eager", "compile", "max-autotune"], default="eager",
                        help="of torch.compile, or none")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    if args.precision != "f32":
        torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = args.precision != "f32"
    model = MODELS[args.model](args).to(args.device)
    images = None
    if args.model not in ("likelihood", "contrastive"):
        images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    if images is not None and args.layout == "channels_last":
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    labels = torch.arange(args.batch, device=args.device) % args.classes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    def loss_of():
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
            return model(labels) if images is None else F.cross_entropy(model(images), labels)

    if args.mode != "eager":
        loss_of = torch.compile(loss_of, mode=None if args.mode == "compile" else args.mode)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        if images is not None:
            optimizer.step()
        return loss

    def timed(steps):
        """Seconds of each step."""
        if args.device == "cuda":
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(steps):
                step()
            torch.cuda.synchronize()
            return [(time.perf_counter() - begin) / steps] * steps
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            step().item()
            seconds.append(time.perf_counter() - begin)
        return seconds

    serve({"torch": torch.__version__, "threads": torch.get_num_threads(), "layout": args.layout, "device": args.device,
           "precision": args.precision, "mode": args.mode, "mkldnn": torch.backends.mkldnn.is_available()}, timed)


if __name__ == "__main__":
    main()
