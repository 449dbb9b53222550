"""Which images the container tests can have: true on any machine, also where no engine can be started."""

from tests.containers.conftest import named_images
from tests.containers.stand_ins import RECIPES


def test_every_image_that_is_not_ours_has_a_stand_in_but_grafanas() -> None:
    named = {image.partition(":")[0] for image in named_images()}
    assert named - set(RECIPES) == {"tickwire", "grafana/grafana"}
    assert set(RECIPES) <= named


def test_every_image_is_named_with_a_version() -> None:
    assert [image for image in named_images() if not image.partition(":")[2].strip("v")[:1].isdigit()] == []
