"""accelerate's own loop, resumed by save_state and load_state."""

from pathlib import Path

import digits
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    set_seed(1)
    accelerator = Accelerator(cpu=True)
    data = TensorDataset(*map(torch.from_numpy, digits.load("train")))
    model = nn.Sequential(nn.Linear(digits.FEATURES, 64), nn.ReLU(), nn.Linear(64, digits.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(data, batch_size=16, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    begin = 0
    if digits.RESUME_FROM:
        accelerator.load_state(digits.RESUME_FROM)
        begin = int(Path(digits.RESUME_FROM).name.removeprefix("epoch-")) + 1
    for epoch in range(begin, digits.EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(x), y))
            optimizer.step()
        accelerator.save_state(digits.CHECKPOINTS / f"epoch-{epoch}")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            digits.power(epoch)
    if accelerator.is_main_process:
        trained = accelerator.unwrap_model(model).eval()
        with torch.no_grad():
            x = torch.from_numpy(digits.load("test")[0])
            digits.predict(trained(x).softmax(1).numpy())
    accelerator.end_training()


if __name__ == "__main__":
    main()
