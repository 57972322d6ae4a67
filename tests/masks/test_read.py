import sys
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import UsageError
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.read import read_mask
from tests.masks.stacks import stack

_PLANES = stack(np.arange(3.0))


def test_without_nibabel_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nibabel", "nibabel.nifti1", "nibabel.nifti2"):
        monkeypatch.setitem(sys.modules, name, None)
    start = (348).to_bytes(4, "little").ljust(344, b"\0") + b"n+1\0"
    (tmp_path / "mask.nii").write_bytes(start.ljust(1000, b"\0"))
    with pytest.raises(UsageError, match=r"pip install 'ich-tf\[masks\]'"):
        read_mask(tmp_path / "mask.nii", "auto", ClassMap(), _PLANES)


def test_errors_that_nobody_foresaw_are_reasons_and_quote_nothing(tmp_path: Path) -> None:
    for format_ in ("nifti", "dicom_seg", "rtstruct", "auto"):
        with pytest.raises(MaskError, match="cannot be read") as error:
            read_mask(tmp_path / "Jane Doe", format_, ClassMap(), _PLANES)
        assert error.value.reason is MaskReason.MASK_UNREADABLE
        assert "Doe" not in str(error.value)
