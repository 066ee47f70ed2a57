"""Timings of a network, and of the way of image files to it: ``cnnzoo bench``.

Other rooms use ``clock.Timing``, ``net.seconds_of_training`` and ``net.seconds_of_evaluation``.
"""
