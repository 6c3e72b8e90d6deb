"""A small GPT on Tiny Shakespeare's characters: pre-training and generation.

python examples/gpt.py --data DIR --epochs 10 --steps 200
"""

from __future__ import annotations

import math
from pathlib import Path

import common
import rustnn as torch
import rustnn.nn.functional as F
from rustnn import nn, optim


class Block(nn.Module):
    """Attention and a two-layer network, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, dim=2)
        q, k, v = (p.view(rows, length, self.heads, width // self.heads).transpose(1, 2) for p in parts)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + self.drop(self.proj(mixed.transpose(1, 2).reshape(rows, length, width)))
        return x + self.drop(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """Token and position embeddings, blocks, and scores by the token embedding's own weights."""

    def __init__(
        self, vocabulary: int, length: int, width: int, heads: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.length = length
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.apply(self.initialise)

    @staticmethod
    def initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)

    def generate(
        self, tokens: torch.Tensor, count: int, temperature: float = 0.8, top_k: int = 20
    ) -> torch.Tensor:
        """`count` tokens more, drawn from the `top_k` likeliest each time."""
        self.eval()
        with torch.no_grad():
            for _ in range(count):
                scores = self(tokens[:, -self.length :])[:, -1] / temperature
                least = scores.topk(min(top_k, scores.shape[-1])).values[:, -1:]
                scores = scores.masked_fill(scores < least, float("-inf"))
                tokens = torch.cat([tokens, torch.multinomial(F.softmax(scores, dim=-1), 1)], dim=1)
        self.train()
        return tokens


def window(tokens: torch.Tensor, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pieces of the text, and the same pieces one character on."""
    starts = torch.randint(len(tokens) - length - 1, (rows,)).tolist()
    x = torch.stack([tokens[s : s + length] for s in starts])
    y = torch.stack([tokens[s + 1 : s + length + 1] for s in starts])
    return x, y


def evaluate(model: GPT, tokens: torch.Tensor, rows: int, count: int = 20) -> float:
    """Nats a character on fixed pieces: the training's random numbers are left as they were."""
    model.eval()
    total = 0.0
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        for _ in range(count):
            x, y = window(tokens, rows, model.length)
            total += F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    model.train()
    return total / count


def main() -> None:
    parser = common.arguments(__doc__, epochs=10, batch_size=16, lr=1e-3)
    parser.add_argument("--steps", type=int, default=200, help="steps in an epoch")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.0)
    args = parser.parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)
    text = common.shakespeare(args.data)
    alphabet = sorted(set(text))
    index = {c: i for i, c in enumerate(alphabet)}
    tokens = torch.tensor([index[c] for c in text])
    cut = int(0.9 * len(tokens))
    training, validation = tokens[:cut], tokens[cut:]

    model = GPT(len(alphabet), args.length, args.width, args.heads, args.depth, args.dropout)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    optimizer = optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.1)
    warmup, total_steps = 100, args.epochs * args.steps
    scheduler = optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup, 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
        ),
    )
    first, history = common.start(args, {"training": [], "validation": []}, model, optimizer, scheduler)
    for epoch in range(first, args.epochs):
        total = 0.0
        for _ in common.progress(range(args.steps), f"epoch {epoch + 1}/{args.epochs}"):
            x, y = window(training, args.batch_size, args.length)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            total += loss.item()
        history["training"].append(total / args.steps)
        history["validation"].append(evaluate(model, validation, args.batch_size))
        print(
            f"epoch {epoch + 1}  training {history['training'][-1]:.4f}  validation "
            f"{history['validation'][-1]:.4f} nats a character",
            flush=True,
        )
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, model, optimizer, scheduler)
    common.save_weights(model, out / "model.safetensors")
    common.curves(history, out / "gpt.png", ["training", "validation"], [])
    written = model.generate(torch.zeros(1, 1, dtype=torch.long), 300)
    print("".join(alphabet[t] for t in written[0].tolist()))
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'gpt.png'}")


if __name__ == "__main__":
    main()
