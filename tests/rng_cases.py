"""The random calls whose numbers are recorded: each line runs in rustnn and in PyTorch alike.

`python tests/rng_cases.py` prints the table of `rng_recorded.py` with PyTorch.
"""

from __future__ import annotations

import hashlib
from typing import Any

# name -> expression; `torch` is the module, seeded before each.
CASES = {
    "rand": "torch.rand(1000)",
    "rand_f64": "torch.rand(1000, dtype=torch.float64)",
    "rand_f16": "torch.rand(1000).to(torch.float16) * 0 + torch.rand(1000, dtype=torch.float16)",
    "rand_bf16": "torch.rand(1000, dtype=torch.bfloat16).float()",
    "randn_few": "torch.randn(15)",
    "randn_16": "torch.randn(16)",
    "randn_odd": "torch.randn(1003)",
    "randn_f64": "torch.randn(1003, dtype=torch.float64)",
    "randn_f64_few": "torch.randn(7, dtype=torch.float64)",
    "randn_bf16": "torch.randn(1003, dtype=torch.bfloat16).float()",
    "randn_cached": "torch.cat([torch.randn(3), torch.randn(3)])",
    "normal_transposed": "torch.empty(40, 30).t().normal_(1.0, 2.0)",
    "normal_strided": "torch.empty(40, 30)[:, ::2].normal_()",
    "uniform": "torch.empty(1000).uniform_(-3, 5)",
    "uniform_f64": "torch.empty(1000, dtype=torch.float64).uniform_(-3, 5)",
    "randint": "torch.randint(10, (1000,))",
    "randint_wide": "torch.randint(-5, 2**40, (1000,))",
    "randint_2_28": "torch.randint(0, 2**28, (1000,))",
    "random": "torch.empty(1000, dtype=torch.int64).random_()",
    "random_u8": "torch.empty(1000, dtype=torch.uint8).random_()",
    "random_range": "torch.empty(1000).random_(3, 17)",
    "randperm": "torch.randperm(1000)",
    "randperm_small": "torch.randperm(5)",
    "bernoulli_p": "torch.empty(1000).bernoulli_(0.3)",
    "bernoulli": "torch.bernoulli(torch.linspace(0, 1, 1000))",
    "bernoulli_f64": "torch.bernoulli(torch.linspace(0, 1, 1000, dtype=torch.float64))",
    "exponential": "torch.empty(1000, dtype=torch.float64).exponential_(1.5)",
    "multinomial_replace": "torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 1000, replacement=True)",
    "multinomial": "torch.multinomial(torch.arange(1.0, 101.0), 50)",
    "normal_tensors": "torch.normal(torch.arange(100.0), torch.linspace(0.1, 2, 100))",
    "dropout": "torch.nn.functional.dropout(torch.ones(1000), 0.3)",
    "dropout2d": "torch.nn.functional.dropout2d(torch.ones(4, 10, 3, 3), 0.4)",
    "linear": "torch.cat([p.detach().flatten() for p in torch.nn.Linear(20, 10).parameters()])",
    "conv2d": "torch.cat([p.detach().flatten() for p in torch.nn.Conv2d(3, 8, 3).parameters()])",
    "conv_transpose": "torch.cat([p.detach().flatten() for p in torch.nn.ConvTranspose2d(3, 8, 3).parameters()])",
    "embedding": "torch.nn.Embedding(20, 10, padding_idx=0).weight.detach()",
    "lstm": "torch.cat([p.detach().flatten() for p in torch.nn.LSTM(5, 7, 2, bidirectional=True).parameters()])",
    "gru": "torch.cat([p.detach().flatten() for p in torch.nn.GRU(5, 7).parameters()])",
    "attention": "torch.cat([p.detach().flatten() for p in torch.nn.MultiheadAttention(8, 2).parameters()])",
    "encoder": "torch.cat([p.detach().flatten() for p in torch.nn.TransformerEncoderLayer(8, 2, 16).parameters()])",
    "xavier": "torch.nn.init.xavier_normal_(torch.empty(20, 30))",
    "kaiming": "torch.nn.init.kaiming_uniform_(torch.empty(20, 30))",
    "random_split": "torch.tensor([i for s in torch.utils.data.random_split(range(100), [70, 30]) for i in s.indices])",
    "loader": "torch.tensor([int(i) for b in torch.utils.data.DataLoader(range(100), batch_size=7, shuffle=True)"
    " for i in b])",
    "loader_twice": "torch.tensor([int(i) for _ in range(2) for b in torch.utils.data.DataLoader(range(50), "
    "batch_size=7, shuffle=True) for i in b])",
    "weighted": "torch.tensor(list(torch.utils.data.WeightedRandomSampler([0.1, 0.5, 0.4], 100)))",
    "seed_negative": "torch.manual_seed(-1) and torch.rand(10)",
    "seed_large": "torch.manual_seed(2**63 + 5) and torch.rand(10)",
    "generator": "torch.rand(10, generator=torch.Generator().manual_seed(7))",
    "generator_unseeded": "torch.rand(10, generator=torch.Generator())",
    "state": "[torch.randn(3), torch.get_rng_state()][1][:5000]",
}
# Where NumPy's or libm's functions stand between draw and result, so that the last bit may differ.
NEARLY = {
    "randn_f64",
    "exponential",
    "randn_few",
    "randn_f64_few",
    "randn_cached",
    "normal_strided",
    "normal_transposed",
}


def run(torch: Any, expression: str) -> Any:
    """The tensor of an expression, after seeding with 1234."""
    torch.manual_seed(1234)
    return eval(expression, {"torch": torch})


def digest(tensor: Any) -> str:
    """A short hash of dtype, shape and bits."""
    array = tensor.detach().contiguous().numpy()
    text = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(text + array.tobytes()).hexdigest()[:16]


def first_values(tensor: Any) -> list[float]:
    """Some of its numbers, to see how far apart two are."""
    return [float(v) for v in tensor.detach().flatten()[:4].tolist()]


if __name__ == "__main__":
    import torch as reference

    print(
        '"""Hashes and first numbers of `rng_cases.py`, recorded with PyTorch '
        f'{reference.__version__.split("+")[0]} on x86-64 with FMA."""\n\nRECORDED = {{'
    )
    for name, text in CASES.items():
        made = run(reference, text)
        print(f'    "{name}": ("{digest(made)}", {first_values(made)}),')
    print("}")
