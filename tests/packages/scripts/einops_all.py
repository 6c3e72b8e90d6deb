"""einops: functions, layers, and the checks it makes."""

import einops
import torch
from einops import asnumpy, einsum, pack, parse_shape, rearrange, reduce, repeat, unpack
from einops.layers.torch import EinMix, Rearrange, Reduce
from report import show, train

torch.manual_seed(0)
x = torch.randn(2, 3, 8, 8, requires_grad=True)
show("rearrange", rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))
show("reduce.mean", reduce(x, "b c (h 2) (w 2) -> b c h w", "mean"))
for kind in ("sum", "max", "min", "prod"):
    show(f"reduce.{kind}", reduce(x, "b c h w -> b c", kind))
show("repeat", repeat(x, "b c h w -> b (2 c) h (w k)", k=3))
show("einsum", einsum(x, torch.randn(3, 5), "b c h w, c d -> b d h w"))
show("parse_shape", parse_shape(x, "b c _ w"))
packed, shapes = pack([torch.randn(2, 3), torch.randn(2, 4, 5)], "b *")
show("pack", packed)
show("unpack", unpack(packed, shapes, "b *")[1])
show("list", rearrange([torch.ones(2, 3), torch.zeros(2, 3)], "n a b -> a n b"))
show("asnumpy", float(asnumpy(torch.ones(3)).sum()))
show("any.all", reduce(x > 0, "b c h w -> b", "any"))
loss = reduce(rearrange(x, "b c h w -> b (c h w)") ** 2, "b d ->", "sum")
loss.backward()
show("gradient", x.grad)
torch.manual_seed(1)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 6, 3, padding=1),
    Reduce("b c (h 2) (w 2) -> b c h w", "max"),
    Rearrange("b c h w -> b (c h w)"),
    EinMix("b d -> b e", weight_shape="d e", bias_shape="e", d=96, e=4),
)
show("repr", repr(model))
show("layers", model(x))
train("layers", model, lambda: model(x.detach()).pow(2).mean())
try:
    rearrange(x, "b c h -> b c h")
except einops.EinopsError as error:
    show("error", type(error).__name__)
