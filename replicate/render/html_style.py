"""The style sheet of the HTML page: rules as in print, colours from one set of variables per scheme."""

STYLE = """\
:root {
  --ink: #1d1f23; --faint: #5d636e; --line: #c9cdd4; --page: #ffffff;
  --good: #14733b; --bad: #b3261e; --open: #8a5a00; --warn-page: #fff4d6; --warn-line: #d19a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e8ec; --faint: #a0a7b4; --line: #454b57; --page: #16181c;
    --good: #6fd08c; --bad: #ff8a80; --open: #f0b957; --warn-page: #33290f; --warn-line: #c79514;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem; }
caption, .banner, .notes, footer { overflow-wrap: anywhere; }
.banner { margin: 0 0 1.5rem; padding: .7rem 1rem; background: var(--warn-page);
  border-left: 4px solid var(--warn-line); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink);
  margin: 0 auto; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .8rem; }
th, td { padding: .25rem .7rem; text-align: center; white-space: nowrap; font-weight: normal; }
td b { font-weight: 700; }
thead th { vertical-align: bottom; }
thead tr:last-child > *, thead .label { padding-bottom: .45rem; }
tbody tr:first-child > *, tr.rule > * { border-top: 1px solid var(--ink); }
.spanner span { display: block; border-bottom: 1px solid var(--line); padding-bottom: .15rem; }
.label, .group { text-align: left; }
.label { position: sticky; left: 0; background: var(--page); }
.edge { padding-left: 1.6rem; }
td small, .paper, .pending, .paper-only { color: var(--faint); }
td small { font-size: .75em; }
.paper { font-size: .8em; line-height: 1.25; }
.running { color: var(--open); }
.failed { color: var(--bad); }
i { font-style: normal; font-weight: 700; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
sup { line-height: 0; font-size: .7em; }
.notes { margin-top: 1rem; }
.notes p { margin: .2rem 0; }
.notes, footer { font-size: .85rem; color: var(--faint); }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
.claims, .facts { width: 100%; border-top-width: 1px; border-bottom-width: 1px; font-size: .92rem; }
.claims th, .claims td, .facts th, .facts td { text-align: left; vertical-align: top; }
.claims tbody th { white-space: normal; min-width: 12rem; }
.facts { font-size: .82rem; }
.facts td:nth-child(3) { white-space: normal; min-width: 16rem; }
details { margin: 2rem 0 1rem; }
summary { cursor: pointer; margin-bottom: .6rem; }
@media (max-width: 40rem) {
  main { padding: 1rem .75rem; }
  body { font-size: 15px; }
  th, td { padding: .25rem .45rem; }
  .edge { padding-left: .9rem; }
  caption { max-width: calc(100vw - 1.5rem); }
  tbody .label, thead .label { white-space: normal; min-width: 7.5rem; max-width: 9rem; }
}
@media print {
  :root { --ink: #000; --faint: #333; --line: #888; --page: #fff; --good: #000; --bad: #000; --open: #000;
    --warn-page: #fff; --warn-line: #000; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
}
"""
