"""Sleeps: {"sleep_ms": 250} gives {"slept_ms": 250} a quarter of a second later."""

import time


def main(args):
    sleep_ms = args.get("sleep_ms", 0)
    time.sleep(sleep_ms / 1000)
    return {"slept_ms": sleep_ms}
