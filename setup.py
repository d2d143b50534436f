"""What depends on the address in _config.yml: the project's links, and those of the README where an index shows it."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


def address():
    """The repository's ``(url, branch)``, the url empty where none is set."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    block = re.search(r"^repository:\n((?:[ ]+.*\n)+)", text, re.M).group(1)
    return tuple(re.search(rf"^ +{key}: *\"?([^\"\s]*)", block, re.M).group(1) for key in ("url", "branch"))


def portable(readme, url, branch):
    """The README with links to files made absolute or, where there is no address, left out and their text kept."""

    def link(found):
        mark, text, path = found.groups()
        if "://" in path or path.startswith("#"):
            return found.group(0)
        return f"{mark}[{text}]({url}/{'raw' if mark else 'blob'}/{branch}/{path})" if url else text

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, readme)


if __name__ == "__main__":
    url, branch = address()
    urls = {"Repository": url, "Changelog": f"{url}/blob/{branch}/CHANGELOG.md", "Issues": f"{url}/issues"}
    setup(
        long_description=portable((ROOT / "README.md").read_text(encoding="utf-8"), url, branch),
        long_description_content_type="text/markdown",
        project_urls=urls if url else {},
    )
