"""``streamh5 filters``: list the filters that can be written here."""

from __future__ import annotations

import json

from streamh5.cli.command import JSON, Command, flag, show


def _filters(*, as_json: bool, measure: bool) -> int:
    from streamh5.filters.available import available

    found = available(measure=measure)
    if as_json:
        show(json.dumps([one.to_dict() for one in found], indent=2))
        return 0
    show(f"{'number':>6}  {'name':<12}{'MB/s':>8}{'ratio':>8}  note")
    for one in found:
        speed = "-" if one.mb_per_s is None else f"{one.mb_per_s:,.0f}"
        ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
        note = one.note if one.is_writable else f"not here: {one.note}"
        show(f"{one.filter_id:>6}  {one.keyword:<12}{speed:>8}{ratio:>8}  {note}".rstrip())
    return 0


LIST_FILTERS = Command(
    _filters,
    "list the filters that can be written here, with their speed",
    "List every filter that streamh5 writes, and encode 4 MiB of noisy float32 data with each: speed of one thread in "
    "10^6 bytes per second, and ratio of raw to stored size. Exit status: 0.",
    (
        JSON,
        flag("--no-speed", "measure nothing", dest="measure", action="store_false"),
    ),
)
