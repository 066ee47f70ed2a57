"""Runs of many settings and seeds in one folder, side by side: ``cnnzoo sweep``, ``cnnzoo train --seeds``.

Other rooms use ``study.OF_THE_MACHINE``, ``study.differences`` and, to run tasks side by side, ``lanes``.
"""
