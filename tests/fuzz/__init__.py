"""Random calls of every public function, well-formed and hostile, and what must hold of each.

`draws` has the random values and the twists, `recipes` a well-formed call of every function,
`calls` makes call number n of a seed, runs and judges it; ``python -m fuzz``, run in ``tests/``,
does that by the thousand in child processes, so that a crash or a hang names its call.
"""
