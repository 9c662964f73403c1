"""Makes crates/cloud/src/access/password/blocklist.bin: which passwords are never accepted.

Usage: blocklist.py DJANGO_WHEEL ZXCVBN_WHEEL (from PyPI: `pip download --no-deps django zxcvbn`).
Sources: Django's 20,000 common passwords (BSD-3-Clause) and zxcvbn's lists of passwords, names and words (MIT), and the
entries of blocklist.txt beside the result. Kept are the first five bytes of the SHA-256 of each entry (lower case, NFC),
sorted: no word of a list is in the program, and one acceptable password in ten million is refused by chance.
"""

import ast
import gzip
import hashlib
import pathlib
import sys
import unicodedata
import zipfile

HERE = pathlib.Path(__file__).parent.parent / "crates/cloud/src/access/password"

django, zxcvbn = (zipfile.ZipFile(path) for path in sys.argv[1:3])
words = set(gzip.decompress(django.read("django/contrib/auth/common-passwords.txt.gz")).decode().split("\n"))
tree = ast.parse(zxcvbn.read("zxcvbn/frequency_lists.py").decode())
for node in ast.walk(tree):
    # Each list is one text split at its commas, or a list of texts.
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        words.update(node.value.split(","))
words.update((HERE / "blocklist.txt").read_text().split("\n"))
words = {unicodedata.normalize("NFC", word.strip().lower()) for word in words}
hashes = {hashlib.sha256(word.encode()).digest()[:5] for word in words if len(word) >= 4}
(HERE / "blocklist.bin").write_bytes(b"".join(sorted(hashes)))
print(len(hashes), "entries")
