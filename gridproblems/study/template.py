"""The page of a report: style and script around its parts."""

from __future__ import annotations

#: Digits of base 85: those of RFC 1924 with a comma in place of "<", which may begin a tag.
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src @HASHES@; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; \
form-action 'none'">
@REFRESH@<link rel="icon" href="data:,">
<title>@TITLE@</title>
<style>@STYLE@</style>
</head>
<body>
<main>
@BODY@
</main>
<script type="text/plain" id="figures">@FIGURES@</script>
<script type="text/plain" id="plotly">@PLOTLY@</script>
<script>@SCRIPT@</script>
</body>
</html>
"""

#: What stands there before the first run has finished.
WAITING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'">
@REFRESH@
<title>Study</title>
</head>
<body>
<p>@WORDS@</p>
</body>
</html>
"""

STYLE = """
:root { --ink: #1c2430; --soft: #5a6575; --paper: #ffffff; --card: #f5f7fa; --line: #dde3ea;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #a3adba; --paper: #14181e; --card: #1e242c; --line: #343c47;
    --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.6rem; padding-top: 0.8rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1.02rem; margin: 1.6rem 0 0.1rem; overflow-wrap: anywhere; }
p { margin: 0.4rem 0 0.8rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: 0.9rem; }
.verdict { font-size: 1.12rem; background: var(--card); border-left: 4px solid var(--accent);
  border-radius: 6px; padding: 0.9rem 1.1rem; }
.note { border-left: 4px solid #d55e00; padding: 0.2rem 0.9rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1rem; font-size: 0.92rem; }
a { color: var(--accent); }
.scroll { overflow-x: auto; margin: 0.6rem 0 1rem; }
.tall { max-height: 26rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 600; background: var(--paper); }
th.text, td.text { text-align: left; }
.cards th { white-space: normal; }
.cards td.text { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
td.long { white-space: normal; min-width: 18rem; }
thead th { position: sticky; top: 0; }
tr.best td { font-weight: 700; }
.chart { width: 100%; min-height: 160px; }
img { max-width: 100%; border-radius: 6px; background: #ffffff; }
pre { background: var(--card); border-radius: 6px; padding: 0.8rem; overflow-x: auto;
  font-size: 0.85rem; }
.verdict p { margin: 0.2rem 0; }
@media (max-width: 600px) {
  h1 { font-size: 1.4rem; }
  .cards :is(table, thead, tbody, tr, td) { display: block; }
  .cards thead { position: absolute; left: -9999px; }
  .cards tr { border-bottom: 1px solid var(--line); padding: 0.4rem 0; }
  .cards :is(td, td.text) { display: flex; justify-content: space-between; gap: 1rem; border: 0;
    padding: 0.1rem 0; white-space: normal; text-align: right; overflow-wrap: anywhere;
    min-width: 0; }
  .cards td::before { content: attr(data-name); color: var(--soft); text-align: left;
    overflow-wrap: normal; flex-shrink: 0; max-width: 55%; }
  .cards td:first-child { font-weight: 700; }
  .tall :is(th, td) { padding: 0.2rem 0.4rem; font-size: 0.8rem; } }
summary { cursor: pointer; color: var(--accent); margin: 0.6rem 0; }
"""

SCRIPT = """
const DIGITS = '@DIGITS@';
async function unpacked(id) {
  // five characters of base 85 are four bytes; what they make is deflated text
  const packed = document.getElementById(id).textContent;
  const bytes = new Uint8Array(Math.ceil(packed.length / 5) * 4);
  const values = new Uint8Array(128);
  for (let i = 0; i < 85; i++) values[DIGITS.charCodeAt(i)] = i;
  for (let at = 0, to = 0; at < packed.length; at += 5) {
    let word = 0;
    for (let i = at; i < at + 5; i++) {
      word = word * 85 + (i < packed.length ? values[packed.charCodeAt(i)] : 84);
    }
    for (let shift = 16777216; shift >= 1; shift /= 256) {
      bytes[to++] = Math.floor(word / shift) % 256;
    }
  }
  const missing = (5 - packed.length % 5) % 5;
  const whole = new Blob([bytes.subarray(0, bytes.length - missing)]).stream();
  return new Response(whole.pipeThrough(new DecompressionStream('deflate'))).text();
}
function theme() {
  const style = getComputedStyle(document.documentElement);
  return { ink: style.getPropertyValue('--ink').trim(),
           line: style.getPropertyValue('--line').trim(),
           paper: style.getPropertyValue('--paper').trim() };
}
function themed(figure) {
  const colours = theme();
  const text = JSON.stringify(figure).replaceAll('"<ink>"', JSON.stringify(colours.ink));
  const copy = JSON.parse(text);
  const narrow = window.innerWidth < 600;
  const layout = Object.assign({}, copy.layout, {
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', autosize: true,
    font: { color: colours.ink, size: narrow ? 11 : 13, family: 'inherit' },
    margin: { l: narrow ? 52 : 70, r: narrow ? 8 : 20, t: 8, b: 48 },
    legend: { orientation: 'h', x: 0, xref: 'container', y: 0, yref: 'container',
              yanchor: 'bottom' },
    hoverlabel: { align: 'left', namelength: -1 }, dragmode: narrow ? false : 'zoom' });
  for (const axis of ['xaxis', 'yaxis']) {
    layout[axis] = Object.assign({ gridcolor: colours.line, zeroline: false, automargin: true },
                                 layout[axis]);
  }
  return { data: copy.data, layout: layout };
}
let FIGURES = {};
function draw() {
  return Promise.all(Object.entries(FIGURES).map(([id, figure]) => {
    const { data, layout } = themed(figure);
    const options = { responsive: true, displaylogo: false,
      displayModeBar: window.innerWidth < 600 ? false : 'hover',
      modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d'] };
    return Plotly.react(id, data, layout, options);
  })).then(() => { document.body.dataset.drawn = Object.keys(FIGURES).length; });
}
async function start() {
  if (typeof DecompressionStream === 'undefined') {
    for (const chart of document.querySelectorAll('.chart')) {
      chart.textContent = 'The charts need a browser of 2023 or later.';
    }
    return;
  }
  FIGURES = JSON.parse(await unpacked('figures'));
  const library = document.createElement('script');
  library.textContent = await unpacked('plotly');
  document.head.append(library);
  await draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}
start();
""".replace("@DIGITS@", DIGITS)
