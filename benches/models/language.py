"""Recurrent language models, transformers that read (BERT), write (GPT) and translate."""

from __future__ import annotations

from typing import Any


def recurrent_lm(torch: Any, kind: str, words: int, width: int, hidden: int, layers: int = 1) -> Any:
    """Embedding, RNN, LSTM or GRU, scores of the next word; no dropout."""
    nn = torch.nn

    class LanguageModel(nn.Module):  # type: ignore[misc]
        """Takes numbers of words, batch first."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, width)
            self.recurrent = getattr(nn, kind)(width, hidden, layers, batch_first=True)
            self.head = nn.Linear(hidden, words)

        def forward(self, x: Any) -> Any:
            return self.head(self.recurrent(self.embedding(x))[0])

    return LanguageModel()


def block(torch: Any, width: int, heads: int) -> Any:
    """A block of a GPT: attention and a two-layer network, each on a normalised input and added."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc]
        """With `past`, a pair of tensors, the keys and values of what came before are used and extended."""

        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any, past: list[Any] | None = None) -> Any:
            b, t, c = x.shape
            q, k, v = self.qkv(self.norm1(x)).split(c, dim=2)
            q, k, v = (z.view(b, t, heads, c // heads).transpose(1, 2) for z in (q, k, v))
            if past is not None:
                if past:
                    k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
                past[:] = [k, v]
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
            x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, c))
            return x + self.narrow(functional.gelu(self.wide(self.norm2(x)), approximate="tanh"))

    return Block()


def gpt(torch: Any, layers: int, width: int, heads: int, context: int, words: int, tied: bool = False) -> Any:
    """A GPT; with `tied`, the scores use the table of the embedding."""
    nn = torch.nn

    class GPT(nn.Module):  # type: ignore[misc]
        """Takes numbers of words, batch first; `past` holds a list for each block."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(context, width)
            self.blocks = nn.ModuleList([block(torch, width, heads) for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
            self.apply(self.start)
            if tied:
                self.head.weight = self.tokens.weight

        def start(self, module: Any) -> None:
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, 0.0, 0.02)

        def forward(self, x: Any, past: list[list[Any]] | None = None) -> Any:
            before = past[0][0].shape[2] if past and past[0] else 0
            x = self.tokens(x) + self.places(torch.arange(before, before + x.shape[1]))
            for i, layer in enumerate(self.blocks):
                x = layer(x, past[i] if past is not None else None)
            return self.head(self.norm(x))

    return GPT()


def generate(torch: Any, model: Any, prompt: Any, new: int) -> Any:
    """The likeliest continuation, word by word, with a key/value cache."""
    past: list[list[Any]] = [[] for _ in model.blocks]
    words, x = [prompt], prompt
    for _ in range(new):
        x = model(x, past)[:, -1].argmax(-1, keepdim=True)
        words.append(x)
    return torch.cat(words, dim=1)


def bert(torch: Any, layers: int, width: int, heads: int, words: int, context: int = 512, dropout: float = 0.0) -> Any:
    """BERT with both heads of its pre-training: masked words (table of the embedding) and next sentence."""
    nn, functional = torch.nn, torch.nn.functional

    class Layer(nn.Module):  # type: ignore[misc]
        """Attention, then a two-layer network, each added and then normalised."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
            self.dropout = nn.Dropout(dropout)

        def forward(self, x: Any, mask: Any) -> Any:
            b, t, c = x.shape
            q, k, v = (f(x).view(b, t, heads, c // heads).transpose(1, 2) for f in (self.q, self.k, self.v))
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = self.norm1(x + self.dropout(self.out(y.transpose(1, 2).reshape(b, t, c))))
            return self.norm2(x + self.dropout(self.narrow(functional.gelu(self.wide(x)))))

    class Bert(nn.Module):  # type: ignore[misc]
        """Takes words, their segments, and which of them are no padding; gives both scores."""

        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.segments = (nn.Embedding(n, width) for n in (words, context, 2))
            self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(dropout)
            self.layers = nn.ModuleList([Layer() for _ in range(layers)])
            self.pooler, self.next_sentence = nn.Linear(width, width), nn.Linear(width, 2)
            self.transform, self.transform_norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
            self.decoder = nn.Linear(width, words)
            self.apply(self.start)
            self.decoder.weight = self.words.weight

        def start(self, module: Any) -> None:
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, 0.0, 0.02)

        def forward(self, x: Any, segments: Any, real: Any) -> Any:
            places = torch.arange(x.shape[1]).unsqueeze(0)
            h = self.dropout(self.norm(self.words(x) + self.places(places) + self.segments(segments)))
            mask = real[:, None, None, :]
            for layer in self.layers:
                h = layer(h, mask)
            pooled = torch.tanh(self.pooler(h[:, 0]))
            masked = self.decoder(self.transform_norm(functional.gelu(self.transform(h))))
            return masked, self.next_sentence(pooled)

    return Bert()


def translator(torch: Any, words: int, width: int, heads: int, layers: int, dropout: float = 0.1) -> Any:
    """`nn.Transformer` between two embeddings and a head."""
    nn = torch.nn

    class Translator(nn.Module):  # type: ignore[misc]
        """Takes source and target words, batch first; word 0 is padding."""

        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = nn.Embedding(words, width), nn.Embedding(words, width)
            self.places = nn.Embedding(256, width)
            self.transformer = nn.Transformer(width, heads, layers, layers, 4 * width, dropout, batch_first=True)
            self.head = nn.Linear(width, words)

        def forward(self, source: Any, target: Any) -> Any:
            causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
            padding = torch.zeros(source.shape).masked_fill(source == 0, float("-inf"))
            h = self.transformer(
                self.source(source) + self.places(torch.arange(source.shape[1])),
                self.target(target) + self.places(torch.arange(target.shape[1])),
                tgt_mask=causal,
                tgt_is_causal=True,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
            return self.head(h)

    return Translator()
