"""`python -m services.gateway`: one gateway, configured by the environment."""

from collections.abc import Iterable

from services.gateway.app import GatewayApp
from services.gateway.port_settings import PortSettings
from services.gateway.settings import GatewaySettings
from shared.identity import AuthSettings
from shared.lifecycle import run_service


def _together(settings: GatewaySettings, auth: AuthSettings, _port: PortSettings) -> Iterable[str]:
    return auth.demands() if settings.auth_mode == "required" else ()


if __name__ == "__main__":
    run_service("gateway", (GatewaySettings, AuthSettings, PortSettings), GatewayApp, _together)
