"""A convolutional recurrent network (ConvGRU) watches a ball fly, and draws where it will be."""

import numpy as np

import fastconv.functional as F
from fastconv import nn, optim


class ConvGRU(nn.Module):
    def __init__(self, channels, hidden, rng):
        options = {"padding": 2, "padding_mode": "circular", "rng": rng}
        self.gates = nn.Conv2d(channels + hidden, 2 * hidden, 5, **options)
        self.candidate = nn.Conv2d(channels + hidden, hidden, 5, **options)

    def forward(self, frame, state):
        """One step in time: the next state."""
        gates = F.sigmoid(self.gates(F.concatenate([frame, state], axis=1)))
        keep, reset = F.split(gates, 2, axis=1)
        new = F.tanh(self.candidate(F.concatenate([frame, reset * state], axis=1)))
        return keep * state + (1 - keep) * new


class Forecast(nn.Module):
    def __init__(self, rng):
        self.cell = ConvGRU(1, 8, rng)
        self.draw = nn.Conv2d(8, 1, 1, rng=rng)

    def forward(self, frames):
        state = np.zeros((len(frames), 8, 16, 16), frames.dtype)
        for frame in frames.moveaxis(1, 0):
            state = self.cell(frame, state)
        return self.draw(state)


def draw(rng, count=16, steps=5):
    """Films (N, T, 1, 16, 16) of a ball in a world without edges; and the frame that follows."""
    start, speed = rng.uniform(0, 16, (2, count, 1)), rng.uniform(-2, 2, (2, count, 1))
    places = (start + speed * np.arange(steps + 1))[..., None]
    rows, columns = (np.arange(16) - places + 8) % 16 - 8  # (N, T, 16) each, from the ball
    films = np.exp(-(rows[..., None] ** 2 + columns[..., None, :] ** 2) / 4).astype(np.float32)
    return films[:, :-1, None], films[:, -1:]


def main():
    rng = np.random.default_rng(0)
    model = Forecast(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for step in range(201):
        frames, following = draw(rng)
        loss = F.mse_loss(model(frames), following)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.5f}")  # the last frame again would cost 0.013


if __name__ == "__main__":
    main()
