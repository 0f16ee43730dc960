"""What a published book needs beside its pages: a list of them for search engines, and a top page that can be shared."""

import re

from sphinx_ext.describe import OWN

CANONICAL = re.compile(r'<link rel="canonical" href="([^"]+)"')
CARD = re.compile(r'<meta (?:property="og:|name="twitter:)[^>]*>')
NOT_LISTED = ("search.html", "genindex.html")


def finish(folder, front="book/index.html"):
    """Write ``sitemap.xml``, ``robots.txt`` and the top page, which forwards to ``front`` and carries its card."""
    addresses = []
    for path in sorted(folder.rglob("*.html")):
        if "_static" not in path.parts and path.name not in NOT_LISTED:
            addresses += CANONICAL.findall(path.read_text(encoding="utf-8"))[:1]
    if not addresses:
        return
    head = (folder / front).read_text(encoding="utf-8").partition("</head>")[0]
    canonical, own = CANONICAL.search(head), OWN.search(head)
    base = canonical[1].removesuffix(front)
    entries = "".join(f"  <url><loc>{address}</loc></url>\n" for address in addresses)
    (folder / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n',
        encoding="utf-8",
    )
    (folder / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n", encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", head, re.S)[1].strip()
    tags = [f'<meta name="description" content="{own[1]}" />', *CARD.findall(head)]
    (folder / "index.html").write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        f'<meta http-equiv="Refresh" content="0; url={front}" />\n'
        f"<title>{title}</title>\n{canonical[0]} />\n" + "\n".join(tags) + "\n</head>\n"
        f'<body><a href="{front}">{title}</a></body>\n</html>\n',
        encoding="utf-8",
    )
