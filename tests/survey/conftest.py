"""The fixture that lays a made-up host out and surveys it."""

import shutil

import pytest

from mmmodel.survey import survey
from tests.linux.conftest import write_tree


@pytest.fixture
def host(tmp_path):
    """Lays a tree out and surveys it: `host({file: content}, …)`; a later part replaces the files of an earlier one, or with None removes them."""

    def made(*parts, advice=False):
        shutil.rmtree(tmp_path / "h", ignore_errors=True)
        files = {}
        for part in parts:
            files |= part
        there = {name: content for name, content in files.items() if content is not None}
        return survey(str(write_tree(tmp_path / "h", there)), advice=advice)

    return made
