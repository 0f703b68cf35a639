"""What stands between the layers of a stack, for each step on its own: normalisations and feed-forward networks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class FeedForward(nn.Module):
    """x + V gelu(W LN(x) + b) + d (Vaswani et al. 2017, arXiv 1706.03762; before the network normalised as in Xiong et
    al. 2020, 2002.04745). `size` is the width of x, `times` so many times as wide is what lies between."""

    def __init__(self, size: int, times: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size, bias=False)
        self.widen, self.narrow = nn.Linear(size, times * size), nn.Linear(times * size, size)

    def forward(self, values: Tensor) -> Tensor:
        made: Tensor = self.narrow(functional.gelu(self.widen(self.norm(values))))
        return values + made


class Between(nn.Module):
    """The input of every layer but the first, and the output of the last, normalised with `norm`; after every layer a
    feed-forward network `feed_forward` times as wide as the layer's output, none if it is 0.

    What a residual connection adds is not normalised. Where neither is chosen, values pass as they are.
    """

    def __init__(self, size: int, layers: int, norm: bool, feed_forward: int) -> None:
        super().__init__()
        self.layers = layers
        self.norms = nn.ModuleList(nn.LayerNorm(size, bias=False) for _ in range(layers if norm else 0))
        self.networks = nn.ModuleList(FeedForward(size, feed_forward) for _ in range(layers if feed_forward else 0))

    def before(self, depth: int, values: Tensor) -> Tensor:
        """What the cell of a layer reads [..., size] of what the layer is given; the first layer's may be wider."""
        return self.norms[depth - 1](values) if self.norms and depth > 0 else values

    def after(self, depth: int, values: Tensor) -> Tensor:
        """The output of a layer [..., size], from that of its cell (its input added, with residual connections)."""
        if self.networks:
            values = self.networks[depth](values)
        return self.norms[depth](values) if self.norms and depth == self.layers - 1 else values
