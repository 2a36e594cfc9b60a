"""SummaryWriter as it stands in tutorials: logs go to `runs/` of the working folder."""

import digits
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

torch.manual_seed(1)
features, classes = map(torch.from_numpy, digits.load("train"))
model = nn.Linear(digits.FEATURES, digits.CLASSES)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
with SummaryWriter() as writer:
    for step in range(50):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features), classes)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)
with torch.no_grad():
    digits.predict(model(torch.from_numpy(digits.load("test")[0])).softmax(1).numpy())
