"""Programs in plain PyTorch style: a small GPT trained on text, a VAE, a policy gradient."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from report import show, show_gradients
from torch.distributions import Categorical, Normal, kl_divergence

TEXT = "to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer " * 4


class CausalSelfAttention(nn.Module):
    def __init__(self, width, heads, block):
        super().__init__()
        assert width % heads == 0
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.heads, self.width = heads, width
        self.flash = hasattr(F, "scaled_dot_product_attention")
        self.register_buffer("bias", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

    def forward(self, x, flash=True):
        B, T, C = x.size()
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in self.c_attn(x).split(C, dim=2))
        if flash and self.flash:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
            y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, width, heads, block):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = CausalSelfAttention(width, heads, block)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, vocab, block=32, width=32, heads=4, depth=2):
        super().__init__()
        self.block = block
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(block, width)
        self.h = nn.ModuleList([Block(width, heads, block) for _ in range(depth)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        self.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if getattr(module, "bias", None) is not None:
                torch.nn.init.zeros_(module.bias)

    def forward(self, idx, targets=None):
        x = self.wte(idx) + self.wpe(torch.arange(idx.size(1), dtype=torch.long, device=idx.device))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        if targets is None:
            return logits[:, [-1], :], None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

    def configure_optimizers(self):
        decay = [p for p in self.parameters() if p.dim() >= 2]
        rest = [p for p in self.parameters() if p.dim() < 2]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))

    @torch.no_grad()
    def generate(self, idx, count, temperature=1.0, top_k=None):
        for _ in range(count):
            logits, _ = self(idx[:, -self.block:])
            logits = logits[:, -1, :] / temperature
            if top_k is not None:
                v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < v[:, [-1]]] = -float("Inf")
            idx = torch.cat((idx, torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)), dim=1)
        return idx


torch.manual_seed(1337)
chars = sorted(set(TEXT))
data = torch.tensor([chars.index(c) for c in TEXT], dtype=torch.int64)
model = GPT(len(chars))
optimizer = model.configure_optimizers()
losses = []
for it in range(30):
    for group in optimizer.param_groups:
        group["lr"] = 3e-3 * min(1.0, (it + 1) / 10)
    ix = torch.randint(len(data) - 32, (8,))
    x = torch.stack([data[i:i + 32] for i in ix])
    y = torch.stack([data[i + 1:i + 33] for i in ix])
    with torch.amp.autocast("cpu", enabled=False):
        _, loss = model(x, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if it == 0:
        show_gradients("gpt.gradients", model)
    optimizer.step()
    losses.append(loss.item())
show("gpt.losses", losses)
show("gpt.norm", norm)
show("gpt.text", "".join(chars[i] for i in model.generate(data[:4][None], 40, temperature=0.8, top_k=5)[0].tolist()))


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(12, 16), nn.Softplus(), nn.Linear(16, 8))
        self.decode = nn.Sequential(nn.Linear(4, 16), nn.Softplus(), nn.Linear(16, 12))

    def loss(self, x):
        mean, spread = self.encode(x).chunk(2, -1)
        posterior = Normal(mean, F.softplus(spread) + 1e-4)
        z = posterior.rsample()
        likelihood = -F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="none").sum(-1)
        return (kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1) - likelihood).mean()


torch.manual_seed(0)
x = (torch.rand(32, 12) > 0.5).float()
vae = VAE()
optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
losses = []
for _ in range(20):
    optimizer.zero_grad()
    loss = vae.loss(x)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
show("vae.losses", losses)

torch.manual_seed(0)
policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = torch.optim.RMSprop(policy.parameters(), lr=1e-2)
returns = []
for _ in range(20):
    states = torch.randn(16, 4)
    choice = Categorical(logits=policy(states))
    actions = choice.sample()
    reward = (actions == states[:, :3].argmax(1)).float()
    loss = -(choice.log_prob(actions) * (reward - reward.mean())).mean() - 0.01 * choice.entropy().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    returns.append(reward.mean().item())
show("policy.returns", returns)
show("policy.weights", policy[0].weight)
