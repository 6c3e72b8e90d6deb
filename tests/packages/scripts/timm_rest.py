"""timm beside its models: transforms, mixup, optimizers, losses, schedulers, EMA, feature extraction."""

import random

import numpy as np
import timm
import timm.data
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from PIL import Image
from report import show

image = Image.fromarray((np.arange(80 * 90 * 3) % 251).astype(np.uint8).reshape(80, 90, 3))
evaluate = timm.data.create_transform(64, is_training=False)
show("transform", str(evaluate))
show("evaluate", evaluate(image))
torch.manual_seed(0)
random.seed(0)
np.random.seed(0)
training = timm.data.create_transform(64, is_training=True, auto_augment="rand-m9-mstd0.5", re_prob=0.5)
show("training", training(image).shape)
config = timm.data.resolve_data_config({}, model=timm.create_model("resnet18"))
show("config", config)

for name in ["SoftTargetCrossEntropy", "LabelSmoothingCrossEntropy", "BinaryCrossEntropy", "AsymmetricLossMultiLabel",
             "JsdCrossEntropy"]:
    torch.manual_seed(0)
    logits = torch.randn(6, 5, requires_grad=True)
    soft = torch.softmax(torch.randn(6, 5), -1)
    hard = torch.randint(0, 5, (6,))
    loss = getattr(timm.loss, name)()
    target = {"SoftTargetCrossEntropy": soft, "AsymmetricLossMultiLabel": (soft > 0.2).float()}.get(name, hard)
    if name == "JsdCrossEntropy":
        target = hard[:2]
    value = loss(logits, target)
    value.backward()
    show(f"loss.{name}", value)
    show(f"loss.{name}.gradient", logits.grad)

torch.manual_seed(0)
mix = timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=5)
np.random.seed(3)
a, b = mix(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]))
show("mixup.x", a)
show("mixup.y", b)

for name in ["sgd", "momentum", "adam", "adamw", "nadam", "radam", "adamax", "adabelief", "adadelta", "adagrad",
             "adafactor", "lamb", "lars", "lion", "lookahead_adamw", "madgrad", "nadamw", "novograd", "rmsprop",
             "rmsproptf", "sgdp", "adamp", "adahessian", "adan", "adopt", "cadamw", "muon", "laprop", "mars"]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3))
    x = torch.randn(5, 6)
    try:
        optimizer = timm.optim.create_optimizer_v2(model, opt=name, lr=0.01, weight_decay=0.05)
    except (ValueError, AssertionError) as error:
        show(f"optim.{name}", f"{type(error).__name__}")
        continue
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward(create_graph=name == "adahessian")
        optimizer.step()
        losses.append(loss.item())
    show(f"optim.{name}", losses)
    show(f"optim.{name}.weight", model[0].weight)
    if name == "adahessian":
        for p in model.parameters():
            p.grad = None

model = torch.nn.Linear(3, 3)
for name in ["cosine", "tanh", "step", "multistep", "plateau", "poly"]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler, epochs = timm.scheduler.create_scheduler_v2(
        optimizer, sched=name, num_epochs=8, warmup_epochs=2, warmup_lr=1e-3, decay_epochs=3, decay_milestones=(3, 5))
    rates = []
    for epoch in range(8):
        scheduler.step(epoch, 1.0 / (epoch + 1))
        rates.append(optimizer.param_groups[0]["lr"])
    show(f"scheduler.{name}", rates)

torch.manual_seed(0)
model = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3))
show("features", [f for f in model(torch.randn(2, 3, 64, 64))])
model = timm.create_model("resnet18", num_classes=4)
ema = timm.utils.ModelEmaV2(model, decay=0.9)
ema.update(model)
show("ema", next(iter(ema.module.parameters())))
show("accuracy", timm.utils.accuracy(torch.eye(4) + torch.arange(4) * 0.1, torch.tensor([0, 1, 2, 0]), topk=(1, 2)))
show("models", len(timm.list_models("resnet*")) > 10)
model.reset_classifier(7)
show("classifier", model(torch.randn(2, 3, 64, 64)).shape)
