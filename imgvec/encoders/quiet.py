"""Keeps transformers and the hub client from writing to the terminal while a model loads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

# The switches are global: of two threads, the second would take the first one's silence for the application's choice.
_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Turns off progress bars and warnings, and restores the application's settings afterwards."""
    with _lock:
        level, bars, hub_bars = (
            logging.get_verbosity(),
            logging.is_progress_bar_enabled(),
            not are_progress_bars_disabled(),
        )
        logging.set_verbosity_error()
        if bars or hub_bars:
            logging.disable_progress_bar()  # the hub client's as well
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
            if hub_bars:
                enable_progress_bars()
            elif bars:
                disable_progress_bars()
