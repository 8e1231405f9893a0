"""Random calls of every public function, well-formed and hostile, and what must hold of each.

`draws` has the random values and the twists, `targets` every public function, `recipes` a
well-formed call of each, `calls` makes call number n of a seed, runs it and validates what comes of
it; ``python -m fuzz``, run in ``tests/``, does that by the thousand in child processes, so that a
crash or a hang names its call. ``python -m fuzz.growth`` looks for memory that grows, ``python -m
fuzz.files`` damages files.
"""
