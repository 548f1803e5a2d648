"""Muon: momentum whose update is made orthogonal by Newton-Schulz iterations.

After Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024,
https://kellerjordan.github.io/posts/muon/); the quintic's coefficients are from there. Written anew.
"""

import torch


def orthogonalise(g, precision=torch.bfloat16, steps=5):
    """A batch of matrices with all singular values brought near 1. g: [n, rows, cols]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(precision)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """For 2-D weights alone: an update's singular values are near lr * sqrt(max(1, rows / cols)).

    Matrices of one shape are orthogonalised as one batch.
    """

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0, precision=torch.bfloat16):
        self.precision = precision  # of the iterations
        super().__init__(params, dict(lr=lr, peak=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for (rows, cols), params in shapes.items():
                updates = []
                for p in params:
                    state = self.state[p]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(p)
                    state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(state["momentum"], group["momentum"]))  # Nesterov
                updates = orthogonalise(torch.stack(updates), self.precision)
                scale = group["lr"] * max(1, rows / cols) ** 0.5
                for p, update in zip(params, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update, alpha=-scale)
