"""What an instrument is listed as: market, assets, filters, how its prices are written."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

Venue = Literal["spot", "usdm"]
Kind = Literal["trade", "aggTrade", "quote", "depth", "mark", "contract"]
Key = tuple[Venue, str]
Payload = dict[str, Any]

VENUES: tuple[Venue, ...] = ("spot", "usdm")
# Prices are counted in units of 1e-8, as integers: exact, and cheap to shift.
UNIT = 100_000_000
NEVER_MS = 4_133_404_800_000
ONBOARD_MS = 1_569_398_400_000
QUOTES = ("USDT", "USDC", "FDUSD", "BTC", "ETH")


def units(price: str) -> int:
    """A price as whole units of 1e-8."""
    return round(float(price) * UNIT)


@dataclass(frozen=True)
class Listing:
    """One instrument as `exchangeInfo` tells it; a change of filters makes a new one."""

    venue: Venue
    symbol: str
    tick_size: str
    step_size: str
    min_notional: str
    status: str = "TRADING"

    @property
    def key(self) -> Key:
        """What names the instrument: a symbol alone is in both markets."""
        return self.venue, self.symbol

    @property
    def assets(self) -> tuple[str, str]:
        """Base and quote."""
        for quote in QUOTES:
            if self.symbol.endswith(quote) and self.symbol != quote:
                return self.symbol.removesuffix(quote), quote
        raise ValueError(f"the quote asset of {self.symbol} is none of {QUOTES}")

    @cached_property
    def digits(self) -> int:
        """How many digits after the point a price is written with."""
        if self.venue == "spot":
            return 8
        return max(2, len(self.tick_size.rstrip("0").partition(".")[2]))

    def written(self, price: int) -> str:
        """Units of 1e-8 as the exchange writes the price."""
        return f"{price / UNIT:.{self.digits}f}"

    def halted(self) -> bool:
        """Whether it does not trade."""
        return self.status != "TRADING"

    def changed(self, **changes: Any) -> "Listing":
        """The listing with other filters or another status."""
        return replace(self, **changes)

    def info(self) -> Payload:
        """The entry of `exchangeInfo`."""
        return self.spot_info() if self.venue == "spot" else self.perpetual_info()

    def spot_info(self) -> Payload:
        """The entry of `/api/v3/exchangeInfo`."""
        base, quote = self.assets
        return {
            "symbol": self.symbol,
            "status": self.status,
            "baseAsset": base,
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT"],
            "icebergAllowed": True,
            "ocoAllowed": True,
            "quoteOrderQtyMarketAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": True,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": self.tick_size,
                    "maxPrice": "1000000.00000000",
                    "tickSize": self.tick_size,
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": self.step_size,
                    "maxQty": "9000.00000000",
                    "stepSize": self.step_size,
                },
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": "0.00000000",
                    "maxQty": "120.00000000",
                    "stepSize": "0.00000000",
                },
                {
                    "filterType": "NOTIONAL",
                    "minNotional": self.min_notional,
                    "applyMinToMarket": True,
                    "maxNotional": "9000000.00000000",
                    "applyMaxToMarket": False,
                    "avgPriceMins": 5,
                },
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            ],
            "permissions": ["SPOT", "MARGIN"],
            "permissionSets": [["SPOT", "MARGIN"]],
        }

    def perpetual_info(self) -> Payload:
        """The entry of `/fapi/v1/exchangeInfo`."""
        base, quote = self.assets
        return {
            "symbol": self.symbol,
            "pair": self.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": NEVER_MS,
            "onboardDate": ONBOARD_MS,
            "status": self.status,
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": base,
            "quoteAsset": quote,
            "marginAsset": quote,
            "pricePrecision": self.digits,
            "quantityPrecision": len(self.step_size.rstrip("0").partition(".")[2]),
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": ["PoW"],
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012500",
            "marketTakeBound": "0.05",
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": self.tick_size,
                    "maxPrice": "1000000",
                    "tickSize": self.tick_size,
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": self.step_size,
                    "maxQty": "1000",
                    "stepSize": self.step_size,
                },
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": self.step_size,
                    "maxQty": "120",
                    "stepSize": self.step_size,
                },
                {"filterType": "MAX_NUM_ORDERS", "limit": 200},
                {"filterType": "MIN_NOTIONAL", "notional": self.min_notional},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": "1.0500",
                    "multiplierDown": "0.9500",
                    "multiplierDecimal": "4",
                },
            ],
            "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        }


def spot(symbol: str, tick_size: str = "0.01000000", step_size: str = "0.00001000") -> Listing:
    """A spot pair."""
    return Listing("spot", symbol, tick_size, step_size, "5.00000000")


def perpetual(symbol: str, tick_size: str = "0.10", step_size: str = "0.001") -> Listing:
    """A USDⓈ-M perpetual."""
    return Listing("usdm", symbol, tick_size, step_size, "100")
