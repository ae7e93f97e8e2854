"""What the live feed counts, in plain numbers, and shows when it is asked."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_COUNTERS = (
    ("frames", "hft_feed_frames", "messages that came", "channel"),
    ("rejected", "hft_feed_rejected", "what was refused, by its reason", "reason"),
    ("reconnects", "hft_feed_reconnects", "connections made again", "channel"),
    ("resyncs", "hft_feed_book_resyncs", "books begun again after a gap", "symbol"),
    ("backfilled", "hft_feed_backfilled_trades", "missed trades fetched by id", "symbol"),
    ("weight", "hft_feed_request_weight", "request weight spent", "scope"),
)


class Figures:
    """Counts since the start of the process; the feed's thread alone writes."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.reconnects: Counter[str] = Counter()
        self.resyncs: Counter[str] = Counter()
        self.backfilled: Counter[str] = Counter()
        self.weight: Counter[str] = Counter()
        self.ban_s = self.waited_s = self.paused_s = 0.0
        self.clock_offset_s = 0.0
        self.quote_age_s: dict[str, float] = {}

    def collect(self) -> Iterator[Metric]:
        """Everything as Prometheus wants it."""
        for name, metric, text, label in _COUNTERS:
            counter = CounterMetricFamily(metric, text, labels=[label])
            for key, count in sorted(dict(getattr(self, name)).items()):
                counter.add_metric([key], count)
            yield counter
        yield CounterMetricFamily(
            "hft_feed_ban_seconds", "how long the venue wanted no request", value=self.ban_s
        )
        yield CounterMetricFamily(
            "hft_feed_paused_seconds", "waited for the line to take events", value=self.paused_s
        )
        yield GaugeMetricFamily(
            "hft_feed_clock_offset_seconds", "venue's clock ahead of ours", self.clock_offset_s
        )
        ages = GaugeMetricFamily("hft_feed_quote_age_seconds", "since a quote", labels=["symbol"])
        for symbol, age_s in sorted(dict(self.quote_age_s).items()):
            ages.add_metric([symbol], age_s)
        yield ages
