"""The networks of examples/ in torch, to compare with; their losses, too. Imports torch."""

import torch
from torch import nn
from torch.nn import functional as F


def block(channels, filters):
    conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU())


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine = block(1, 8)
        self.coarse = block(8, 16)
        self.bottom = block(16, 32)
        self.up_coarse = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.join_coarse = block(32, 16)
        self.up_fine = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.join_fine = block(16, 8)
        self.score = nn.Conv2d(8, 1, 1)

    def loss(self, images, discs):
        fine = self.fine(images)
        coarse = self.coarse(F.max_pool2d(fine, 2))
        bottom = self.bottom(F.max_pool2d(coarse, 2))
        coarse = self.join_coarse(torch.cat([self.up_coarse(bottom), coarse], 1))
        fine = self.join_fine(torch.cat([self.up_fine(coarse), fine], 1))
        return F.binary_cross_entropy_with_logits(self.score(fine), discs)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, 16),
        )  # fmt: skip

    def loss(self, left, right, same):
        distance = ((self.embed(left) - self.embed(right)) ** 2).sum(1)
        return torch.where(same, distance, F.relu(1 - distance)).mean()


class ConvGRU(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        options = {"padding": 2, "padding_mode": "circular"}
        self.gates = nn.Conv2d(channels + hidden, 2 * hidden, 5, **options)
        self.candidate = nn.Conv2d(channels + hidden, hidden, 5, **options)

    def forward(self, frame, state):
        keep, reset = torch.sigmoid(self.gates(torch.cat([frame, state], 1))).chunk(2, 1)
        new = torch.tanh(self.candidate(torch.cat([frame, reset * state], 1)))
        return keep * state + (1 - keep) * new


class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = ConvGRU(1, 8)
        self.draw = nn.Conv2d(8, 1, 1)

    def loss(self, frames, following):
        state = frames.new_zeros(len(frames), 8, 16, 16)
        for frame in frames.unbind(1):
            state = self.cell(frame, state)
        return F.mse_loss(self.draw(state), following)


class Larger(nn.Module):
    def __init__(self):
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(256, 32), nn.ReLU(),
        )  # fmt: skip
        self.compare = nn.Sequential(nn.Linear(42, 32), nn.ReLU(), nn.Linear(32, 1))

    def loss(self, images, numbers, larger):
        scores = self.compare(torch.cat([self.see(images), numbers], 1))
        return F.binary_cross_entropy_with_logits(scores, larger)
