"""Mutants of files of every kind that streamh5 reads: each ends in a result or in an error of ours.

``seeds`` makes files, ``mutants`` changes them, ``targets`` reads them, ``worker`` does so in a child process with
bounded memory and time, ``campaign`` watches the workers and counts. ``python -m tests.fuzz`` runs the campaign and
puts its counts into docs/reliability.md; ``python -m tests.fuzz TARGET FIRST [LAST]`` runs some mutants again.
"""
