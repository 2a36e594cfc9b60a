"""Workers of a DataLoader, forked and spawned; logs of TensorBoard where SummaryWriter has them."""

import sys

import digits
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    """In memory, read by workers."""

    def __init__(self, split):
        self.features, self.classes = digits.load(split)

    def __len__(self):
        return len(self.classes)

    def __getitem__(self, index):
        assert torch.utils.data.get_worker_info() is not None
        return self.features[index], self.classes[index]


def main():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(digits.FEATURES, 64), nn.ReLU(), nn.Linear(64, digits.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(
        Rows("train"),
        batch_size=32,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=sys.argv[1],
    )
    for _ in range(digits.EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    with torch.no_grad():
        digits.predict(model(torch.from_numpy(digits.load("test")[0])).softmax(1).numpy())


if __name__ == "__main__":
    main()
