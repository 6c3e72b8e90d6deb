"""Language: recurrent models, BERT, GPT, translation."""

from __future__ import annotations

from typing import Any

from models import language

from . import Task, family


def next_word(torch: Any, model: Any, words: int, batch: int, context: int, lr: float = 1e-3) -> Task:
    """A model that guesses the next word at each place; AdamW."""
    text = torch.randint(0, words, (batch, context + 1))
    x, y = text[:, :-1], text[:, 1:].flatten()

    def loss(scores: Any) -> Any:
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), y)

    return Task(model, (x,), loss, lambda p: torch.optim.AdamW(p, lr=lr))


def recurrent(kind: str) -> None:
    """Cases for one kind of recurrent layer."""
    settings = {"batch": 20, "steps": 35}

    @family(
        "language",
        f"{kind} language model 2x200, 10000 words",
        train=settings,
        infer=settings | {"batch": 1},
        tiny={"batch": 2, "steps": 5, "words": 50, "width": 16},
    )
    def model(torch: Any, batch: int, steps: int, words: int = 10000, width: int = 200) -> Task:
        return next_word(torch, language.recurrent_lm(torch, kind, words, width, width, 2), words, batch, steps)


for kind in ("RNN", "LSTM", "GRU"):
    recurrent(kind)


@family("language", "LSTM 128-256, characters", train={"batch": 20}, infer={"batch": 20}, tiny={"batch": 2, "steps": 5})
def lstm(torch: Any, batch: int, steps: int = 35) -> Task:
    return next_word(torch, language.recurrent_lm(torch, "LSTM", 65, 128, 256), 65, batch, steps)


@family(
    "language", "small GPT, 4x128, context 128", train={"batch": 8}, infer={"batch": 8}, tiny={"batch": 1, "context": 8}
)
def gpt(torch: Any, batch: int, context: int = 128) -> Task:
    return next_word(torch, language.gpt(torch, 4, 128, 4, context, 65), 65, batch, context)


@family(
    "language",
    "nanoGPT, 6x384, context 256",
    train={"batch": 8},
    infer={"batch": 1},
    tiny={"batch": 1, "context": 8, "layers": 2, "width": 48},
)
def nano_gpt(torch: Any, batch: int, context: int = 256, layers: int = 6, width: int = 384) -> Task:
    return next_word(torch, language.gpt(torch, layers, width, 6, context, 65), 65, batch, context)


@family(
    "language",
    "GPT-2 small, 12x768, 50257 words",
    train={"batch": 1, "context": 128},
    infer={"batch": 1, "context": 128},
    tiny={"batch": 1, "context": 8, "layers": 2, "width": 48, "words": 100},
)
def gpt2(torch: Any, batch: int, context: int, layers: int = 12, width: int = 768, words: int = 50257) -> Task:
    model = language.gpt(torch, layers, width, 12, 1024, words, tied=True)
    return next_word(torch, model, words, batch, context, lr=3e-4)


@family(
    "language",
    "GPT-2 small, key/value cache",
    infer={"prompt": 32, "new": 16},
    tiny={"prompt": 3, "new": 3, "layers": 2, "width": 48, "words": 100},
)
def generation(torch: Any, prompt: int, new: int, layers: int = 12, width: int = 768, words: int = 50257) -> Task:
    model = language.gpt(torch, layers, width, 12, 1024, words, tied=True)
    start = torch.randint(0, words, (1, prompt))
    return Task(model, own_inference=lambda: language.generate(torch, model, start, new))


def bert_task(torch: Any, model: Any, words: int, batch: int, length: int) -> Task:
    """Masked words (every seventh, the others ignored) and next sentence; a tenth of the text is padding."""
    functional = torch.nn.functional
    x, real = torch.randint(0, words, (batch, length)), torch.ones(batch, length, dtype=torch.bool)
    real[:, length - length // 10 :] = False
    segments = torch.zeros(batch, length, dtype=torch.int64)
    segments[:, length // 2 :] = 1
    masked = torch.full((batch, length), -100)
    masked[:, ::7] = x[:, ::7]
    follows = torch.randint(0, 2, (batch,))

    def loss(scores: Any) -> Any:
        words_loss = functional.cross_entropy(scores[0].flatten(0, 1), masked.flatten())
        return words_loss + functional.cross_entropy(scores[1], follows)

    return Task(model, (x, segments, real), loss, lambda p: torch.optim.AdamW(p, lr=1e-4))


TINY_BERT = {"batch": 2, "length": 16, "layers": 2, "width": 32, "words": 100}


@family(
    "language",
    "BERT pre-training, 4x256, 30522 words",
    train={"batch": 8, "length": 128},
    infer={"batch": 8, "length": 128},
    tiny=TINY_BERT,
)
def bert_small(torch: Any, batch: int, length: int, layers: int = 4, width: int = 256, words: int = 30522) -> Task:
    return bert_task(torch, language.bert(torch, layers, width, 4, words, dropout=0.1), words, batch, length)


@family("language", "BERT-base, 12x768, 30522 words", infer={"batch": 1, "length": 128}, tiny=TINY_BERT | {"width": 48})
def bert_base(torch: Any, batch: int, length: int, layers: int = 12, width: int = 768, words: int = 30522) -> Task:
    return bert_task(torch, language.bert(torch, layers, width, 12, words, dropout=0.1), words, batch, length)


@family(
    "language",
    "nn.Transformer translation, 3+3x256, 8000 words",
    train={"batch": 16, "length": 32},
    infer={"batch": 1, "length": 32},
    tiny={"batch": 2, "length": 6, "words": 50, "width": 32},
)
def translation(torch: Any, batch: int, length: int, words: int = 8000, width: int = 256) -> Task:
    model = language.translator(torch, words, width, 8, 3)
    source, target = (torch.randint(1, words, (batch, length + extra)) for extra in (0, 1))
    source[:, length - length // 8 :] = 0

    def loss(scores: Any) -> Any:
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), target[:, 1:].flatten(), label_smoothing=0.1)

    return Task(model, (source, target[:, :-1]), loss, lambda p: torch.optim.Adam(p, lr=1e-4, betas=(0.9, 0.98)))
