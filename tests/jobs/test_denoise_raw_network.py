"""What RAW weights say they know."""

from __future__ import annotations

import pytest

from restore_cli.errors import WeightsError
from restore_cli.jobs.denoise_raw_network import Knowledge
from restore_cli.jobs.denoise_raw_ratio import Span


@pytest.mark.parametrize("named,make,model", [
    ("SONY ILCE-7SM2", "SONY", "ILCE-7SM2"), ("SonyA7S2", "SONY", "ILCE-7SM2"),
    ("NIKON D850", "NIKON CORPORATION", "NIKON D850"), ("NikonD850", "Nikon", "D850"),
    ("Canon EOS R5", "Canon", "Canon EOS R5"), ("Maker Model 7", "Maker", "Model 7"),
    ("Canon EOS 550D", "", "Canon EOS 550D")])
def test_cameras_by_any_of_their_names(named, make, model):
    known = Knowledge.of({"cameras": f'["Other X1", "{named}"]', "ratios": "[100, 300]"})
    assert known.knows(make, model) and not known.knows("SONY", "ILCE-7M3")
    assert known.ratios == Span(100, 300)


def test_any_camera_and_no_camera():
    generic, silent = Knowledge.of({"cameras": '["any"]'}), Knowledge.of({})
    assert generic.knows("", "") and generic.knows("Maker", "Model")
    assert not silent.knows("Maker", "Model") and not silent.knows("", "")
    assert silent.ratios == Span(1, 300)
    assert str(generic) == "for any camera, ratios 1 to 300"


@pytest.mark.parametrize("metadata", [
    {"cameras": "any"}, {"cameras": '"any"'}, {"cameras": "[1]"}, {"ratios": "[300, 1]"},
    {"ratios": "[1]"}, {"ratios": "[0, 3]"}, {"ratios": "[1, NaN]"}, {"ratios": "100"}])
def test_nonsense_is_refused(metadata):
    with pytest.raises(WeightsError, match="make no sense"):
        Knowledge.of(metadata)
