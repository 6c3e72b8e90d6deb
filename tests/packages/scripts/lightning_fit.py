"""lightning: a module fitted on the CPU with validation, checkpoints, early stopping and a logger."""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from report import show
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
for name in ("lightning", "pytorch_lightning"):
    logging.getLogger(f"{name}.pytorch").setLevel(logging.ERROR)
    logging.getLogger(name).setLevel(logging.ERROR)
if "pytorch_lightning" in sys.argv:
    import pytorch_lightning as L
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
    from pytorch_lightning.loggers import CSVLogger
else:
    import lightning as L
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger


class Fit(L.LightningModule):
    def __init__(self, width: int = 16):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 3))
        self.losses = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val", nn.functional.cross_entropy(self(x), y), prog_bar=False)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)}


L.seed_everything(5, verbose=False)
x = torch.randn(64, 8)
y = (x[:, :3]).argmax(1)
train, val = TensorDataset(x[:48], y[:48]), TensorDataset(x[48:], y[48:])
model = Fit()
with tempfile.TemporaryDirectory() as folder:
    keep = ModelCheckpoint(folder, monitor="val", filename="best")
    trainer = L.Trainer(max_epochs=3, accelerator="cpu", devices=1, logger=CSVLogger(folder),
                        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=0.5,
                        callbacks=[keep, EarlyStopping("val", patience=5)], log_every_n_steps=1, num_sanity_val_steps=1)
    trainer.fit(model, DataLoader(train, batch_size=16, shuffle=True), DataLoader(val, batch_size=16))
    show("losses", model.losses)
    show("val", float(trainer.callback_metrics["val"]))
    show("files", sorted(p.name for p in Path(folder).iterdir()))
    again = Fit.load_from_checkpoint(keep.best_model_path)
    show("hparams", dict(again.hparams))
    show("weights", again.net[0].weight)
    show("validate", trainer.validate(again, DataLoader(val, batch_size=16), verbose=False)[0]["val"])
    resumed = L.Trainer(max_epochs=4, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
                        enable_model_summary=False, enable_checkpointing=False)
    model = Fit()
    resumed.fit(model, DataLoader(train, batch_size=16), ckpt_path=keep.best_model_path)
    show("resumed.epochs", resumed.current_epoch)
    show("resumed.losses", len(model.losses) > 0)
