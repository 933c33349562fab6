"""Revisions of the hub and paths inside a claim that the models and the API server both take, and others that both refuse. Not a test."""

REVISIONS = [
    "main", "1.0-rc.1", "refs/pr/1", "v1.2+cu128", "a" * 40, "global_step=1000", "feature/#12", "user@x", "a/b@c", "v2,final",
    "exp(1)", "wow!", "50%", "_x", "step-5.tmp/a+b",
]  # fmt: skip
NOT_REVISIONS = [
    "", "-x", "/x", "x/", ".x", "x.", "a..b", "a//b", "a/../b", "a/./b", "..", "a@{1}", "a b", "a\tb", "a\nb", "a\n", "a\x1bb", "a'b",
    'a"b', "a`b", "a\\b", "a$b", "a;b", "a|b", "a&b", "a<b", "a:b", "a~1", "a^", "a?b", "a*", "a[b", "@", "#a", "é", "a\u202eb",
]  # fmt: skip
WORDS = [
    "مدل\u200cها",
    "क्\u200dष",
    "\U0001f469\u200d\U0001f4bb",
    "super\u00adkalifragilistisch",
    "模型/第 1 版",
    "modèles",
]
"""Words of scripts that join or divide letters by characters without a form of their own (U+200C, U+200D, U+00AD), and others."""
MISLEADING = [
    *"\x00\x1b\x1f\x7f\x85\x9b\x9f\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff",
]
"""What makes a terminal act, breaks a line, turns it around or hides in it."""
