"""File descriptors: as many as are allowed, four fifths of them for clients."""

import resource

import pytest

from services.gateway.open_files import raise_limit, sockets_for


def test_the_limit_is_raised_to_what_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
        assert raise_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_which: int, _limits: tuple[int, int]) -> None:
        raise OSError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize(("files", "sockets"), [(256, 204), (1_024, 819), (resource.RLIM_INFINITY, 0)])
def test_a_fifth_is_left_for_redis_and_the_rest(files: int, sockets: int) -> None:
    assert sockets_for(files) == sockets
