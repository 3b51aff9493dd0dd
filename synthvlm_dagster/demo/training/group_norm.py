"""Group normalisation for channels-last tensors on a CPU, where PyTorch's own backward is several times slower."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def use_fast_group_norm(model: nn.Module) -> None:
    """Let every `nn.GroupNorm` of the model compute with `ChannelsLastGroupNorm`; its parameters stay as they are."""
    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = ChannelsLastGroupNorm


class ChannelsLastGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` in the input's own precision, with statistics in float32."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name nn.GroupNorm uses
        """Normalise (n, channels, …) within groups of channels."""
        return _GroupNorm.apply(input, self.weight, self.bias, self.num_groups, self.eps)


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float
    ) -> torch.Tensor:
        rows = _rows(x)
        count, channels = rows.shape[1], rows.shape[2]
        per_group = count * channels // groups
        mean = _group_sum(rows.sum(1, dtype=torch.float32), groups) / per_group
        square = _group_sum((rows * rows).sum(1, dtype=torch.float32), groups) / per_group
        inverse_std = (square - mean * mean).clamp_(min=0).add_(eps).rsqrt_()
        mean, inverse_std = (_to_channels(value, channels) for value in (mean, inverse_std))
        scale = inverse_std * weight.float()
        shift = bias.float() - mean * scale
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.groups = groups
        y = torch.addcmul(shift.to(x.dtype)[:, None], rows, scale.to(x.dtype)[:, None])
        return _like(y, x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        rows, dy = _rows(x), _rows(grads[0].to(x.dtype))
        count, channels = rows.shape[1], rows.shape[2]
        per_group = count * channels // ctx.groups
        sum_dy = dy.sum(1, dtype=torch.float32)
        sum_dy_x = (dy * rows).sum(1, dtype=torch.float32)
        d_weight = (sum_dy_x - mean * sum_dy) * inverse_std
        w = weight.float()
        mean_g = _to_channels(_group_sum(w * sum_dy, ctx.groups) / per_group, channels)
        mean_g_x = _to_channels(_group_sum(w * d_weight, ctx.groups) / per_group, channels)
        of_x = -inverse_std * inverse_std * mean_g_x
        constant = -inverse_std * mean_g - of_x * mean
        of_dy = inverse_std * w
        dx = torch.addcmul(constant.to(x.dtype)[:, None], rows, of_x.to(x.dtype)[:, None])
        dx = dx.addcmul_(dy, of_dy.to(x.dtype)[:, None])
        return _like(dx, x), d_weight.sum(0).to(weight.dtype), sum_dy.sum(0).to(weight.dtype), None, None


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(n, c, ...) to (n, positions, c), without a copy when channels are last in memory."""
    return x.flatten(2).transpose(1, 2) if x.dim() == 3 else x.permute(0, 2, 3, 1).flatten(1, 2)


def _like(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if x.dim() == 3:
        return rows.transpose(1, 2)
    n, channels, height, width = x.shape
    return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


def _group_sum(per_channel: torch.Tensor, groups: int) -> torch.Tensor:
    return per_channel.view(per_channel.shape[0], groups, -1).sum(-1)


def _to_channels(per_group: torch.Tensor, channels: int) -> torch.Tensor:
    return per_group.repeat_interleave(channels // per_group.shape[1], dim=1)
