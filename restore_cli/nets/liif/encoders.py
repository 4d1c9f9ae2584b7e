"""EDSR (Lim et al., CVPRW 2017), RDN (Zhang et al., CVPR 2018) and RCAN (Zhang et al., ECCV 2018).

All map (N, 3, h, w) in the network's normalised units to features (N, C, h, w), or with a
fixed-scale tail to RGB (N, 3, k*h, k*w). Parameter names are upstream's. As upstream, the
mean-shift layers own parameters that are never applied.
"""

from __future__ import annotations

from typing import Any, Mapping

import jittor as jt
from jittor import nn

from restore_cli.nets.base import Lambda, Network, conv, expect
from restore_cli.nets.liif import shapes
from restore_cli.nets.ops import residual_trunk, trunks


class MeanShift(nn.Module):
    """Holds upstream's mean-shift parameters; never applied."""

    def __init__(self):
        super().__init__()
        self.weight = jt.init.eye(3, "float32").reshape(3, 3, 1, 1).stop_grad()
        self.bias = jt.zeros((3,), "float32").stop_grad()


class ResBlock(nn.Module):
    """conv, ReLU, conv, scaled and added to the input; with `reduction`, channel attention."""

    def __init__(self, feats: int, res_scale: float, reduction: int | None = None):
        super().__init__()
        steps = [conv(feats, feats), Lambda(nn.relu), conv(feats, feats)]
        if reduction is not None:
            steps.append(ChannelAttention(feats, reduction))
        self.body = nn.Sequential(*steps)
        self._scale = res_scale

    def execute(self, x):
        change = self.body(x)
        return x + (change if self._scale == 1 else change * self._scale)

    def layers(self) -> list[nn.Conv]:
        """As `trunks.residual` takes them."""
        gate = self.body[3].conv_du if len(self.body) > 3 else ()
        return [self.body[0], self.body[2], *list(gate)[::2]]

    def weights(self) -> list[jt.Var]:
        """Weights and biases for `residual_trunk.trunk`, the scale folded into the last two."""
        first, last = self.body[0], self.body[2]
        ends = (last.weight, last.bias)
        if self._scale != 1:
            ends = tuple(v * self._scale for v in ends)
        return [first.weight, first.bias, *ends]


