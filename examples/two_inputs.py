"""A network of two inputs is shown a digit and told a number: is the digit larger?"""

import numpy as np

import fastconv
import fastconv.functional as F
from fastconv import data, nn, optim


class Larger(nn.Module):
    def __init__(self, rng):
        self.see = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 4 * 4, 32, rng=rng), nn.ReLU(),
        )  # fmt: skip
        self.compare = nn.Sequential(
            nn.Linear(32 + 10, 32, rng=rng), nn.ReLU(), nn.Linear(32, 1, rng=rng)
        )

    def forward(self, images, numbers):
        return self.compare(F.concatenate([self.see(images), numbers], axis=1))


def draw(rng, images, labels, count=128):
    """Pictures, numbers as rows of the identity, and whether the digit shown is larger (N, 1)."""
    chosen, numbers = rng.integers(0, len(labels), count), rng.integers(0, 10, count)
    larger = (labels[chosen] > numbers)[:, None]
    return images[chosen], np.eye(10, dtype=np.float32)[numbers], larger.astype(np.float32)


def main():
    rng = np.random.default_rng(0)
    images, labels = data.load_digits()
    images = data.normalize(images, 16)
    train, test = data.stratified_split(labels, test_fraction=0.2, rng=rng)
    model = Larger(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    for step in range(401):
        pictures, numbers, larger = draw(rng, images[train], labels[train])
        loss = F.binary_cross_entropy_with_logits(model(pictures, numbers), larger)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}")
    pictures, numbers, larger = draw(rng, images[test], labels[test], 1000)
    with fastconv.no_grad():
        correct = ((model(pictures, numbers) > 0) == larger).mean()
    print(f"correct for pictures not seen in training: {correct:.1%}")


if __name__ == "__main__":
    main()
