"""Evaluation of a checkpoint: ``cnnzoo eval``.

Other rooms use ``evaluation.evaluate`` and its result, ``test_images`` (a run's own test images or another dataset's),
``scores``, ``intervals``, and ``saved`` (what an earlier evaluation wrote, where it may be believed).
"""
