"""The converters this program knows; importing the package registers them."""

from __future__ import annotations

from restore_cli.weights.convert import register
from restore_cli.weights.converters.careamics import CareamicsConverter
from restore_cli.weights.converters.edsr import EdsrConverter
from restore_cli.weights.converters.led import LedConverter
from restore_cli.weights.converters.liif import LiifConverter
from restore_cli.weights.converters.n2v import Noise2VoidConverter
from restore_cli.weights.converters.openmmlab import OpenMmlabLiifConverter
from restore_cli.weights.converters.vsr import VsrConverter

for _converter in (LiifConverter(), OpenMmlabLiifConverter(), EdsrConverter(),
                   Noise2VoidConverter(), CareamicsConverter(), LedConverter(),
                   VsrConverter()):
    register(_converter)
