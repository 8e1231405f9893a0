"""A Siamese network: the same layers see two pictures, and say whether they show one digit."""

import numpy as np

import fastconv
import fastconv.functional as F
from fastconv import data, nn, optim


class Siamese(nn.Module):
    def __init__(self, rng):
        self.embed = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 2 * 2, 16, rng=rng),
        )  # fmt: skip

    def forward(self, left, right):
        """How far apart the two pictures of each pair are, squared."""
        return ((self.embed(left) - self.embed(right)) ** 2).sum(axis=1)


def draw(rng, images, labels, count=64):
    """Pairs of pictures, and whether they show the same digit: every other pair does."""
    left, right = rng.integers(0, len(labels), (2, count))
    for i in range(0, count, 2):
        right[i] = rng.choice(np.flatnonzero(labels == labels[left[i]]))
    return images[left], images[right], labels[left] == labels[right]


def contrastive_loss(distance, same):
    """Equal digits are drawn together, others pushed apart until their distance is 1."""
    return F.where(same, distance, F.relu(1 - distance)).mean()


def main():
    rng = np.random.default_rng(0)
    images, labels = data.load_digits()
    images = data.normalize(images, 16)
    train, test = data.stratified_split(labels, test_fraction=0.2, rng=rng)
    model = Siamese(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    for step in range(301):
        left, right, same = draw(rng, images[train], labels[train])
        loss = contrastive_loss(model(left, right), same)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}")
    left, right, same = draw(rng, images[test], labels[test], 1000)
    with fastconv.no_grad():
        correct = ((model(left, right) < 0.5) == same).mean()
    print(f"correct for pictures not seen in training: {correct:.1%}")


if __name__ == "__main__":
    main()
