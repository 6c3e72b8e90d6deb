"""torchinfo, accelerate, lion-pytorch, huggingface_hub's mixin, safetensors: a small network trained and kept."""

import tempfile
from pathlib import Path

import torch
import torchinfo
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub import PyTorchModelHubMixin
from lion_pytorch import Lion
from report import show
from safetensors.torch import load, load_file, load_model, save, save_file, save_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module, PyTorchModelHubMixin):
    def __init__(self, width=16, depth=2):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.rest = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = torch.relu(layer(x))
        return self.last(self.norm(x))


set_seed(3)
model = Net()
summary = torchinfo.summary(model, input_size=(4, 8), verbose=0)
show("torchinfo", str(summary))
show("torchinfo.total", summary.total_params)

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
data = DataLoader(TensorDataset(torch.randn(32, 8), torch.randint(0, 3, (32,))), batch_size=8, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
model, optimizer, data, scheduler = accelerator.prepare(model, optimizer, data, scheduler)
losses = []
for _ in range(2):
    for x, y in data:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        losses.append(loss.item())
show("accelerate.losses", losses)
show("accelerate.device", str(accelerator.device))
show("accelerate.gathered", accelerator.gather(torch.arange(3)))
with tempfile.TemporaryDirectory() as folder:
    accelerator.save_state(folder)
    before = model.last.weight.detach().clone()
    with torch.no_grad():
        model.last.weight.zero_()
    accelerator.load_state(folder)
    show("accelerate.restored", bool(torch.equal(before, model.last.weight)))

model = accelerator.unwrap_model(model)
optimizer = Lion(model.parameters(), lr=1e-3, weight_decay=1e-2)
losses = []
x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
for _ in range(4):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
show("lion.losses", losses)

with tempfile.TemporaryDirectory() as folder:
    model.eval()
    model.save_pretrained(folder)
    show("hub.files", sorted(p.name for p in Path(folder).iterdir() if p.suffix != ".md"))
    again = Net.from_pretrained(folder)
    again.eval()
    show("hub.same", bool(torch.equal(model(x), again(x))))
    path = str(Path(folder) / "weights.safetensors")
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(3, dtype=torch.bfloat16), "c": torch.tensor(7),
               "d": torch.tensor([True, False]), "e": torch.zeros(0, 4), "f": torch.ones(2, dtype=torch.float16)}
    save_file(tensors, path, metadata={"format": "pt"})
    loaded = load_file(path)
    for key in sorted(loaded):
        show(f"safetensors.{key}", loaded[key].float())
        show(f"safetensors.{key}.dtype", str(loaded[key].dtype))
    show("safetensors.bytes", load(save(tensors))["a"])
    save_model(model, path)
    fresh = Net()
    show("safetensors.model", load_model(fresh, path)[0] == set() or load_model(fresh, path))
    show("safetensors.same", bool(torch.equal(fresh.eval()(x), model(x))))
