"""What is said of a Redis URL that is none."""

import pytest

from services.launcher.errors import LauncherError
from services.launcher.redis_url import open_bus


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost:6379", "redis://localhost:port"])
def test_a_wrong_url_is_answered_with_how_to_write_one(url):
    with pytest.raises(LauncherError, match="REDIS_URL cannot be used") as caught:
        open_bus(url, "test")
    assert "redis://host:6379" in caught.value.hint


async def test_a_right_one_opens_without_connecting():
    await open_bus("redis://127.0.0.1:1", "test").close()
