"""The pictures of one run: as many stills as there are moments."""

import io

from PIL import Image

from mmmodel.app.primer import pictures


def width_over_height(shown):
    image = Image.open(io.BytesIO(shown.png))
    return image.width / image.height


def test_a_short_run_has_few_stills_and_no_empty_panels():
    """Three requests on four pages: each takes one, and nobody ever gets two."""
    short = pictures.run(pictures.small_path(), 3, 4, 14, 1.5e-3)
    assert short.hung
    assert short.stills().alt.startswith("A still of who holds")
    assert len(short._moments(6)) == 1
    long = pictures.run(pictures.small_path(), 8, 14, 31, 1.5e-3)
    assert long.stills().alt.startswith("6 stills of who holds")
    assert width_over_height(short.stills()) < width_over_height(long.stills())
