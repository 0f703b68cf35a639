"""Products of steps that are taken one by one: the gradient of a weight, computed once for all of them.

The gradient of a weight that every step multiplies with is a sum over the steps. One by one each adds a matrix as large
as the weight, of few rows: memory is read and written, and little is computed. Here the inputs x_t of all steps and the
gradients g_t of their outputs are kept, and the sum is one product, sum_t g_t' x_t = [g_1; ..]' [x_1; ..].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Uses = list[tuple[Tensor, Tensor]]
"""For each step a product's input [R, inputs] and the gradient of its output [R, outputs]."""


@contextmanager
def at_once(weights: Iterable[Tensor]) -> Iterator[None]:
    """Within it, `functional.linear` with one of the weights leaves its gradient to one product for all calls.

    Values and gradients are those of `functional.linear` but for rounding, in backward passes that ask for those of the
    weights.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_exporting():
        yield
        return
    with _Linear(weights):
        yield


class _Linear(TorchFunctionMode):
    """Stands in for `functional.linear` where the matrix is one of the weights."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.weights = {id(weight) for weight in weights if weight.requires_grad}
        self.shared: dict[tuple[int, int], tuple[Tensor, Tensor | None, Uses]] = {}
        self.biases: list[Tensor | None] = []  # held, so that no other bias gets the id of one of them

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.linear and id(named["weight"] if "weight" in named else args[1]) in self.weights:
            return self._linear(*args, **named)
        return func(*args, **named)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 torch's name
        inputs, device = input, input.device.type
        if torch.is_autocast_enabled(device):
            inputs = inputs.to(torch.get_autocast_dtype(device))
        place = id(weight), id(bias)
        if place not in self.shared:
            self.biases.append(bias)
            uses: Uses = []
            used = _Shared.apply(uses, inputs.dtype, weight, bias)  # type: ignore[no-untyped-call]
            self.shared[place] = *used, uses
        product: Tensor = _Product.apply(inputs, *self.shared[place])  # type: ignore[no-untyped-call]
        return product


class _Shared(torch.autograd.Function):
    """A weight and its bias as all steps use them. Its backward pass comes when those of all steps are done."""

    @staticmethod
    def forward(
        ctx: Any, uses: Uses, precision: torch.dtype, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        ctx.uses, ctx.precision = uses, weight.dtype
        shared_bias = None if bias is None else bias.view_as(bias).to(precision)
        return weight.view_as(weight).to(precision), shared_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, ...]:
        inputs, slopes = (torch.cat(parts) for parts in zip(*ctx.uses, strict=True))
        ctx.uses.clear()
        biased = ctx.needs_input_grad[3]
        bias_slope = slopes.sum(0, dtype=ctx.precision) if biased else None
        return None, None, (slopes.T @ inputs).to(ctx.precision), bias_slope


class _Product(torch.autograd.Function):
    """x W' + b, whose backward pass gives the gradient of x, and keeps what that of W and b is made of."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, uses: Uses) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.uses = uses
        return functional.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        ctx.uses.append((inputs.flatten(0, -2), slope.flatten(0, -2)))
        return slope @ weight if ctx.needs_input_grad[0] else None, None, None, None
