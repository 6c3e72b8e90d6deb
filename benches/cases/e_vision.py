"""Vision: classes, boxes, regions, and images that are made."""

from __future__ import annotations

from typing import Any

from models import vision

from . import Task, classifier, family


def images(name: str, build: Any, side: int, classes: int, batch: int) -> None:
    """Cases for one network that tells classes: a training step of a batch, inference of one image."""

    tiny = {"batch": 2, "side": min(side, 64)}

    @family("vision", f"{name} on {side}x{side}", train={"batch": batch}, infer={"batch": 1}, tiny=tiny)
    def task(torch: Any, batch: int, side: int = side) -> Task:
        return classifier(torch, build(torch), torch.randn(batch, 3, side, side), classes)


images("ResNet-20", vision.resnet20, 32, 10, 32)
images("VGG-16", vision.vgg16, 32, 10, 32)
images("ResNet-50", vision.resnet50, 224, 1000, 4)
images("Inception blocks", vision.inception, 224, 1000, 4)
images("MobileNetV2", vision.mobilenet, 224, 1000, 4)


@family(
    "vision",
    "YOLO-tiny",
    train={"batch": 4, "side": 224},
    infer={"batch": 1, "side": 416},
    tiny={"batch": 1, "side": 64},
)
def yolo(torch: Any, batch: int, side: int) -> Task:
    """The loss of every cell: place and size where there is an object, confidence everywhere, class."""
    functional = torch.nn.functional
    model, cells = vision.yolo_tiny(torch), side // 32
    shape = (batch, 3, cells, cells)
    boxes, holds = torch.rand(batch, 3, 4, cells, cells), (torch.rand(*shape) < 0.1).float()
    kinds = torch.randint(0, 80, shape)

    def loss(scores: Any) -> Any:
        scores = scores.view(batch, 3, 85, cells, cells)
        places = torch.cat([torch.sigmoid(scores[:, :, :2]), torch.exp(scores[:, :, 2:4].clamp(max=4.0))], 2)
        box = (functional.mse_loss(places, boxes, reduction="none").sum(2) * holds).sum()
        sure = functional.binary_cross_entropy_with_logits(scores[:, :, 4], holds, reduction="sum")
        kind = functional.cross_entropy(scores[:, :, 5:].transpose(1, 2), kinds, reduction="none")
        return (5.0 * box + sure + (kind * holds).sum()) / batch

    return Task(model, (torch.rand(batch, 3, side, side),), loss, lambda p: torch.optim.SGD(p, 1e-4, momentum=0.9))


@family(
    "vision", "U-Net on 128x128", train={"batch": 2}, infer={"batch": 1}, tiny={"batch": 1, "side": 32, "width": 4}
)
def unet(torch: Any, batch: int, side: int = 128, width: int = 32) -> Task:
    model = vision.unet(torch, width)
    y = torch.randint(0, 2, (batch, side, side))
    x = torch.randn(batch, 3, side, side)
    return Task(
        model,
        (x,),
        lambda scores: torch.nn.functional.cross_entropy(scores, y),
        lambda p: torch.optim.Adam(p, lr=1e-3),
    )


@family("vision", "DCGAN on 64x64", train={"batch": 16}, infer={"batch": 16}, tiny={"batch": 2, "width": 8})
def dcgan(torch: Any, batch: int, width: int = 64) -> Task:
    """One step of the discriminator, on true and on made images, and one of the generator."""
    generator, discriminator = vision.dcgan(torch, width)
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)
    ]
    loss_of = torch.nn.BCEWithLogitsLoss()
    real, true, false = torch.randn(batch, 3, 64, 64), torch.ones(batch), torch.zeros(batch)
    noise = torch.randn(batch, 100, 1, 1)

    def step() -> Any:
        made = generator(torch.randn(batch, 100, 1, 1))
        optimizers[1].zero_grad()
        loss = loss_of(discriminator(real), true) + loss_of(discriminator(made.detach()), false)
        loss.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        fooled = loss_of(discriminator(made), true)
        fooled.backward()
        optimizers[0].step()
        return loss + fooled

    return Task(generator, own_step=step, own_inference=lambda: generator(noise), others=[discriminator])
