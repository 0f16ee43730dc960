"""What search engines and whoever shares an address get: descriptions, cards, a list of pages."""

import html
import re
import struct

import pytest

import book.browser as browser
import stamp
from workings.runs import checkout

HTML = browser.HTML
PAGES = browser.pages()
BASE = stamp.site(checkout.address())


def head(page):
    return page.read_text().partition("</head>")[0]


def card(page):
    return dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[\w:]+)" content="([^"]*)"', head(page)))


@pytest.mark.parametrize("page", [HTML / "index.html", *PAGES], ids=lambda p: p.stem)
def test_a_page_has_one_address_one_description_and_a_card(page):
    tags = card(page)
    described = re.findall(r'<meta [^>]*name="description"[^>]*>', head(page))
    assert len(described) == 1
    words = html.unescape(re.search(r'content="([^"]*)"', described[0])[1])
    assert 40 <= len(words) <= 220 and words == html.unescape(tags["og:description"])
    shown = HTML / "book" / "index.html" if page == HTML / "index.html" else page
    address = BASE + shown.relative_to(HTML).as_posix()
    assert tags["og:url"] == address
    assert re.findall(r'<link rel="canonical" href="([^"]+)"', head(page)) == [address]
    assert tags["og:title"] and "<" not in tags["og:title"] and tags["og:site_name"] == "Workings"
    assert tags["og:image"] == BASE + "_static/card.png" and tags["twitter:card"] == "summary_large_image"


def test_no_two_pages_have_the_same_description():
    said = [card(page)["og:description"] for page in PAGES]
    assert len(said) == len(set(said)) >= 10


def test_the_card_is_a_light_png_of_the_size_that_its_tags_state():
    picture = (HTML / "_static" / "card.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 100_000
    size = struct.unpack(">II", picture[16:24])
    assert size == (1200, 630)
    assert size == tuple(int(card(PAGES[0])[f"og:image:{side}"]) for side in ("width", "height"))


def test_the_sitemap_lists_every_page_once_and_robots_txt_leads_to_it():
    listed = re.findall(r"<loc>([^<]+)</loc>", (HTML / "sitemap.xml").read_text())
    assert sorted(listed) == sorted(BASE + page.relative_to(HTML).as_posix() for page in PAGES)
    assert f"Sitemap: {BASE}sitemap.xml" in (HTML / "robots.txt").read_text()


def test_the_top_page_forwards():
    assert 'content="0; url=book/index.html"' in (HTML / "index.html").read_text()


def test_the_published_address_follows_the_repositorys():
    assert stamp.site("https://github.com/Someone/Else") == "https://someone.github.io/Else/"
    assert stamp.site("https://github.com/someone/someone.github.io") == "https://someone.github.io/"
    assert stamp.site("https://gitlab.com/a/b") == "https://a.gitlab.io/b/"
    assert stamp.site("https://example.org/a/b") == '""'
    config = "html:\n  baseurl: https://old/\n  favicon: x\n"
    assert "  baseurl: https://a.github.io/b/\n  favicon: x" in stamp.stamped(config, "https://github.com/a/b", "v1")


def test_the_published_address_stands_in_one_file_only():
    root = checkout.root()
    folders = [*root.glob("tools/**/*.py"), *root.glob("book/*.*"), *root.glob("lib/**/*.py"), *root.glob("*.yml")]
    found = [path.name for path in folders if path.is_file() and BASE in path.read_text(errors="replace")]
    assert found == ["_config.yml"]
