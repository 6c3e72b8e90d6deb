"""vit-pytorch, x-transformers, segmentation-models-pytorch: forward and training steps."""

import sys

import torch
from report import show, train

which = sys.argv[1:] or ["vit", "x", "smp"]
if "vit" in which:
    from vit_pytorch import SimpleViT, ViT
    from vit_pytorch.cait import CaiT
    from vit_pytorch.cct import CCT
    from vit_pytorch.deepvit import DeepViT

    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2])
    common = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64}
    for kind, extra in [(ViT, {"dropout": 0.1, "emb_dropout": 0.1}), (SimpleViT, {}), (DeepViT, {}),
                        (CaiT, {"cls_depth": 1, "layer_dropout": 0.05})]:
        torch.manual_seed(0)
        model = kind(**common, **extra)
        show(f"{kind.__name__}", model.eval()(x))
        model.train()
        torch.manual_seed(1)
        train(kind.__name__, model, lambda: torch.nn.functional.cross_entropy(model(x), y))
    torch.manual_seed(0)
    model = CCT(img_size=32, embedding_dim=32, n_conv_layers=1, kernel_size=7, stride=2, padding=3, num_layers=2,
                num_heads=2, mlp_ratio=2.0, num_classes=5)
    show("CCT", model.eval()(x))
if "x" in which:
    from x_transformers import AutoregressiveWrapper, ContinuousTransformerWrapper, Decoder, Encoder, TransformerWrapper

    ids = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(0))
    for name, extra in [("plain", {}), ("rotary", {"rotary_pos_emb": True, "use_rmsnorm": True, "ff_glu": True}),
                        ("alibi", {"alibi_pos_bias": True}), ("flash", {"attn_flash": True, "attn_kv_heads": 2}),
                        ("qk", {"attn_qk_norm": True, "ff_swish": True, "sandwich_norm": True})]:
        torch.manual_seed(0)
        layers = Decoder(dim=32, depth=2, heads=4, **extra)
        model = TransformerWrapper(num_tokens=50, max_seq_len=32, attn_layers=layers)
        show(f"x.{name}", model.eval()(ids))
        wrapped = AutoregressiveWrapper(model)
        wrapped.train()
        train(f"x.{name}", wrapped, lambda: wrapped(ids))
        show(f"x.{name}.greedy", wrapped.eval().generate(ids[:, :3], 6, temperature=0.0).tolist())
    torch.manual_seed(0)
    layers = Encoder(dim=32, depth=1, heads=2)
    model = ContinuousTransformerWrapper(dim_in=6, dim_out=4, max_seq_len=16, attn_layers=layers)
    show("x.continuous", model(torch.randn(2, 10, 6)))
if "smp" in which:
    import segmentation_models_pytorch as smp

    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 2, (2, 1, 64, 64), generator=torch.Generator().manual_seed(1)).float()
    for name, encoder in [("Unet", "resnet18"), ("FPN", "resnet18"), ("DeepLabV3Plus", "resnet18"),
                          ("Linknet", "timm-mobilenetv3_small_100"), ("PSPNet", "resnet18"),
                          ("UnetPlusPlus", "vgg11_bn")]:
        torch.manual_seed(0)
        model = getattr(smp, name)(encoder, encoder_weights=None, classes=1)
        model.eval()
        with torch.no_grad():
            show(f"smp.{name}", model(x))
        model.train()
        loss = smp.losses.DiceLoss("binary")
        torch.manual_seed(1)
        train(f"smp.{name}", model, lambda: loss(model(x), y), steps=1)
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2), requires_grad=True)
    t = (logits.detach() > 0.3).float()
    for name in ["DiceLoss", "JaccardLoss", "FocalLoss", "LovaszLoss", "TverskyLoss"]:
        show(f"smp.{name}", getattr(smp.losses, name)("binary")(logits, t))
    tp, fp, fn, tn = smp.metrics.get_stats(logits.sigmoid(), t.long(), mode="binary", threshold=0.5)
    show("smp.iou", smp.metrics.iou_score(tp, fp, fn, tn, reduction="micro"))
