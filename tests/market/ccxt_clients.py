"""ccxt's own clients, pointed at the market."""

from typing import Any

import ccxt
import ccxt.pro

from tests.market.server import Market

OPTIONS = {
    "defaultType": "spot",
    "fetchCurrencies": False,
    "fetchMargins": False,
    "fetchMarkets": {"types": ["spot", "linear"]},
    "adjustForTimeDifference": True,
    "maxRetriesOnFailure": 0,
}
REST_PATHS = {
    "public": "/api/v3",
    "private": "/api/v3",
    "v1": "/api/v1",
    "fapiPublic": "/fapi/v1",
    "fapiPublicV2": "/fapi/v2",
    "fapiPublicV3": "/fapi/v3",
    "fapiPrivate": "/fapi/v1",
    "fapiData": "/futures/data",
}


def pointed(client: Any, market: Market) -> Any:
    """A client whose addresses are the market's."""
    for name, path in REST_PATHS.items():
        client.urls["api"][name] = market.rest_url + path
    if "ws" in client.urls["api"]:
        client.urls["api"]["ws"] |= {
            "spot": market.ws_url + "/stream/ws",
            "linear": market.ws_url + "/ws",
        }
    return client


def blocking(market: Market) -> Any:
    """The client that blocks."""
    return pointed(ccxt.binance({"options": OPTIONS, "enableRateLimit": False}), market)


def streaming(market: Market) -> Any:
    """The client with streams."""
    return pointed(ccxt.pro.binance({"options": OPTIONS, "enableRateLimit": False}), market)
