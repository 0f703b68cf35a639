"""Linear recurrences h_t = a_t h_{t-1} + b_t over all steps, elementwise, with exact gradients.

What takes time here is memory, not arithmetic: a step reads three numbers for two operations. So steps are taken a
block at a time, small enough that all that a block needs stays in the processor's cache: what a and b are made of is
read once, h is written once, and a and b themselves never leave the cache; the gradient makes them again. Within a
block the steps follow each other in place. Where a step is so narrow that calling an operation takes longer than the
operation, the block is cut into parts whose steps are taken for all parts at once (Blelloch 1990, "Prefix sums and
their applications").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Coefficients: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""[K, B, blocks * hidden] -> a and b, [K, B, hidden] each; neither is a view of what is given."""
Slopes: TypeAlias = Callable[[Tensor], tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]]
"""What `Coefficients` is given -> a, and a function: the gradient of h_t, and h_{t-1} -> the gradient of what is given.
Neither a nor the gradient is a view of what is given."""

Shares: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""[K, B, parts * hidden] -> z and y, [K, B, hidden] each: h_t = h_{t-1} + z_t (y_t - h_{t-1})."""

BLOCK = 1 << 17  # values of a state that a block of steps has
WIDE = 1 << 11  # values of a state from which on a step is worth an operation
CUT = 16  # steps from which on a narrow block is cut


def scan(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + inputs_t: [T, ...] each, and h_0 [...] -> h_1..h_T [T, ...]."""
    scanned: Tensor = _Scan.apply(decay, inputs, start)  # type: ignore[no-untyped-call]
    return scanned


def scan_blocks(blocks: Tensor, start: Tensor, coefficients: Coefficients, slopes: Slopes | None = None) -> Tensor:
    """h_1..h_T [B, T, hidden] of the recurrence whose coefficients a function makes of `blocks` [B, T, ...], from h_0.

    The function may have no parameters of its own. Its gradient is found by autograd, or given as `slopes`.
    """
    scanned: Tensor = _BlockScan.apply(blocks, start, coefficients, slopes)  # type: ignore[no-untyped-call]
    return scanned


def scan_products(
    inputs: Tensor, weight: Tensor, bias: Tensor, start: Tensor, shares: Shares, slopes: Slopes
) -> Tensor:
    """h_1..h_T [B, T, hidden] of h_t = h_{t-1} + z_t (y_t - h_{t-1}), whose z and y a function makes of W x + b.

    inputs x [B, T, width], `weight` [parts * hidden, width]. The product of a block of steps is taken when the block
    is, and so are its gradients. In memory the states are in the order of time, as the next such layer reads them.
    """
    scanned: Tensor = _ProductScan.apply(inputs, weight, bias, start, shares, slopes)  # type: ignore[no-untyped-call]
    return scanned


