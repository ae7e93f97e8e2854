"""The report of a run: `render` gives one HTML file, `write_report` puts it in its place."""

from hft_lib.backtest.report.page import render, verdict_text, write_report

__all__ = ["render", "verdict_text", "write_report"]
