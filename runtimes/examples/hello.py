"""Greets: {"name": "Ada"} gives {"hello": "Ada"}."""


def main(args):
    return {"hello": args.get("name") or "world"}
