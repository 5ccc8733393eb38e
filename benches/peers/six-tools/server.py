"""The six tools on FastMCP (PyPI fastmcp): `python server.py PORT`."""

import re
import sys

from fastmcp import FastMCP

mcp = FastMCP("six-tools")


@mcp.tool
def add(a: float, b: float) -> str:
    """Adds two numbers."""
    return str(a + b)


@mcp.tool
def echo(text: str) -> str:
    """Gives a text back."""
    return text


@mcp.tool
def slugify(text: str) -> str:
    """Makes a text fit for a URL."""
    return "-".join(filter(None, re.split(r"[^a-z0-9]+", text.lower())))


@mcp.tool
def mean(values: list[float]) -> str:
    """Averages numbers."""
    return str(sum(values) / len(values))


@mcp.tool
def count_words(text: str) -> str:
    """Counts the words of a text."""
    return str(len(text.split()))


@mcp.tool
def sort_lines(text: str) -> str:
    """Sorts the lines of a text."""
    return "\n".join(sorted(text.split("\n")))


mcp.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", json_response=True, show_banner=False, log_level="error")
