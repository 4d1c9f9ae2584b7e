"""What must hold for every file that the checkpoint reader refuses."""

from __future__ import annotations

import pytest

from restore_cli.errors import ExitStatus, WeightsError
from restore_cli.weights.torch_file import TorchFile, plain


def refused(path, message=None):
    """Opening and reading everything in `path` fails with a WeightsError that names it."""
    with pytest.raises(WeightsError, match=message) as caught:
        with TorchFile(path) as file:
            for key in file.value if isinstance(file.value, dict) else ():
                file.array(file.value[key])
            if not isinstance(file.value, dict):
                plain(file.value)
    assert caught.value.status == ExitStatus.WEIGHTS
    return caught.value
