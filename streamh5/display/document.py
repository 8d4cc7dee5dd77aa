"""The style, a fragment for a notebook, and a page of its own.

The colours are those of Jupyter, VS Code and Sphinx where they define any; a page of its own follows the system.
"""

from __future__ import annotations

from streamh5.display.elements import escaped

_LIGHT = (
    "--sh5-ink:var(--jp-content-font-color0,var(--vscode-foreground,var(--pst-color-text-base,#212121)));"
    "--sh5-soft:var(--jp-content-font-color2,var(--vscode-descriptionForeground,var(--pst-color-text-muted,#616161)));"
    "--sh5-line:var(--jp-border-color2,var(--vscode-panel-border,var(--pst-color-border,#e0e0e0)));"
    "--sh5-data:#00739c;--sh5-good:#1b6e20;--sh5-bad:#b71c1c;--sh5-warn:#8a5300;--sh5-meta:#c2571a"
)
_DARK = (
    "--sh5-ink:var(--jp-content-font-color0,var(--vscode-foreground,var(--pst-color-text-base,#eee)));"
    "--sh5-soft:var(--jp-content-font-color2,var(--vscode-descriptionForeground,var(--pst-color-text-muted,#aaa)));"
    "--sh5-line:var(--jp-border-color2,var(--vscode-panel-border,var(--pst-color-border,#444)));"
    "--sh5-data:#5cc3ea;--sh5-good:#81c784;--sh5-bad:#ff8a80;--sh5-warn:#ffb74d;--sh5-meta:#ff9e5e"
)
_DARK_PLACES = ",".join(
    f"{place} .sh5"
    for place in (
        'html[data-theme="dark"]',
        'html[theme="dark"]',
        'body[data-theme="dark"]',
        'body[data-jp-theme-light="false"]',
        "body.vscode-dark",
    )
)

STYLE = f"""<style>
.sh5{{{_LIGHT};color:var(--sh5-ink);line-height:1.5;max-width:1000px;overflow-wrap:anywhere}}
{_DARK_PLACES}{{{_DARK}}}
.sh5 code{{background:none!important;color:inherit;padding:0!important}}
.sh5-head{{border-bottom:1px solid var(--sh5-line);padding-bottom:4px;margin-bottom:6px}}
.sh5-badge{{border:1px solid;border-radius:9px;padding:0 8px;font-size:.85em;white-space:nowrap}}
.sh5-soft{{color:var(--sh5-soft)}} .sh5-good{{color:var(--sh5-good)}}
.sh5-bad{{color:var(--sh5-bad)}} .sh5-warn{{color:var(--sh5-warn)}}
.sh5-row{{display:flex;flex-wrap:wrap;gap:8px 32px;align-items:flex-start}}
.sh5-row>div{{min-width:0}}
.sh5-wide{{overflow-x:auto}}
.sh5 table{{border-collapse:collapse;margin:4px 0;font-size:inherit;border:0;width:auto}}
.sh5 th,.sh5 td{{text-align:left!important;vertical-align:top;padding:1px 14px 1px 0;border:0;background:none}}
.sh5 td{{max-width:60ch}}
.sh5 tr{{background:none!important}}
.sh5 th{{color:var(--sh5-soft);font-weight:normal;white-space:nowrap}}
.sh5 thead th{{border-bottom:1px solid var(--sh5-line)}}
.sh5 summary{{cursor:pointer}}
.sh5 details>:not(summary){{margin-left:16px}}
.sh5 ul{{list-style:none;padding-left:18px;margin:0}}
.sh5 svg{{color:var(--sh5-data);max-width:100%;height:auto}}
.sh5 svg text{{fill:var(--sh5-soft);font:11px sans-serif}}
.sh5-note{{color:var(--sh5-soft);font-size:.85em;max-width:46ch}}
</style>"""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>{style}<style>
:root{{color-scheme:light dark}}
body{{margin:0 auto;padding:16px;max-width:1000px;font:15px/1.5 system-ui,sans-serif}}
@media (prefers-color-scheme:dark){{body{{background:#161616}}body .sh5{{{dark}}}}}
</style></head><body><div class="sh5">{body}</div></body></html>
"""


def fragment(*parts: str) -> str:
    """Return parts as one output of a notebook, with their style."""
    return f'{STYLE}<div class="sh5">{"".join(parts)}</div>'


def page(title: object, *parts: str) -> str:
    """Return parts as a page of its own."""
    return _PAGE.format(title=escaped(title), style=STYLE, dark=_DARK, body="".join(parts))
