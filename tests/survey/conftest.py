"""The fixture that lays a made-up host out and surveys it."""

import shutil

import pytest

from mmmodel.survey import survey
from tests.linux.conftest import write_tree


@pytest.fixture
def host(tmp_path):
    """Lays a tree out and surveys it: `host({file: content}, …)`."""

    def made(*parts, advice=False):
        shutil.rmtree(tmp_path / "h", ignore_errors=True)
        files = {}
        for part in parts:
            files |= part
        return survey(str(write_tree(tmp_path / "h", files)), advice=advice)

    return made
