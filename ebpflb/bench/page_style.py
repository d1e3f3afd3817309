"""The frame and the look of the page: text without any file, font or script from elsewhere.

title, body --PAGE--> HTML
"""

from string import Template
from typing import Final

PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #202124; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #dadce0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #e8eaed; vertical-align: top; }
td:not(:last-child) { white-space: nowrap; }
tr.met td:nth-child(4) { color: #1e6b34; }
tr.missed td:nth-child(4), li.missed, p.missed { color: #b3261e; font-weight: 600; }
tr.unmeasured td:nth-child(4), li.unmeasured { color: #7a5900; font-weight: 600; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { max-width: 56rem; }
summary { cursor: pointer; color: #1a56b0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .9rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f1f3f4; padding: .8rem; overflow-x: auto; }
</style>
</head>
<body>
$body
</body>
</html>
""")