def steps_of_block(width: int) -> int:
    """The steps of a block where a state has so many values."""
    return max(1, BLOCK // max(width, 1))


def forwards(decay: Tensor, values: Tensor, start: Tensor) -> Tensor:
    """Put h_t in the place of b_t, `values` [K, ...], and return the last one; `decay` may be overwritten."""
    steps = values.shape[0]
    if steps < CUT or start.numel() >= WIDE:
        for a, b in zip(decay.unbind(0), values.unbind(0), strict=True):
            start = torch.addcmul(b, a, start, out=b)
        return start
    length = math.isqrt(steps)
    whole = steps - steps % length
    a, b = (part[:whole].view(-1, length, *start.shape) for part in (decay, values))
    shares, states = a.unbind(1), b.unbind(1)
    for place in range(1, length):
        states[place].addcmul_(shares[place], states[place - 1])
        shares[place].mul_(shares[place - 1])
    before = torch.empty_like(states[-1])  # the state before each part
    for place, (share, last) in enumerate(zip(shares[-1].unbind(0), states[-1].unbind(0), strict=True)):
        before[place] = start
        start = torch.addcmul(last, share, start)
    b.addcmul_(a, before[:, None])
    return forwards(decay[whole:], values[whole:], start) if whole < steps else start


def mixes(shares: Tensor, values: Tensor, start: Tensor, out: Tensor) -> Tensor:
    """Put h_t = h_{t-1} + z_t (y_t - h_{t-1}), z and y [K, ...], into `out`, and return the last one."""
    if shares.shape[0] >= CUT and start.numel() < WIDE:
        torch.mul(shares, values, out=out)
        return forwards(1 - shares, out, start)
    for share, value, state in zip(shares.unbind(0), values.unbind(0), out.unbind(0), strict=True):
        start = torch.lerp(start, value, share, out=state)
    return start


def backwards(decay: Tensor, slopes: Tensor, carried: Tensor) -> Tensor:
    """Put in the place of h_t's own gradient, `slopes` [K, ...], the one that it has through all later steps too.

    `carried` is what comes from the steps after the block; what goes to those before it is returned.
    """
    slopes[-1] += carried
    if slopes.shape[0] < CUT or carried.numel() >= WIDE:
        shares, parts = decay.unbind(0), slopes.unbind(0)
        for place in range(len(parts) - 1, 0, -1):
            parts[place - 1].addcmul_(shares[place], parts[place])
    else:
        turned = slopes.flip(0)
        forwards(decay.roll(-1, 0).flip(0), turned, torch.zeros_like(carried))
        slopes.copy_(turned.flip(0))
    return decay[0] * slopes[0]


def before_each(states: Tensor, start: Tensor) -> Tensor:
    """h_{t-1} for every h_t [K, ...]."""
    return torch.cat([start[None], states[:-1]])


class _Scan(torch.autograd.Function):
    """`scan`: the gradient runs the same recurrence from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
        states = inputs.clone(memory_format=torch.contiguous_format)
        narrow = states.shape[0] >= CUT and start.numel() < WIDE
        forwards(decay.clone() if narrow else decay, states, start)
        ctx.save_for_backward(decay, states, start)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, states, start = ctx.saved_tensors
        slopes = slope.clone(memory_format=torch.contiguous_format)
        carried = backwards(decay, slopes, torch.zeros_like(start))
        return slopes * before_each(states, start), slopes, carried


class _BlockScan(torch.autograd.Function):
    """`scan_blocks`: keeps h and what a and b are made of, not a and b."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, start: Tensor, coefficients: Coefficients, slopes: Slopes | None) -> Tensor:
        rows, steps, _ = blocks.shape
        states, state, size = blocks.new_empty(rows, steps, start.shape[1]), start, steps_of_block(start.numel())
        for place in range(0, steps, size):
            decay, values = coefficients(by_time(blocks, place, size))
            state = forwards(decay, values, state)
            states[:, place : place + size].transpose(0, 1).copy_(values)
        ctx.coefficients, ctx.slopes = coefficients, slopes
        ctx.save_for_backward(blocks, start, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        blocks, start, states = ctx.saved_tensors
        steps, size = blocks.shape[1], steps_of_block(start.numel())
        gradient, carried = torch.empty_like(blocks), torch.zeros_like(start)
        for place in range((steps - 1) // size * size, -1, -size):
            given = by_time(blocks, place, size)
            slopes = by_time(slope, place, size)
            before = before_each(by_time(states, place, size), states[:, place - 1] if place else start)
            if ctx.slopes is None:
                with torch.enable_grad():
                    decay, values = ctx.coefficients(given.requires_grad_())
                carried = backwards(decay.detach(), slopes, carried)
                (made,) = torch.autograd.grad([decay, values], [given], [slopes * before, slopes])
            else:
                decay, gradient_of = ctx.slopes(given)
                carried = backwards(decay, slopes, carried)
                made = gradient_of(slopes, before)
            gradient[:, place : place + size].transpose(0, 1).copy_(made)
        return gradient, carried, None, None


class _ProductScan(torch.autograd.Function):
    """`scan_products`: keeps h and the products, each in the order of time."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        start: Tensor,
        shares: Shares,
        slopes: Slopes,
    ) -> Tensor:
        (rows, steps, width), (outputs, _) = inputs.shape, weight.shape
        products = inputs.new_empty(steps, rows, outputs)
        states, state, size = inputs.new_empty(steps, *start.shape), start, steps_of_block(start.numel())
        for place in range(0, steps, size):
            product = products[place : place + size]
            torch.addmm(bias, steps_of(inputs, place, size).view(-1, width), weight.t(), out=product.view(-1, outputs))
            state = mixes(*shares(product), state, states[place : place + size])
        ctx.slopes = slopes
        by_row = states.transpose(0, 1)
        ctx.save_for_backward(inputs, weight, products, start, by_row)
        return by_row

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None, None]:
        inputs, weight, products, start, by_row = ctx.saved_tensors
        (rows, steps, width), (outputs, _), states = inputs.shape, weight.shape, by_row.transpose(0, 1)
        size, carried = steps_of_block(start.numel()), torch.zeros_like(start)
        of_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        of_weight, of_bias = torch.zeros_like(weight), weight.new_zeros(outputs)
        for place in range((steps - 1) // size * size, -1, -size):
            part = slice(place, place + size)
            decay, gradient_of = ctx.slopes(products[part])
            slopes = by_time(slope, place, size)
            carried = backwards(decay, slopes, carried)
            before = states[place - 1 : place - 1 + len(slopes)] if place else before_each(states[part], start)
            made = gradient_of(slopes, before).view(-1, outputs)
            of_weight.addmm_(made.t(), steps_of(inputs, place, size).view(-1, width))
            of_bias += made.sum(0)
            if of_inputs is not None:
                of_inputs[:, part].transpose(0, 1).copy_((made @ weight).view(-1, rows, width))
        return of_inputs, of_weight, of_bias, carried, None, None


def steps_of(values: Tensor, place: int, size: int) -> Tensor:
    """A block of steps of values [B, T, ...] as [K, B, ...], contiguous; only to be read."""
    return values[:, place : place + size].transpose(0, 1).contiguous()


def by_time(values: Tensor, place: int, size: int) -> Tensor:
    """A block of steps of values [B, T, ...], copied as [K, B, ...]."""
    return values[:, place : place + size].transpose(0, 1).clone(memory_format=torch.contiguous_format)
