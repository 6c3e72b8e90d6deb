"""A character LSTM on Tiny Shakespeare: back-propagation through time, then it writes.

python examples/char_lstm.py --data DIR --epochs 5
"""

from __future__ import annotations

import math
from pathlib import Path

import common
import rustnn as torch
import rustnn.nn.functional as F
from rustnn import nn, optim


class CharLSTM(nn.Module):
    """Embedding, LSTM, and a linear layer to the next character's scores."""

    def __init__(self, characters: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, hidden // 2)
        self.lstm = nn.LSTM(hidden // 2, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, characters)

    def forward(self, tokens: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None):
        out, state = self.lstm(self.embedding(tokens), state)
        return self.head(out), state


def batches(tokens: torch.Tensor, rows: int, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The text cut into `rows` parallel streams, in windows of `length` characters."""
    columns = (len(tokens) - 1) // rows
    x = tokens[: rows * columns].view(rows, columns)
    y = tokens[1 : rows * columns + 1].view(rows, columns)
    return [(x[:, at : at + length], y[:, at : at + length]) for at in range(0, columns - length + 1, length)]


def evaluate(model: CharLSTM, data: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Nats a character, the state carried on from window to window."""
    model.eval()
    state, total = None, 0.0
    with torch.no_grad():
        for x, y in data:
            scores, state = model(x, state)
            total += F.cross_entropy(scores.flatten(0, 1), y.flatten()).item()
    model.train()
    return total / len(data)


def sample(model: CharLSTM, alphabet: list[str], length: int, temperature: float = 0.8) -> str:
    """Text written by the model, one character after the other."""
    model.eval()
    token, state, text = torch.zeros(1, 1, dtype=torch.long), None, []
    with torch.no_grad():
        for _ in range(length):
            scores, state = model(token, state)
            token = torch.multinomial(F.softmax(scores[0, -1] / temperature, dim=-1), 1).view(1, 1)
            text.append(alphabet[token.item()])
    model.train()
    return "".join(text)


def main() -> None:
    parser = common.arguments(__doc__, epochs=5, batch_size=64, lr=2e-3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--length", type=int, default=64, help="characters between two updates")
    parser.add_argument("--characters", type=int, default=0, help="use only this many characters of the text")
    args = parser.parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)
    text = common.shakespeare(args.data)
    text = text[: args.characters] if args.characters else text
    alphabet = sorted(set(text))
    index = {c: i for i, c in enumerate(alphabet)}
    tokens = torch.tensor([index[c] for c in text])
    cut = int(0.9 * len(tokens))
    training = batches(tokens[:cut], args.batch_size, args.length)
    validation = batches(tokens[cut:], min(args.batch_size, 16), args.length)

    model = CharLSTM(len(alphabet), args.hidden, args.layers)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    first, history = common.start(args, {"training": [], "validation": []}, model, optimizer)
    for epoch in range(first, args.epochs):
        state, total = None, 0.0
        for x, y in common.progress(training, f"epoch {epoch + 1}/{args.epochs}"):
            scores, state = model(x, state)
            # The text goes on, its gradients end here.
            state = tuple(s.detach() for s in state)
            loss = F.cross_entropy(scores.flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        history["training"].append(total / len(training))
        history["validation"].append(evaluate(model, validation))
        print(
            f"epoch {epoch + 1}  training {history['training'][-1]:.4f}  validation "
            f"{history['validation'][-1]:.4f} nats a character, perplexity "
            f"{math.exp(history['validation'][-1]):.2f}",
            flush=True,
        )
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, model, optimizer)
    common.save_weights(model, out / "model.safetensors")
    common.curves(history, out / "char_lstm.png", ["training", "validation"], [])
    print(sample(model, alphabet, 400))
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'char_lstm.png'}")


if __name__ == "__main__":
    main()
