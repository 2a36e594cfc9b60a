"""Lightning over a gang: `num_nodes` and `devices` are those of the manifest."""

import os

import digits
import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Network(lightning.LightningModule):
    """A classifier of digits."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(digits.FEATURES, 64), nn.ReLU(), nn.Linear(64, digits.CLASSES)
        )

    def forward(self, x):
        return self.network(x)

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Checkpoint(ModelCheckpoint):
    """Lightning's own, and what the test wants to know."""

    def on_train_epoch_end(self, trainer, module):
        super().on_train_epoch_end(trainer, module)
        if trainer.is_global_zero:
            digits.power(trainer.current_epoch)


def main():
    lightning.seed_everything(1)
    data = TensorDataset(*map(torch.from_numpy, digits.load("train")))
    model = Network()
    trainer = lightning.Trainer(
        accelerator="cpu",
        strategy="ddp",
        num_nodes=int(os.environ["PET_NNODES"]),
        devices=int(os.environ["PET_NPROC_PER_NODE"]),
        max_epochs=digits.EPOCHS,
        callbacks=[
            Checkpoint(dirpath=digits.CHECKPOINTS, save_top_k=-1, save_on_train_epoch_end=True)
        ],
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(data, batch_size=16, shuffle=True), ckpt_path=digits.RESUME_FROM)
    if trainer.is_global_zero:
        with torch.no_grad():
            x = torch.from_numpy(digits.load("test")[0])
            digits.predict(model.eval()(x).softmax(1).numpy())


if __name__ == "__main__":
    main()
