"""OpenMMLab's retrained LIIF (MMEditing, MMagic): other names for the same layers.

Written from the published source of `LIIFEDSRNet` and `LIIFRDNNet`, which move the encoder's
layers up and delete the rest of it; no published file has been read with it here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.weights.convert import LIIF_NORMALISATION, Draft, as_state_dict
from restore_cli.weights.converters.liif import infer

# Its EDSR was trained on x - mean, its RDN as LIIF's (from the configuration files).
_EDSR_NORMALISATION = ((0.4488, 0.4371, 0.4040), (1.0, 1.0, 1.0))

_RULES = (
    (r"conv_first\.(\w+)", r"encoder.head.0.\1"),
    (r"body\.(\d+)\.conv1\.(\w+)", r"encoder.body.\1.body.0.\2"),
    (r"body\.(\d+)\.conv2\.(\w+)", r"encoder.body.\1.body.2.\2"),
    (r"sfe([12])\.(\w+)", r"encoder.SFENet\1.\2"),
    (r"rdbs\.(\d+)\.layers\.(\d+)\.conv\.(\w+)", r"encoder.RDBs.\1.convs.\2.conv.0.\3"),
    (r"rdbs\.(\d+)\.lff\.(\w+)", r"encoder.RDBs.\1.LFF.\2"),
    (r"gff\.([01])\.(\w+)", r"encoder.GFF.\1.\2"),
    (r"(imnet\.layers\.\d+\.\w+)", r"\1"),
)
# Of the up-sampler that LIIF does not use; present if a version kept the whole encoder.
_UNUSED = re.compile(r"(upsample|upscale|conv_last|output)\.")


class OpenMmlabLiifConverter:
    """``generator.*`` keys, in a ``state_dict`` entry or bare."""

    name = "LIIF of OpenMMLab"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        inner = value.get("state_dict", value) if isinstance(value, dict) else None
        state = as_state_dict(inner)
        if state is None or not any(key.startswith("generator.imnet.") for key in state):
            return None
        unused = [str(key) for key in value if key != "state_dict"] if inner is not value else []
        blocks = len({key for key in state if re.search(r"body\.\d+\.conv1\.weight$", key)})
        tensors: dict[str, Any] = {}
        for key, item in state.items():
            ours = self._rename(key, blocks)
            if ours is None:
                unused.append(key)
            elif ours in tensors:
                raise WeightsError(f"holds {ours} twice")
            else:
                tensors[ours] = item
        draft = infer(tensors, unused)
        rdn = draft.config["encoder_spec"]["name"] == "rdn"
        draft.normalisation = LIIF_NORMALISATION if rdn else _EDSR_NORMALISATION
        draft.notes.append("OpenMMLab's names were mapped by its source code; "
                           f"{'LIIF' if rdn else 'DIV2K mean'} normalisation assumed")
        return draft

    @staticmethod
    def _rename(key: str, blocks: int) -> str | None:
        """Our key, the same key where we know none, or None for what LIIF does not use."""
        short = key.removeprefix("generator.").removeprefix("encoder.")
        if not key.startswith("generator.") or _UNUSED.match(short):
            return None
        last = re.fullmatch(r"conv_after_body\.(\w+)", short)
        if last:
            return f"encoder.body.{blocks}.{last.group(1)}"
        for pattern, ours in _RULES:
            if re.fullmatch(pattern, short):
                return re.sub(pattern, ours, short)
        return key
