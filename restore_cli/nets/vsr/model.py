"""Self-Blind-VSR's network (Bai and Pan, TPAMI 2024, figure 2): flow, features, fusion, detail.

The pieces are public so that a film's frames can be treated once each and remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jittor as jt
from jittor import nn

from restore_cli.errors import WeightsError
from restore_cli.nets.base import Network, conv, expect
from restore_cli.nets.ops import residual_trunk
from restore_cli.nets.vsr import kernel, pwc, recons, shapes, tail
from restore_cli.nets.vsr.warp import Place, warp

_QUICK = 24  # pixels a side from which training composes the tail anew for each step


@dataclass(frozen=True)
class Cycle:
    """What the self-supervised losses compare (section 3.1 of the paper).

    Attributes:
        kernel: estimated blur kernel (N, 1, k, k).
        frames_down: (N, T, 3, h, w), the frames blurred by it and reduced.
        recons_down: reconstruction of these, to be compared with the middle frame.
        recons: reconstruction of the frames themselves; no gradient goes through it.
        input_cycle: that, blurred and reduced, to be compared with the middle frame.
    """

    kernel: jt.Var
    frames_down: jt.Var
    recons_down: jt.Var
    recons: jt.Var
    input_cycle: jt.Var


@dataclass(frozen=True)
class Tail:
    """The composed convolution of `Vsr.quick_tail`: weight and bias."""

    weight: jt.Var
    bias: jt.Var


class Vsr(Network):
    """(N, T, 3, H, W) frames in [0, 1] to the middle one, (N, 3, k H, k W), not clipped.

    The result follows the grid on which the frames' pixel (i, j) is pixel (k i, k j): its content
    lies (k - 1) / 2 pixels up and left of where a centred enlargement puts it. With "HR_in" the
    frames are enlarged already and k is 1.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        colours, feat = config["n_colors"], config["n_feat"]
        self.in_conv = nn.Sequential(conv(colours, feat))
        self.extra_feat = recons.Trunk(feat, config["extra_RBS"])
        self.fusion_conv = nn.Sequential(conv(config["n_sequence"] * feat, feat))
        self.recons_net = recons.Trunk(feat, config["recons_RBS"])
        self.out_conv = nn.Sequential(conv(feat, feat), conv(feat, colours))
        if not config["HR_in"]:
            self.upsample_layers = recons.upsampling(feat, shapes.stages(config))
        self.flow_net = pwc.Flow(config)
        self.kernel_net = kernel.KernelNet(config)
        self._config = dict(config)

    @property
    def scale(self) -> int:
        """Magnification of the frames."""
        return 1 if self._config["HR_in"] else self._config["scale"]

    @property
    def centre(self) -> int:
        """Place of the frame that is reconstructed."""
        return self._config["n_sequence"] // 2

    def execute(self, frames):
        return self.with_flows(frames)[0]

    def with_flows(self, frames) -> tuple[jt.Var, list[jt.Var]]:
        """What the network makes of frames, and the `flows` it found on the way."""
        self._check(frames)
        features = self.features(frames.reshape(-1, *frames.shape[2:]))
        features = features.reshape(*frames.shape[:2], *features.shape[1:])
        flows = self.flows(frames)
        fused = self.fuse([features[:, i] for i in range(frames.shape[1])], flows)
        return self.reconstruct(fused, frames[:, self.centre]), flows

    def flow(self, first, second):
        """Flow (N, 2, H, W) from `first` to `second`, (N, 3, H, W) each: where in `second` a
        pixel of `first` is, in pixels to the right and down."""
        return self.flow_net(first, second)

    def pyramid(self, frame) -> pwc.Pyramid:
        """What `flows_between` needs of frames (N, 3, H, W); the same in every window."""
        return self.flow_net.moduleNetwork.pyramid(frame)

    def flows(self, frames) -> list[jt.Var]:
        """Flows from the middle frame to each of the others, in their order."""
        self._check(frames)
        count, length = frames.shape[:2]
        pyramid = self.pyramid(frames.reshape(-1, *frames.shape[2:]))
        levels = [level.reshape(count, length, *level.shape[1:]) for level in pyramid.levels]
        return self.flows_between([pwc.Pyramid(tuple(level[:, i] for level in levels),
                                               pyramid.size) for i in range(length)])

    def flows_between(self, pyramids: Sequence[pwc.Pyramid]) -> list[jt.Var]:
        """The same from the frames' pyramids; all pairs go through the network at once."""
        middle = pyramids[self.centre]
        others = [one for i, one in enumerate(pyramids) if i != self.centre]
        first = [jt.concat([level] * len(others), dim=0) for level in middle.levels]
        second = [jt.concat(list(parts), dim=0)
                  for parts in zip(*(one.levels for one in others), strict=True)]
        made = self.flow_net.moduleNetwork.between(pwc.Pyramid(tuple(first), middle.size),
                                                   pwc.Pyramid(tuple(second), middle.size))
        count = made.shape[0] // len(others)
        return [made[i * count:(i + 1) * count] for i in range(len(others))]

    def kernel(self, frames):
        """The blur kernel (N, 1, k, k) of frames (N, T, 3, H, W)."""
        self._check(frames)
        return self.kernel_net(frames.reshape(frames.shape[0], -1, *frames.shape[3:]))

    def features(self, frame):
        """Features (N, C, H, W) of frames (N, 3, H, W); the same in every window."""
        return self.extra_feat(self.in_conv(frame))

    def fuse(self, features: Sequence[jt.Var], flows: Sequence[jt.Var],
             place: Place | None = None) -> jt.Var:
        """The features of a window of frames as one map, (N, C, h, w) as the flows.

        Args:
            features: (N, C, H, W) of each frame.
            flows: (N, 2, h, w) from the middle frame to each other one, in their order.
            place: as for `warp`, where the frames are treated by tiles.
        """
        features, flows = list(features), list(flows)
        if place is not None:
            top, left = (b - a for a, b in zip(place.source, place.target, strict=True))
            height, width = flows[0].shape[2:]
            features[self.centre] = features[self.centre][:, :, top:top + height,
                                                          left:left + width]
        flows.insert(self.centre, None)
        if jt.flags.no_grad and residual_trunk.usable(self._config["n_feat"]):
            return self.combine([x if flow is None else warp(x, flow, True, place)
                                 for x, flow in zip(features, flows, strict=True)])
        total = self.fusion_conv[0].bias.reshape(1, -1, 1, 1)
        for index, (x, flow) in enumerate(zip(features, flows, strict=True)):
            total = total + self.fusion_term(index, x, flow, place)
        return total

    def combine(self, moved: Sequence[jt.Var]) -> jt.Var:
        """`fuse` of features (N, C, h, w) that are warped already; without gradients."""
        weights = [self._fusion_weight(i) for i in range(len(moved))]
        bias = self.fusion_conv[0].bias
        if residual_trunk.usable(self._config["n_feat"]):
            return residual_trunk.convolution_sum(list(moved), weights, bias)
        total = bias.reshape(1, -1, 1, 1)
        for x, weight in zip(moved, weights, strict=True):
            total = total + nn.conv2d(x, weight, padding=1)
        return total

    def fusion_term(self, index: int, features: jt.Var, flow: jt.Var | None,
                    place: Place | None = None) -> jt.Var:
        """One frame's share of `fuse`, which is the sum of these and of the bias.

        Upstream convolves all frames' features side by side; in the sum, one is alive at a time.

        Args:
            index: of the frame in the window.
            features: all that is asked for of the middle frame, else as for `warp`.
            flow: from the middle frame to it; None for that one itself.
            place: as for `warp`, where the frames are treated by tiles.
        """
        moved = features if flow is None else warp(features, flow, True, place)
        return nn.conv2d(moved, self._fusion_weight(index), padding=1)

    def _fusion_weight(self, index: int) -> jt.Var:
        feat = self._config["n_feat"]
        return self.fusion_conv[0].weight[:, index * feat:(index + 1) * feat]

    def reconstruct(self, fused, frame):
        """The enlarged frame from the fused features and the frame (N, 3, H, W) itself."""
        return self.tail(self.recons_net(fused)) + self.base(frame)

    def tail(self, x):
        """What the residual blocks lead to, as picture detail."""
        if self.is_training() and not jt.flags.no_grad and min(x.shape[2:]) >= _QUICK:
            made = Tail(*tail.composed_by_impulses(*self._tail_layers()))
            return self.quick_tail(x, made)
        return self._plain_tail(x)

    def _plain_tail(self, x):
        return self.out_conv(x if self._config["HR_in"] else self.upsample_layers(x))

    def compose_tail(self) -> Tail:
        """The weights of `quick_tail`; to be made anew when weights change."""
        ups, outs = ([(layer.weight.numpy(), layer.bias.numpy()) for layer in layers]
                     for layers in self._tail_layers())
        return Tail(*(jt.array(part).stop_grad() for part in tail.composed(ups, outs)))

    def quick_tail(self, x, made: Tail,
                   ends: tuple[bool, bool, bool, bool] = (True, True, True, True)) -> jt.Var:
        """`tail`, by one convolution and exact borders.

        Args:
            x: (N, C, H, W), the picture or a tile of it.
            made: from `compose_tail`.
            ends: whether the picture ends at the top, bottom, left and right of `x`; where it
                does not, the outer 2 pixels of `x` are wrong in the result and to be cut off.
        """
        if min(x.shape[2:]) < 2 * tail.REACH:
            return self._plain_tail(x)
        ups, outs = self._tail_layers()
        inner = tail.apply(x, made.weight, made.bias, self.scale)
        wide = tail.REACH * self.scale
        for side, ended in enumerate(ends):
            if not ended:
                continue
            axis, far = 2 + side // 2, bool(side % 2)
            band = tail.strip(x, ups, outs, axis, far)
            cut = slice(None, -wide) if far else slice(wide, None)
            rest = inner[:, :, cut] if axis == 2 else inner[:, :, :, cut]
            inner = jt.concat([rest, band] if far else [band, rest], dim=axis)
        return inner

    def _tail_layers(self) -> tuple[list[nn.Conv], list[nn.Conv]]:
        ups = [] if self._config["HR_in"] else list(self.upsample_layers)[::2]
        return ups, list(self.out_conv)

    def base(self, frame):
        """The frame enlarged bilinearly, to which the detail is added."""
        return pwc.resize(frame, (self.scale * frame.shape[2], self.scale * frame.shape[3]))

    def cycle(self, frames) -> Cycle:
        """The training form, differentiable; frames (N, T, 3, H, W).

        Raises:
            WeightsError: "HR_in", for whose enlarged frames there is none.
        """
        self._check(frames)
        if self._config["HR_in"]:
            raise WeightsError("a network for enlarged frames (HR_in) cannot be trained on them",
                               hint="Train the form without HR_in")
        blur, scale = self.kernel(frames), self._config["scale"]
        down = kernel.blur_down(frames.reshape(frames.shape[0], -1, *frames.shape[3:]), blur,
                                scale)
        down = down.reshape(*frames.shape[:3], *down.shape[2:])
        with jt.no_grad():
            made = self(frames)
        made = made.detach()
        return Cycle(blur, down, self(down), made, kernel.blur_down(made, blur, scale))

    def _check(self, frames) -> None:
        length, colours = self._config["n_sequence"], self._config["n_colors"]
        expect("frames", frames, f"(N, {length}, {colours}, H, W)", None, length, colours, None,
               None)


def build(name: str, config: Mapping[str, Any]) -> Vsr:
    """The network of registry name `name` ("vsr")."""
    return Vsr(shapes.complete(config))
