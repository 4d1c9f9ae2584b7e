"""Networks of `restore vsr`: where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.jobs import networks
from restore_cli.nets.vsr import shapes

TASK = "vsr"


@dataclass
class Loaded:
    """A network ready to run.

    Attributes:
        name: for messages and records.
        path: the weight file.
        config: as the registry built it, with its defaults.
        network: the `nets.vsr.model.Vsr`.
        device: what it computes on, "cpu" or "cuda:N".
    """

    name: str
    path: Path
    config: dict[str, Any]
    network: Any
    device: str = "cpu"
    _quick: dict[tuple[bool, bool], Any] = field(default_factory=dict, init=False, repr=False)

    def quick(self) -> Any:
        """The network as `nets.vsr.quick.Quick`, made once for each of the forms that it has on
        this device; its weights must not change then."""
        import jittor as jt

        from restore_cli.nets.ops import chain, precision
        from restore_cli.nets.vsr.quick import Quick

        with jt.no_grad():
            form = chain.usable(), precision.chosen()
            if form not in self._quick:
                self._quick[form] = Quick(self.network)
        return self._quick[form]

    @property
    def fused(self) -> bool:
        """Whether residual blocks and the flow network's decoders run as CPU operators."""
        from restore_cli.nets.ops import chain, unet_operator

        return self.config["n_feat"] % chain.GROUP == 0 and unet_operator.available()


def find(model: str | None, weights: str | Path | None, console: Console) -> Path:
    """The weight file that `--model` or `--weights` means; neither: the default.

    Raises:
        UsageError: both are given.
        WeightsError: unknown, missing, or cannot be fetched.
    """
    return networks.find(model, weights, TASK, console)


def load(path: Path, *, device: str = "auto", threads: int | None = None,
         console: Console | None = None) -> Loaded:
    """Reads a weight file, starts the engine and builds the network.

    Raises:
        WeightsError: the file is damaged or of another kind.
        DeviceError: the engine cannot start.
    """
    from restore_cli.runtime import engine
    from restore_cli.weights import files

    weights = files.read(path)
    if weights.arch != shapes.NAME:
        raise WeightsError(f"holds a network of type '{weights.arch}', which does not enlarge "
                           "films", path=path, hint=f"See 'restore weights list --task {TASK}'")
    try:
        config = shapes.complete(weights.config)
    except WeightsError as error:
        error.path = error.path or path
        raise
    if config["HR_in"] or config["n_colors"] != 3:
        raise WeightsError("holds a network for frames that are enlarged already (HR_in), or not "
                           "in colour", path=path, hint="Use weights of the plain form")
    started = engine.start(device, threads, console=console)
    from restore_cli.nets import registry

    network = registry.build(weights.arch, config)
    network.load_state_dict(weights.tensors)
    network.eval()
    return Loaded(path.stem, path, config, network, started.device)
