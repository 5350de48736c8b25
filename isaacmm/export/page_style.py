"""How report.html looks."""

CSS = """
:root { color-scheme: light; --ink: #26323d; --soft: #66737f; --line: #dfe5e9; --accent: #2a7f9e; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
img, video { display: block; max-width: 100%; margin: .8rem 0; border-radius: 6px; }
video { width: 100%; max-height: 32rem; background: #eef1f3; object-fit: contain; }
table { border-collapse: collapse; }
th, td { padding: .22rem .9rem .22rem 0; text-align: left; font-weight: normal; vertical-align: top; }
th { color: var(--soft); }
tbody tr { border-top: 1px solid var(--line); }
.numbers th:first-child { color: var(--ink); }
.numbers td { font-variant-numeric: tabular-nums; text-align: right; }
.numbers td:nth-child(2) { font-weight: 600; }
.numbers td:last-child { text-align: left; color: var(--soft); }
.numbers thead th { text-align: right; }
.file { margin: 1.1rem 0; }
.file p { margin: .2rem 0; }
.warning { border-left: 3px solid #d0763f; padding-left: .8rem; }
a { color: var(--accent); text-decoration: none; margin-right: .6rem; }
a:hover { text-decoration: underline; }
code, pre { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: #f4f6f7;
  border-radius: 4px; }
code { padding: .1em .3em; overflow-wrap: anywhere; }
pre { padding: .7rem .9rem; overflow-x: auto; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; color: var(--soft); }
summary { cursor: pointer; color: var(--accent); margin-top: .8rem; }
"""