class ChannelAttention(nn.Module):
    """RCAN section 3.3: channels weighted by a gate computed from their global means."""

    def __init__(self, feats: int, reduction: int):
        super().__init__()
        self.conv_du = nn.Sequential(conv(feats, feats // reduction, 1), Lambda(nn.relu),
                                     conv(feats // reduction, feats, 1), Lambda(jt.sigmoid))

    def execute(self, x):
        # Width first, then height: Jittor sums naively in float32.
        means = x.mean(dim=3, keepdims=True).mean(dim=2, keepdims=True)
        return x * self.conv_du(means)


class ResGroup(nn.Module):
    """RCAN's residual group: blocks, a convolution, and the input added."""

    def __init__(self, feats: int, blocks: int, reduction: int):
        super().__init__()
        self.body = nn.Sequential(*[ResBlock(feats, 1, reduction) for _ in range(blocks)],
                                  conv(feats, feats))

    def layers(self) -> list[nn.Conv]:
        """As `trunks.residual` takes them."""
        *blocks, last = self.body
        return [*(layer for block in blocks for layer in block.layers()), last]

    def execute(self, x):
        layers = self.layers()
        if trunks.usable(layers):
            return trunks.residual(x, layers, len(self.body) - 1, bare=True, attention=True)
        return x + self.body(x)


def _tail(name: str, args: Mapping[str, Any]) -> nn.Sequential:
    feats = args["n_feats"]
    steps = []
    for factor in shapes.upsampling_steps(name, args["scale"]):
        steps += [conv(feats, feats * factor * factor), nn.PixelShuffle(factor)]
    return nn.Sequential(nn.Sequential(*steps), conv(feats, 3))


class ResidualEncoder(Network):
    """EDSR and RCAN: head, residual body with a long skip, optional fixed-scale tail."""

    def __init__(self, name: str, args: Mapping[str, Any]):
        super().__init__()
        feats = args["n_feats"]
        self.sub_mean, self.add_mean = MeanShift(), MeanShift()
        self.head = nn.Sequential(conv(3, feats))
        if name == "rcan":
            blocks = [ResGroup(feats, args["n_resblocks"], args["reduction"])
                      for _ in range(args["n_resgroups"])]
        else:
            blocks = [ResBlock(feats, args["res_scale"]) for _ in range(args["n_resblocks"])]
        self.body = nn.Sequential(*blocks, conv(feats, feats))
        self._plain = name != "rcan"
        self._scale = args.get("res_scale", 1)
        if not args["no_upsampling"]:
            self.tail = _tail(name, args)
        self._upsamples = not args["no_upsampling"]

    def execute(self, x):
        expect("x", x, "(N, 3, H, W)", None, 3, None, None)
        x = self._features(x)
        return self.tail(x) if self._upsamples else x

    def _features(self, x):
        if self._plain:
            *blocks, last = self.body
            layers = [self.head[0], *(one for block in blocks for one in block.layers()), last]
            if blocks and trunks.usable(layers):
                return trunks.residual(x, layers, len(blocks), factor=self._scale)
        x = self.head(x)
        return x + self._residual(x)

    def _residual(self, x):
        *blocks, last = self.body
        if not (self._plain and blocks and residual_trunk.usable(x.shape[1])):
            return self.body(x)
        return last(residual_trunk.trunk(x, [v for block in blocks for v in block.weights()]))


class DenseLayer(nn.Module):
    """RDN's 3x3 convolution and ReLU, appended to its input along channels."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.conv = nn.Sequential(conv(inputs, growth), Lambda(nn.relu))

    def execute(self, x):
        return jt.concat([x, self.conv(x)], dim=1)


class DenseBlock(nn.Module):
    """RDN section 3.2: densely connected layers, 1x1 fusion, and the input added."""

    def __init__(self, base: int, growth: int, layers: int):
        super().__init__()
        self.convs = nn.Sequential(*[DenseLayer(base + i * growth, growth)
                                     for i in range(layers)])
        self.LFF = conv(base + layers * growth, base, 1)

    def layers(self) -> list[nn.Conv]:
        """As `trunks.dense` takes them."""
        return [*(layer.conv[0] for layer in self.convs), self.LFF]

    def execute(self, x):
        return self.LFF(self.convs(x)) + x


class RDN(Network):
    """Residual dense network; configurations A and B of the paper."""

    def __init__(self, args: Mapping[str, Any]):
        super().__init__()
        base, kernel = args["G0"], args["RDNkSize"]
        blocks, layers, growth = shapes.RDN_CONFIGS[args["RDNconfig"]]
        self.SFENet1 = conv(3, base, kernel)
        self.SFENet2 = conv(base, base, kernel)
        self.RDBs = nn.ModuleList([DenseBlock(base, growth, layers) for _ in range(blocks)])
        self.GFF = nn.Sequential(conv(blocks * base, base, 1), conv(base, base, kernel))
        self._upsamples = not args["no_upsampling"]
        if self._upsamples:
            steps, inputs = [], base
            for factor in shapes.upsampling_steps("rdn", args["scale"]):
                steps += [conv(inputs, growth * factor * factor, kernel), nn.PixelShuffle(factor)]
                inputs = growth
            self.UPNet = nn.Sequential(*steps, conv(growth, 3, kernel))

    def execute(self, x):
        expect("x", x, "(N, 3, H, W)", None, 3, None, None)
        x = self._features(x)
        return self.UPNet(x) if self._upsamples else x

    def _features(self, x):
        layers = [self.SFENet1, self.SFENet2,
                  *(layer for block in self.RDBs for layer in block.layers()), *self.GFF]
        if trunks.usable(layers):
            return trunks.dense(x, layers, len(self.RDBs), len(self.RDBs[0].convs))
        shallow = self.SFENet1(x)
        x, outputs = self.SFENet2(shallow), []
        for block in self.RDBs:
            x = block(x)
            outputs.append(x)
        return self.GFF(jt.concat(outputs, dim=1)) + shallow


class MLP(Network):
    """Linear layers with ReLU between, applied to the last axis: (..., in) to (..., out)."""

    def __init__(self, in_dim: int, out_dim: int, hidden_list):
        super().__init__()
        steps, width = [], in_dim
        for hidden in hidden_list:
            steps += [nn.Linear(width, hidden), Lambda(nn.relu)]
            width = hidden
        self.layers = nn.Sequential(*steps, nn.Linear(width, out_dim))

    def linears(self) -> list[nn.Linear]:
        """The linear layers in order."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def execute(self, x):
        flat = self.layers(x.reshape(-1, x.shape[-1]))
        return flat.reshape(*x.shape[:-1], flat.shape[-1])


def build(name: str, config: Mapping[str, Any]) -> Network:
    """One of the encoders ("edsr-baseline", "edsr", "rdn", "rcan") or "mlp"."""
    if name == "mlp":
        args = shapes.fill(shapes.MLP_DEFAULTS, config, "mlp")
        return MLP(args["in_dim"], args["out_dim"], args["hidden_list"])
    args = shapes.encoder_config(name, config)
    return RDN(args) if name == "rdn" else ResidualEncoder(name, args)
