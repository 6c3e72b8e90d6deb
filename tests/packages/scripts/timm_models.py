"""timm: create_model with random weights, forward, training step; data, optim, loss, scheduler."""

import sys

import timm
import torch
from report import show, train

torch.set_num_threads(2)
for name in sys.argv[1:] or [
    "resnet18",
    "resnet50",
    "mobilenetv3_small_100",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "efficientnet_b0",
]:
    torch.manual_seed(0)
    extra = {"img_size": 64} if name.startswith("vit") else {}
    model = timm.create_model(name, pretrained=False, num_classes=10, **extra)
    show(f"{name}.parameters", sum(p.numel() for p in model.parameters()))
    show(f"{name}.first", next(iter(model.parameters())))
    x = torch.randn(3, 3, 64, 64)
    y = torch.tensor([1, 2, 0])
    model.eval()
    with torch.no_grad():
        show(f"{name}.eval", model(x))
        show(f"{name}.features", model.forward_features(x))
    model.train()
    train(name, model, lambda: torch.nn.functional.cross_entropy(model(x), y))
