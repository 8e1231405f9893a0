"""A U-Net finds discs in noisy pictures, and leaves out the bars that are just as bright."""

import numpy as np

import fastconv.functional as F
from fastconv import nn, optim


def block(channels, filters, rng):
    conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False, rng=rng)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, rng):
        self.fine = block(1, 8, rng)
        self.coarse = block(8, 16, rng)
        self.bottom = block(16, 32, rng)
        self.up_coarse = nn.ConvTranspose2d(32, 16, 2, stride=2, rng=rng)
        self.join_coarse = block(16 + 16, 16, rng)
        self.up_fine = nn.ConvTranspose2d(16, 8, 2, stride=2, rng=rng)
        self.join_fine = block(8 + 8, 8, rng)
        self.score = nn.Conv2d(8, 1, 1, rng=rng)

    def forward(self, images):
        fine = self.fine(images)
        coarse = self.coarse(F.max_pool2d(fine, 2))
        bottom = self.bottom(F.max_pool2d(coarse, 2))
        coarse = self.join_coarse(F.concatenate([self.up_coarse(bottom), coarse], axis=1))
        fine = self.join_fine(F.concatenate([self.up_fine(coarse), fine], axis=1))
        return self.score(fine)


def draw(rng, count=16):
    """Pictures (N, 1, 32, 32) of a disc, a bar and noise; and, as large, where the disc is."""
    y, x = np.mgrid[-16:16, -16:16]
    row, column, middle = rng.uniform(-9, 9, (3, count, 1, 1))
    disc = np.hypot(y - row, x - column) < rng.uniform(3, 7, (count, 1, 1))
    bar = abs(y - middle - rng.uniform(-1, 1, (count, 1, 1)) * x) < 2
    images = (disc | bar) + rng.normal(0, 0.3, disc.shape)
    return images[:, None].astype(np.float32), disc[:, None].astype(np.float32)


def main():
    rng = np.random.default_rng(0)
    model = UNet(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for step in range(101):
        images, discs = draw(rng)
        loss = F.binary_cross_entropy_with_logits(model(images), discs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
